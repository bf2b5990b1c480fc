"""Sums of monomials, cumulants, binary sums and the jackknife against what one writes down by hand."""

import math
from itertools import pairwise, product

import numpy as np
import pytest

import fieldflow as ff
from fieldflow.numeric import dyadic, moments, npoint, rng
from fieldflow.numeric.ensemble import outputs_block
from fieldflow.numeric.jackknife import delete_one_group
from fieldflow.numeric.symmetric import positions, sorted_tuples

POINTS = 3


def totals(numbers, pairs, odd, highest, given_hidden):
    plan = moments.plan(POINTS, odd, highest, given_hidden)
    out = np.empty(moments.packed_size(POINTS, odd, highest))
    quadruples = np.empty((len(plan.quadruples), pairs.shape[1]))
    moments.add_up(plan, numbers, pairs, quadruples, out)
    return moments.split(out, POINTS, odd, highest)


@pytest.mark.parametrize(("odd", "highest"), [(o, h) for o in (False, True) for h in range(1, 7)])
def test_sums_of_monomials(odd, highest):
    numbers = np.random.default_rng(0).normal(size=(POINTS, 50))
    pairs = np.empty((6, 50))
    moments.pairs_of(numbers, pairs)
    found = totals(numbers, pairs, odd, highest, False)
    assert sorted(found) == list(range(1, highest + 1))
    for n in range(1, highest + 1):
        expected = np.prod(numbers[sorted_tuples(POINTS, n).T], axis=0).sum(axis=1)
        np.testing.assert_allclose(found[n], expected if odd or n % 2 == 0 else 0.0, atol=1e-11)


def pairings(legs):
    if not legs:
        yield []
    for k in range(1, len(legs)):
        for rest in pairings(legs[1:k] + legs[k + 1 :]):
            yield [(legs[0], legs[k]), *rest]


def test_sums_over_all_pairings():
    pairs = np.random.default_rng(1).normal(size=(6, 40))
    found = totals(np.empty((POINTS, 40)), pairs, False, 6, True)
    for n, ways in ((2, 1), (4, 3), (6, 15)):
        for place, legs in enumerate(sorted_tuples(POINTS, n)):
            terms = [
                np.prod([pairs[positions(np.array(pair), POINTS)] for pair in way], axis=0)
                for way in pairings(list(legs))
            ]
            assert len(terms) == ways
            assert found[n][place] == pytest.approx(np.sum(terms), rel=1e-12, abs=1e-12)


def set_partitions(items):
    if not items:
        yield []
        return
    for partition in set_partitions(items[1:]):
        yield [[items[0]], *partition]
        for k in range(len(partition)):
            yield [*partition[:k], [items[0], *partition[k]], *partition[k + 1 :]]


def test_cumulants_by_set_partitions():
    """κ = Σ over set partitions of (-1)^{b-1} (b-1)! Π moments, for moments that are any numbers."""
    draw = np.random.default_rng(2)
    given = {n: draw.normal(size=len(sorted_tuples(POINTS, n))) for n in range(1, 7)}
    found = moments.cumulants(given, POINTS, 6)
    for n in range(1, 7):
        for place, legs in enumerate(sorted_tuples(POINTS, n)):
            expected = 0.0
            for parts in set_partitions(list(legs)):
                sizes = [given[len(part)][positions(np.sort(part), POINTS)] for part in parts]
                expected += (-1) ** (len(parts) - 1) * math.factorial(len(parts) - 1) * np.prod(sizes)
            assert found[n][place] == pytest.approx(expected, rel=1e-11, abs=1e-11)


def test_moments_move_with_the_centre():
    numbers = np.random.default_rng(3).normal(size=(POINTS, 30))
    centre = np.array([0.5, -2.0, 1.0])
    about = {n: np.prod(numbers[sorted_tuples(POINTS, n).T], axis=0).mean(axis=1) for n in range(1, 7)}
    moved = moments.moved(about, centre, 6)
    for n in range(1, 7):
        expected = np.prod((numbers + centre[:, None])[sorted_tuples(POINTS, n).T], axis=0).mean(axis=1)
        np.testing.assert_allclose(moved[n], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("first_pair", [0, 5])
def test_normals_across_members(first_pair):
    """One member in each lane: the numbers of ``fill_normals`` to the bit, also with a member beyond 2^32."""
    for first in (0, 512, 2**32 + 256):
        out = np.empty((6, rng.ACROSS))
        rng.fill_normals_across(out, np.empty((2, rng.ACROSS)), first_pair, np.uint64(7), first, 1)
        for lane in (0, 1, 63, 200, 255):
            expected = rng.normals(2 * first_pair + 6, seed=7, member=first + lane, stream=1)[2 * first_pair :]
            np.testing.assert_array_equal(out[:, lane], expected)


@pytest.mark.parametrize("width", [1, 2, 15, 16, 17, 40])
@pytest.mark.parametrize(("d_in", "activation"), [(1, "relu"), (2, "tanh"), (3, "erf")])
def test_the_networks_are_those_of_the_ensemble(width, d_in, activation):
    """Outputs and covariances given the hidden layer, for widths around the units drawn at a time."""
    net = ff.MLP(d_in, widths=(width,), activation=activation, sigma_w=(1.3, 0.7), sigma_b=(0.4, 0.2))
    x = np.random.default_rng(4).normal(size=(4, d_in))
    built = net.architecture()
    layer = npoint.Layer(
        np.ascontiguousarray(x.T * built.weight_std[0]),
        width,
        built.bias_std[0],
        built.weight_std[1],
        built.bias_std[1],
    )
    work = npoint.workspace(layer, 256, 0)
    outputs, pairs = np.empty((4, 256)), np.empty((10, 256))
    activate = net.compiled_activations()
    npoint.draw(layer, activate[0], np.uint64(3), 256, False, work, outputs)
    npoint.draw(layer, activate[0], np.uint64(3), 256, True, work, pairs)
    expected = ff.Ensemble(net, members=512, seed=3).sample(x)[256:]
    np.testing.assert_allclose(outputs.T, expected, rtol=1e-12, atol=1e-13)
    hidden = outputs_block(built, activate, np.uint64(3), 256, 256, rng.HIDDEN, np.ascontiguousarray(x.T))
    covariance = net.readout_variance * np.einsum("mip,miq->mpq", hidden, hidden) + 0.2**2
    np.testing.assert_allclose(pairs.T, covariance[:, *sorted_tuples(4, 2).T], rtol=1e-12, atol=1e-13)


def test_binary_sums_do_not_depend_on_the_cut():
    """1300 blocks in pieces, merged in any order: nodes, counts and sums of the whole to the bit; plain addition is not."""
    draw = np.random.default_rng(5)
    values = draw.normal(size=(1300, 3)) * 10.0 ** draw.uniform(-8, 8, size=(1300, 1))

    def leaves(first, beyond):
        return {(0, i): (1, values[i]) for i in range(first, beyond)}

    whole = dyadic.tree_of(leaves(7, 1300))
    assert len(whole.nodes) <= dyadic.MOST + 20
    for _ in range(5):
        edges = [7, *np.sort(draw.choice(np.arange(8, 1300), 6, replace=False)).tolist(), 1300]
        pieces = [dyadic.tree_of(leaves(*edge)) for edge in pairwise(edges)]
        draw.shuffle(pieces)
        merged = pieces[0]
        for piece in pieces[1:]:
            assert dyadic.overlap(merged, piece) is None
            merged = dyadic.merged(merged, piece)
        assert merged.nodes == whole.nodes
        np.testing.assert_array_equal(merged.counts, whole.counts)
        np.testing.assert_array_equal(merged.sums, whole.sums)
    assert (np.cumsum(values[7:], axis=0)[-1] != whole.sums.sum(axis=0)).any()
    assert dyadic.overlap(whole, dyadic.tree_of(leaves(100, 101))) == (100, 101)


@pytest.mark.parametrize(("first", "beyond", "highest"), list(product([0, 3, 8], [9, 64, 1000], [0, 2, 9])))
def test_nodes_fill_their_range(first, beyond, highest):
    edges = [dyadic.blocks_of(node) for node in dyadic.nodes_of(first, beyond, highest)]
    assert edges[0][0] == first
    assert edges[-1][1] == beyond
    assert all(one[1] == other[0] for one, other in pairwise(edges))
    assert dyadic.level_for([(first, beyond)]) == dyadic.level_for(edges)


def test_jackknife_of_means_is_the_textbook_and_of_variances_unbiased():
    values = np.random.default_rng(6).normal(size=200)
    sums = np.column_stack([values, values**2])
    mean = delete_one_group(np.ones(200, np.int64), sums, lambda m: m[:1])
    assert mean.value[0] == pytest.approx(values.mean(), rel=1e-12)
    assert np.sum(mean.loading**2) == pytest.approx(values.var(ddof=1) / 200, rel=1e-10)
    variance = delete_one_group(np.ones(200, np.int64), sums, lambda m: m[1:] - m[:1] ** 2)
    assert variance.value[0] == pytest.approx(values.var(ddof=1), rel=1e-10)
    assert variance.value[0] != pytest.approx(values.var(), rel=1e-4)


def test_jackknife_of_unequal_groups():
    """The variance of the mean over groups of very different size: on average σ²/n."""
    draw = np.random.default_rng(7)
    counts = np.array([40, 40, 40, 40, 40, 40, 3])
    found = []
    for _ in range(3000):
        sums = (np.sqrt(counts) * draw.normal(size=7))[:, None]
        found.append(np.sum(delete_one_group(counts, sums, lambda m: m).loading ** 2) * counts.sum())
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - 1.0) < 4 * error
