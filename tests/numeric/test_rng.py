"""Philox4x32-10 against the published known answers, and what makes the streams independent of everything else."""

import numpy as np
import pytest
from scipy import stats

from fieldflow.numeric import rng

# Random123 (Salmon et al. 2011), known-answer vectors of philox4x32-10: counter, key, output.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers(counter, key, expected):
    words = rng.philox(*(np.uint64(word) for word in (*counter, *key)))
    assert tuple(int(word) for word in words) == expected


def test_the_counter_is_index_stream_member_and_the_key_is_the_seed():
    seed, member, stream = 0x0123456789ABCDEF, 0x1_0000_0005, 2
    words = rng.philox(
        *(np.uint64(word) for word in (3, stream, member & 0xFFFFFFFF, member >> 32, seed & 0xFFFFFFFF, seed >> 32))
    )
    w0, w1, w2, w3 = (int(word) for word in words)
    first = (((w0 << 32 | w1) >> 11) + 1) * 2.0**-53
    second = ((w2 << 32 | w3) >> 11) * 2.0**-53
    expected = np.sqrt(-2 * np.log(first)) * np.array([np.cos(2 * np.pi * second), np.sin(2 * np.pi * second)])
    found = rng.normals(8, seed=seed, member=member, stream=stream)[6:]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_more_numbers_change_no_earlier_one():
    few = rng.normals(7, seed=4, member=9, stream=1)
    assert (rng.normals(1000, seed=4, member=9, stream=1)[:7] == few).all()


@pytest.mark.statistical
def test_normals_are_standard_and_streams_uncorrelated():
    n = 400_000
    draws = np.array([rng.normals(n, seed=11, member=m, stream=s) for m in (0, 1) for s in (0, 1)])
    for values in draws:
        assert stats.kstest(values, "norm").pvalue > 1e-4
    correlation = np.corrcoef(draws) - np.eye(4)
    assert np.abs(correlation).max() * np.sqrt(n) < 4.5
    # Negative control: a scale wrong by two per cent moves the distribution by 0.0048, three times what n resolves.
    assert stats.kstest(1.02 * draws[0], "norm").pvalue < 1e-4
