"""Diagrams against brute-force Wick counting, the expansion at one point, and exact rational tensors of two components."""

from collections import Counter
from fractions import Fraction
from itertools import combinations_with_replacement, product
from math import comb, factorial

import numpy as np
import pytest
import sympy as sp

from fieldflow.contractions import contracted
from fieldflow.errors import BadInput, ProofFailed
from fieldflow.formula_text import as_text
from fieldflow.formulas import derive
from fieldflow.numeric.symmetric import sorted_tuples
from fieldflow.symbolic import nnqft
from fieldflow.symbolic.contraction import G2, Contraction, cumulant
from fieldflow.symbolic.counting import LARGEST, cumulant_order
from fieldflow.symbolic.diagram_clutter import BLOB, crossings, touches
from fieldflow.symbolic.diagram_layout import layout, tikz
from fieldflow.symbolic.inverse_rules import (
    action_terms,
    coupling_formula,
    field,
    largest_legs,
    one_point_action,
    vertex_orders,
)
from fieldflow.symbolic.linebreak import LINE
from fieldflow.symbolic.linewidth import width
from fieldflow.symbolic.multigraph import Multigraph, connected_graphs
from fieldflow.symbolic.printing import latex
from oracles import wick

VERTICES = [(0, (4,)), (2, (4,)), (4, (4,)), (2, (6,)), (4, (6,)), (2, (4, 4)), (4, (4, 4)), (6, (4, 4)), (1, (3,)), (3, (3,)),
            (2, (3, 3)), (1, (4, 3)), (3, (4, 3)), (2, (4, 3, 3)), (0, (3, 3, 3, 3)), (2, (3, 3, 3, 3)), (3, (3, 2, 2)),
            (2, (6, 4)), (2, (2, 2, 1, 1))]  # fmt: skip


@pytest.mark.parametrize(("legs", "degrees"), VERTICES)
def test_symmetry_factors_are_what_wick_counts(legs, degrees):
    counts = wick.wick_counts(legs, degrees)
    graphs = {wick.canonical(g.legs, g.lines, degrees): g for g in connected_graphs(legs, degrees)}
    assert set(graphs) == set(counts)
    for key, graph in graphs.items():
        assert Fraction(wick.relabellings(degrees) * factorial(legs), graph.symmetry_factor) == counts[key]


def test_the_number_of_diagrams():
    found = {
        order: Counter(t.order for legs in range(0, 9, 2) for t in action_terms(legs, order))[order]
        for order in (1, 2, 3, 4)
    }
    assert found == {1: 3, 2: 12, 3: 46, 4: 253}


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_expansion_at_one_point(order):
    """Every diagram at every order: their sum is -ln P expanded in Hermite polynomials, coefficient by coefficient."""
    _check_one_point(order, False, "iid")


@pytest.mark.parametrize(
    ("order", "counting"), [(1, "iid"), (2, "iid"), (1, "trained"), (2, "trained"), (3, "trained")]
)
def test_the_expansion_at_one_point_with_odd_cumulants(order, counting):
    _check_one_point(order, True, counting)


def _check_one_point(order, odd, counting):
    epsilon = sp.Symbol("epsilon", positive=True)
    direct = sp.Poly(one_point_action(order, odd, counting), epsilon, field)
    diagrams = {}
    for legs in range(largest_legs(order) + 1):
        for term in action_terms(legs, order, odd=odd, counting=counting):
            key = (int(2 * term.order), legs)
            diagrams[key] = diagrams.get(key, 0) + term.weight * Contraction.of(term.graph).doit()
    expected = direct.as_dict()
    assert {key for key, value in diagrams.items() if sp.expand(value) != 0} == set(expected)
    assert all(sp.expand(value - expected.get(key, 0)) == 0 for key, value in diagrams.items())


def test_a_wrong_symmetry_factor_would_show():
    scalar = sp.expand(coupling_formula(4, 2).numerical)
    for term in action_terms(4, 2):
        wrong = scalar + term.weight * Contraction.of(term.graph).doit()
        direct = sp.Poly(one_point_action(2, False, "iid").subs(sp.Symbol("epsilon", positive=True), 1), field)
        assert sp.expand(wrong - direct.coeff_monomial(field**4)) != 0


@pytest.mark.parametrize(
    ("order", "odd", "counting"), [(1, False, "iid"), (2, False, "iid"), (3, False, "iid"), (2, True, "trained"), (2, True, "iid")]
)  # fmt: skip
def test_exact_rational_tensors_of_two_components(order, odd, counting):
    """Couplings from diagrams equal those of polynomial algebra in exact rationals, order by order."""
    rng = np.random.Generator(np.random.Philox(7 + order))
    covariance = [[Fraction(2), Fraction(1, 3)], [Fraction(1, 3), Fraction(3, 2)]]
    determinant = covariance[0][0] * covariance[1][1] - covariance[0][1] ** 2
    precision = [[covariance[1][1] / determinant, -covariance[0][1] / determinant],
                 [-covariance[0][1] / determinant, covariance[0][0] / determinant]]  # fmt: skip
    known = vertex_orders(order, odd=odd, counting=counting)
    cumulants = {
        n: {
            i: Fraction(int(rng.integers(-9, 10)), int(rng.integers(1, 8)))
            for i in combinations_with_replacement((0, 1), n)
        }
        for n in known
    }
    units = {n: int(2 * power) for n, power in known.items()}
    expected = wick.action(cumulants, precision, units, 2 * order)
    line = np.array(covariance, dtype=object)
    amputated = {n: _amputated(tensor, precision, n) for n, tensor in cumulants.items()}
    for legs in range(1, largest_legs(order) + 1):
        for power in range(1, 2 * order + 1):
            terms = [t for t in action_terms(legs, order, odd=odd, counting=counting) if 2 * t.order == power]
            total = sum((Fraction(int(t.weight.p), int(t.weight.q)) * contracted(t.graph, amputated, line) for t in terms),
                        np.array([Fraction(0)] * (legs + 1), dtype=object))  # fmt: skip
            for index, value in zip(sorted_tuples(2, legs), total, strict=True):
                ones = int(index.sum())
                assert comb(legs, ones) * value == expected.get(((legs - ones, ones), power), 0)


def _amputated(tensor, precision, n):
    dense = np.empty((2,) * n, dtype=object)
    for index in product((0, 1), repeat=n):
        dense[index] = tensor[tuple(sorted(index))]
    for _ in range(n):
        dense = np.tensordot(dense, np.array(precision, dtype=object), axes=(0, 1))
    return dense


def test_the_numbers_of_the_theory():
    """At one point, G_2 = s: orders 1 and 2 as derived by hand."""
    s, k4, k6 = G2, cumulant(4), cumulant(6)
    two, four, six = (coupling_formula(legs, 2).numerical for legs in (2, 4, 6))
    assert sp.expand(two - (k4 / (4 * s**3) - (3 * s * k6 - 16 * k4**2) / (48 * s**5))) == 0
    assert sp.expand(four - (-k4 / (24 * s**4) + (s * k6 - 7 * k4**2) / (48 * s**6))) == 0
    assert sp.expand(six - (-(s * k6 - 10 * k4**2) / (720 * s**7))) == 0
    trained = {legs: coupling_formula(legs, 1, odd=True, counting="trained").numerical for legs in (1, 3)}
    assert trained[1] == cumulant(3) / (2 * s**2)
    assert trained[3] == -cumulant(3) / (6 * s**3)


def test_orders_of_both_countings():
    assert [cumulant_order(n, "iid") for n in (3, 4, 5, 6)] == [Fraction(1, 2), 1, Fraction(3, 2), 2]
    assert [cumulant_order(n, "trained") for n in (3, 4, 5, 6)] == [1, 1, 2, 2]


def test_latex_names_every_leg_once():
    for term in action_terms(6, 3):
        text = Contraction.of(term.graph)._latex(None)
        indices = "".join(part.split("}")[0] for part in text.split("_{")[1:])
        counts = Counter(indices.replace("'", "")) if "'" not in indices else None
        assert counts is None or all(counts[str(i)] == 1 for i in range(1, 7))
        assert counts is None or all(count == 2 for letter, count in counts.items() if letter.isalpha())


def test_contractions_as_text():
    assert str(coupling_formula(4, 2).expr) == (
        "-Ĝ4[1 2 3 4]/24 + Ĝ6[1 2 3 4 a b] G2[a b]/48 - Sym(Ĝ4[1 2 3 a] Ĝ4[4 b c d] G2[a b] G2[c d])/12"
        " - Sym(Ĝ4[1 2 a c] Ĝ4[3 4 b d] G2[a b] G2[c d])/16"
    )


@pytest.mark.parametrize(
    ("legs", "odd", "counting"), [(2, False, "iid"), (4, False, "iid"), (3, True, "iid"), (2, True, "trained")]
)
def test_terms_are_printed_in_powers_of_the_width(legs, odd, counting):
    order = 2 if odd else 3
    formula = coupling_formula(legs, order, odd=odd, counting=counting)
    listed = action_terms(legs, order, odd=odd, counting=counting)
    assert [term.order for term in listed] == sorted(term.order for term in listed)
    for printed in (str(formula.expr), formula.latex(), formula.latex("align")):
        own = str if printed == str(formula.expr) else latex
        places = [printed.index(own(Contraction.of(term.graph, term.order))) for term in listed]
        assert places == sorted(places)


def test_notebooks_get_long_couplings_in_lines():
    rows = coupling_formula(2, 2)._repr_latex_().split(r"\\")
    assert rows[0].startswith("\\begin{align*}")
    assert rows[-1].endswith("\\end{align*}")
    assert max(width(row) for row in rows) < LINE + width(r"\begin{align*}")
    assert coupling_formula(4, 1)._repr_latex_().startswith("$")


def test_derivatives_of_contractions_are_those_at_one_point():
    formula = coupling_formula(4, 2)
    quartic = cumulant(4)
    assert sp.expand(formula.diff(quartic).expr - sp.diff(formula.numerical, quartic)) == 0


@pytest.mark.parametrize("name", ["action.g2", "action.g4", "action.g6", "nnqft.lambda", "nnqft.kappa", "nnqft.beta"])
def test_steps_say_something(name):
    """A reader sees neither internals nor two equal sides, and no convention of training beside untrained correlators."""
    formula = derive(name)
    assert all(
        str(found.left) != str(found.right) and "\\" not in f"{found.left}{found.right}" for found in formula.steps
    )
    text = as_text(formula, steps=True)
    assert "Contraction(" not in text
    assert "action: P[φ]" in text
    assert "learning_rate" not in text
    assert "fisher" not in text
    assert "learning_rate" in as_text(derive("training.gd"))


@pytest.mark.parametrize("wrong", [23, 48])
def test_a_wrong_vertex_factor_is_refuted(wrong, monkeypatch):
    monkeypatch.setattr(nnqft, "_vertex_factor", lambda n: wrong)
    with pytest.raises(ProofFailed, match="Wick"):
        nnqft.quartic.__wrapped__()


@pytest.mark.parametrize("order", [2, 3, 4])
def test_drawings_keep_vertices_apart_and_legs_off_the_lines(order):
    for legs in range(0, 9, 2):
        for term in action_terms(legs, order):
            drawn = layout(term.graph)
            assert len(drawn.legs) == legs
            assert len(drawn.lines) == len(term.graph.edges)
            places = drawn.vertices
            assert all(abs(a - b) > 4 * BLOB for i, a in enumerate(places) for b in places[:i])
            tips = [tip for _, tip in drawn.legs]
            assert all(abs(a - b) > 0.15 for i, a in enumerate(tips) for b in tips[:i])
            assert all(abs(tip - place) > 2 * BLOB for tip in tips for place in places)


@pytest.mark.parametrize(("order", "odd"), [(2, False), (3, False), (4, False), (3, True)])
def test_lines_as_drawn_do_not_cross(order, odd):
    crossing = []
    for legs in range(0, 2 * order + 3, 1 if odd else 2):
        for term in action_terms(legs, order, odd=odd, counting="trained" if odd else "iid"):
            drawn = layout(term.graph)
            strokes = [*drawn.lines, *drawn.legs]
            assert not touches(strokes, drawn.vertices)
            if crossings(strokes, drawn.vertices):
                crossing.append(term.graph)
    # Planar as it is, but its two double lines would need a third bend: the one drawing in which two lines cross.
    hard = Multigraph((4,) * 4, (0,) * 4, ((0, 2, 1, 1), (2, 0, 1, 1), (1, 1, 0, 2), (1, 1, 2, 0)))
    assert crossing == ([hard] if order == 4 else [])


def test_crossings_are_counted():
    """Negative control: two parallel lines that both bend into a triangle cross each other, and straight diagonals do."""
    corners = (0j, 1.7 + 0j, 0.85 + 1.47j)
    inner = [(corners[0], 0.5 + 1j, 1.2 + 1j, corners[1]), (corners[0], 1.2 + 0j, 1.4 + 0.6j, corners[2])]
    assert crossings(inner, corners) == 1
    assert crossings([(0j, 1 + 1j), (1 + 0j, 1j)], ()) == 1
    assert touches([(0j, 2 + 0j)], [1 + 0.25j, 1 + 0.35j]) == 1


def test_tikz_is_explicit():
    text = tikz(Multigraph((4, 4), (2, 2), ((0, 2), (2, 0))))
    assert text.count("controls") == 2
    assert text.count("circle") == 2
    assert text.count(" -- ") == 4
    assert "loop" not in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((4, 0), "order: expected an integer from 1 to 4"),
        ((4, 5), "order: expected an integer from 1 to 4"),
        ((4, True), "order"),
        ((5, 2), "legs: g_5 vanishes without odd cumulants"),
        ((8, 2), "legs: expected an integer from 1 to 6 at order 2"),
        ((0, 2), "legs"),
    ],
)
def test_bad_input(arguments, says):
    with pytest.raises(BadInput, match=says):
        coupling_formula(*arguments)


def test_bad_counting():
    with pytest.raises(BadInput, match="counting: expected one of iid, trained"):
        coupling_formula(3, 1, odd=True, counting="both")
    with pytest.raises(BadInput, match="order: expected an integer from 1 to 2 "):
        coupling_formula(3, 3, odd=True, counting="iid")
    assert LARGEST[True] == 3
