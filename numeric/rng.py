"""Which random number belongs to which weight? A pure function of (seed, member, stream, index).

Philox4x32-10 (Salmon et al. 2011) is keyed by the seed and counts (index, stream, member); two 53-bit uniforms of one
block become two normals (Box and Muller 1958).  Nothing depends on threads, workers or the number of members.
"""

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.jit import inlined, jit, vectorised
from fieldflow.numeric.vectormath import log_normal, turn

RNG_VERSION = "philox4x32-10/box-muller/2"

HIDDEN, READOUT, REDRAW, ORDER, INDEPENDENT, UNIFORM = 0, 1, 2, 3, 4, 5
"""Streams of a member: hidden layers, read-out, redrawn read-out, row order, hidden layers of predictions, uniforms.

A stream is read as normals or as uniforms, never as both: uniforms 2i and 2i + 1 come from the same block of the counter
as normals 2i and 2i + 1.
"""

_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_ROUNDS = 10
PAIRS = 256
"""How many pairs of normals are made at a time, in memory that stays in the first cache."""
_ELEVEN = np.uint64(11)
_UNIT = 2.0**-53
ACROSS = 256
"""How many members are drawn side by side, one in each lane."""


@inlined
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Return the four 32-bit words (as uint64) of Philox4x32-10 at counter (c0, c1, c2, c3) under key (k0, k1)."""
    for _ in range(_ROUNDS):
        product_0 = _MULTIPLIER_0 * c0
        product_1 = _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (
            (product_1 >> _SHIFT) ^ c1 ^ k0,
            product_1 & _MASK,
            (product_0 >> _SHIFT) ^ c3 ^ k1,
            product_0 & _MASK,
        )
        k0 = (k0 + _WEYL_0) & _MASK
        k1 = (k1 + _WEYL_1) & _MASK
    return c0, c1, c2, c3


@vectorised
def fill_normals_through(out, scratch, seed, member, stream):  # type: ignore[no-untyped-def]
    """Fill ``out`` as ``fill_normals`` does, through ``scratch`` (2, PAIRS) that the caller keeps for many calls."""
    key_0, key_1 = seed & _MASK, seed >> _SHIFT
    high, low = np.uint64(member) & _MASK, np.uint64(member) >> _SHIFT
    cosines, sines = scratch[0], scratch[1]
    for start in range(0, (out.size + 1) // 2, PAIRS):
        pairs = min(PAIRS, (out.size - start * 2) // 2)
        # Whole vectors: a remainder one by one would cost more than all the rest of a short array.
        lanes = min(PAIRS, (out.size - start * 2 + 15) // 16 * 8)
        for i in range(lanes):
            w0, w1, w2, w3 = philox(np.uint64(start + i), np.uint64(stream), high, low, key_0, key_1)
            # (0, 1]: the logarithm below never meets zero.
            cosines[i] = (np.float64(((w0 << _SHIFT) | w1) >> _ELEVEN) + 1.0) * _UNIT
            sines[i] = np.float64(((w2 << _SHIFT) | w3) >> _ELEVEN) * _UNIT
        for i in range(lanes):
            radius = np.sqrt(-2.0 * log_normal(cosines[i]))
            cosine, sine = turn(sines[i])
            cosines[i], sines[i] = radius * cosine, radius * sine
        # As rows: an index 2i could wrap around for all the compiler knows, and scatters.
        rows = out[2 * start : 2 * (start + pairs)].reshape((pairs, 2))
        for i in range(pairs):
            rows[i, 0], rows[i, 1] = cosines[i], sines[i]
        if out.size == 2 * (start + pairs) + 1 and pairs < PAIRS:
            out[out.size - 1] = cosines[pairs]


@vectorised
def fill_normals(out, seed, member, stream):  # type: ignore[no-untyped-def]
    """Fill the flat array ``out`` with the standard normals 0, 1, … of one stream of one member.

    ``seed`` is a uint64; ``member`` and ``stream`` are non-negative integers.
    """
    fill_normals_through(out, np.empty((2, PAIRS)), seed, member, stream)


@vectorised
def fill_normals_across(out, scratch, first_pair, seed, first, stream):  # type: ignore[no-untyped-def]
    """Fill out[i, l] with normal 2·first_pair + i of the stream of member first + l: an even number of rows, ACROSS members.

    ``scratch`` is (2, ACROSS).  All share the high word of the counter of ``first``: lanes beyond a multiple of 2^32 are wrong,
    and are never used by callers whose blocks are powers of two.
    """
    key_0, key_1 = seed & _MASK, seed >> _SHIFT
    high, low = np.uint64(first) >> _SHIFT, np.uint64(first) & _MASK
    firsts, seconds = scratch[0], scratch[1]
    for pair in range(out.shape[0] // 2):
        block = np.uint64(first_pair + pair)
        for lane in range(ACROSS):
            w0, w1, w2, w3 = philox(block, np.uint64(stream), low + np.uint64(lane), high, key_0, key_1)
            firsts[lane] = (np.float64(((w0 << _SHIFT) | w1) >> _ELEVEN) + 1.0) * _UNIT
            seconds[lane] = np.float64(((w2 << _SHIFT) | w3) >> _ELEVEN) * _UNIT
        cosines, sines = out[2 * pair], out[2 * pair + 1]
        for lane in range(ACROSS):
            radius = np.sqrt(-2.0 * log_normal(firsts[lane]))
            cosine, sine = turn(seconds[lane])
            cosines[lane], sines[lane] = radius * cosine, radius * sine


@jit
def fill_uniforms(out, seed, member, stream):  # type: ignore[no-untyped-def]
    """Fill the flat array ``out`` with the uniforms 0, 1, … in (0, 1) of one stream of one member.

    Numbers 2i and 2i + 1 are the two halves of the Philox block at counter (i, stream, member), in the middle of their
    cell of width 2^-52.
    """
    key_0, key_1 = seed & _MASK, seed >> _SHIFT
    high, low = np.uint64(member) & _MASK, np.uint64(member) >> _SHIFT
    twelve = np.uint64(12)
    for block in range((out.size + 1) // 2):
        w0, w1, w2, w3 = philox(np.uint64(block), np.uint64(stream), high, low, key_0, key_1)
        # Twelve bits are dropped: with the half cell added, 53 bits would round to 1 at the upper end.
        out[2 * block] = (np.float64(((w0 << _SHIFT) | w1) >> twelve) + 0.5) * (2.0 * _UNIT)
        if 2 * block + 1 < out.size:
            out[2 * block + 1] = (np.float64(((w2 << _SHIFT) | w3) >> twelve) + 0.5) * (2.0 * _UNIT)


def normals(count: int, *, seed: int, member: int, stream: int) -> NDArray[np.float64]:
    """Return the first ``count`` standard normals of one stream of one member.

    Parameters
    ----------
    count : int
        How many numbers, from index 0.
    seed : int
        0 <= seed < 2**64, the Philox key.
    member, stream : int
        The address; see the stream constants of this module.

    >>> bool((normals(3, seed=1, member=0, stream=0) == normals(5, seed=1, member=0, stream=0)[:3]).all())
    True
    """
    out = np.empty(count)
    fill_normals(out, np.uint64(seed), member, stream)
    return out


def uniforms(count: int, *, seed: int, member: int, stream: int = UNIFORM) -> NDArray[np.float64]:
    """Return the first ``count`` uniforms in (0, 1) of one stream of one member.

    >>> bool((uniforms(3, seed=1, member=0) == uniforms(5, seed=1, member=0)[:3]).all())
    True
    """
    out = np.empty(count)
    fill_uniforms(out, np.uint64(seed), member, stream)
    return out
