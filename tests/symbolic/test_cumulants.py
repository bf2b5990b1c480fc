"""Cumulants of networks of a few units with finitely many parameter values: equal to the formulas in exact rationals."""

from fractions import Fraction
from functools import cache
from math import factorial, prod

import pytest
import sympy as sp

from fieldflow.symbolic import cumulants
from fieldflow.symbolic.errors import BadInput, ProofFailed
from fieldflow.symbolic.partitions import count, set_partitions, sum_symbol, types
from oracles.exact_cumulants import expectation, joint, network_states

WIDTH = 2
HIDDEN = [(Fraction(1, 2), (1, 2, -1)), (Fraction(1, 3), (Fraction(1, 2), 0, 3)), (Fraction(1, 6), (-2, 1, 1))]
"""Values of h at three points, with their probabilities."""

TUPLES = {
    1: (2,),
    2: (0, 1),
    3: (0, 1, 2),
    4: (0, 0, 1, 2),
    5: (0, 1, 1, 2, 2),
    6: (0, 0, 1, 1, 1, 2),
    8: (0, 0, 0, 1, 1, 1, 2, 2),
}
SCALES = [(Fraction(1, 4), Fraction(1, 3)), (Fraction(3, 4), Fraction(2))]


def gaussian_moment(power):
    return Fraction(0) if power % 2 else Fraction(factorial(power), 2 ** (power // 2) * factorial(power // 2))


def hidden_moment(places):
    return expectation(HIDDEN, lambda h: prod((Fraction(h[i]) for i in places), start=Fraction(1)))


def sums(tensor, places):
    """Return the value of each sum over a type, ``tensor`` giving the entry at a tuple of places."""
    return {
        kind: sum(
            prod((tensor(tuple(places[i] for i in block)) for block in split), start=Fraction(1)) for split in splits
        )
        for kind, splits in set_partitions(len(places)).items()
    }


def evaluated(formula, letter, tensor, places, values):
    given = {sum_symbol(letter, kind): sp.Rational(value) for kind, value in sums(tensor, places).items()}
    return formula.expr.subs(given).subs(values)


def formula_value(places, readout):
    """Return G_c^{(n)} by the catalogue, σ_w = 1: in units of N^{-n/2}, which is irrational for odd n."""
    value = evaluated(
        cumulants.connected(len(places), readout),
        "H",
        hidden_moment,
        places,
        {cumulants.N: WIDTH, cumulants.sigma_w: 1},
    )
    return sp.expand(value * sp.sqrt(WIDTH) ** len(places))


def with_signs(readout):
    signs = [(Fraction(1, 2), 1), (Fraction(1, 2), -1)] if readout == "signs" else [(Fraction(1), 1)]
    return [(p * q, tuple(w * Fraction(x) for x in h)) for p, w in signs for q, h in HIDDEN]


@cache
def brute_moment(readout, places):
    states = network_states(WIDTH, with_signs(readout))
    return expectation(states, lambda units: prod((sum(unit[i] for unit in units) for i in places), start=Fraction(1)))


@pytest.mark.parametrize("n", TUPLES)
@pytest.mark.parametrize("readout", ["signs", "fixed"])
def test_every_state_of_a_network_of_two_units(n, readout):
    places = TUPLES[n]
    expected = joint(lambda labels: brute_moment(readout, labels), places)
    assert formula_value(places, readout) == sp.Rational(expected)


@pytest.mark.parametrize("n", [2, 4, 6, 8])
def test_gaussian_read_out_by_isserlis_given_the_hidden_layer(n):
    """Given the hidden layer the full moment is a sum over pairings of Σ_i h_i h_i: an average over its states."""
    states = network_states(WIDTH, [(p, tuple(map(Fraction, h))) for p, h in HIDDEN])

    @cache
    def moment(labels):
        if len(labels) % 2:
            return Fraction(0)
        return expectation(states, lambda units: pairings(units, labels))

    def pairings(units, labels):
        if not labels:
            return Fraction(1)
        first, rest = labels[0], labels[1:]
        return sum(
            sum(unit[first] * unit[rest[k]] for unit in units) * pairings(units, rest[:k] + rest[k + 1 :])
            for k in range(len(rest))
        )

    assert formula_value(TUPLES[n], "gaussian") == sp.Rational(joint(moment, TUPLES[n]))


@pytest.mark.parametrize("n", [2, 4, 6, 8])
def test_a_common_scale_by_averaging_over_its_values(n):
    def unit(labels):
        return Fraction(0) if len(labels) % 2 else joint(lambda inner: brute_moment("signs", inner), labels)

    @cache
    def moment(labels):  # E s^{k/2} E[...]: only even orders survive
        if len(labels) % 2:
            return Fraction(0)
        return sum(p * s ** (len(labels) // 2) for p, s in SCALES) * brute_moment("signs", labels)

    m = {
        symbol: sp.Rational(sum(p * s**j for p, s in SCALES))
        for j, symbol in enumerate(cumulants.scale_moments(n // 2), start=1)
    }
    found = evaluated(cumulants.common_scale(n), "G", unit, TUPLES[n], m)
    assert found == sp.Rational(joint(moment, TUPLES[n]))


@pytest.mark.parametrize("n", [3, 4, 6])
def test_full_functions_are_sums_of_connected_ones(n):
    tensor = lambda labels: joint(lambda inner: brute_moment("fixed", inner), labels)  # noqa: E731
    found = evaluated(cumulants.moment(n, even=False), "G", tensor, TUPLES[n], {})
    assert found == sp.Rational(brute_moment("fixed", TUPLES[n]))


def test_the_numbers_of_the_theory():
    h2, h4, h6 = (sum_symbol("H", kind) for kind in ((2,), (4,), (6,)))
    n, w = cumulants.N, cumulants.sigma_w
    assert sp.expand(cumulants.connected(4).expr - w**4 / n * (3 * h4 - sum_symbol("H", (2, 2)))) == 0
    six = 15 * h6 - 3 * sum_symbol("H", (4, 2)) + 2 * sum_symbol("H", (2, 2, 2))
    assert sp.expand(cumulants.connected(6).expr - w**6 / n**2 * six) == 0
    assert cumulants.connected(2).expr == w**2 * h2
    even = {(8,): 1, (6, 2): 28, (4, 4): 35, (4, 2, 2): 210, (2, 2, 2, 2): 105}
    assert {kind: count(kind) for kind in types(8, even=True)} == even
    assert sum(count(kind) for kind in types(8)) == 4140


def test_a_wrong_weight_of_partitions_is_refused(monkeypatch):
    right = cumulants.moebius
    monkeypatch.setattr(cumulants, "moebius", lambda blocks: -right(blocks) if blocks == 2 else right(blocks))
    for build in (cumulants.connected, cumulants.common_scale):
        with pytest.raises(ProofFailed):
            build.__wrapped__(4)


def test_more_points_than_partitions_are_listed_for():
    with pytest.raises(BadInput, match="from 1 to 8"):
        set_partitions(9)
