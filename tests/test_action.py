"""Couplings and correlators: round trips, exactly solvable actions, named errors."""

import numpy as np
import pytest
import sympy as sp
from scipy import integrate

import fieldflow as ff
from fieldflow.errors import BadInput, NotPositiveDefinite
from fieldflow.numeric.symmetric import entries, unpacked
from fieldflow.symbolic import inverse_rules
from fieldflow.symbolic.counting import cumulant_order

EVEN, ODD = (4, 6, 8), (3, 4, 5, 6)
CASES = [(EVEN, "iid", 2, 3.0), (EVEN, "iid", 3, 4.0), (ODD, "trained", 2, 3.0), (ODD, "iid", 2, 2.5)]


def symmetric(rng, n, size=2):
    return unpacked(rng.normal(size=entries(size, n)), size, n)


def ensemble(ranks, seed=3, size=2):
    rng = np.random.Generator(np.random.Philox(seed))
    root = rng.normal(size=(size, size))
    return root @ root.T + np.eye(size), {n: symmetric(rng, n, size) for n in ranks}


def residual(width, order, ranks, counting):
    """Largest entry of forward(inverse(G)) - G per rank, at this width."""
    g2, tensors = ensemble(ranks)
    given = {2: g2} | {n: tensor * width ** -float(cumulant_order(n, counting)) for n, tensor in tensors.items()}
    back = ff.correlators(g2, ff.couplings(given, order, counting=counting), order, counting=counting)
    return {n: np.abs(value - given.get(n, 0.0)).max() for n, value in back.items()}


def slopes(order, ranks, counting):
    # Wide enough for the leading power, not so wide that rounding shows.
    widths = (2e3, 2e4) if order == 2 else (5e2, 5e3)
    first, second = (residual(width, order, ranks, counting) for width in widths)
    return {n: np.log10(first[n] / second[n]) for n in first}


@pytest.mark.parametrize(("ranks", "counting", "order", "power"), CASES)
def test_the_round_trip_misses_the_first_omitted_power(ranks, counting, order, power):
    found = slopes(order, ranks, counting)
    # The next power of 1/N below the leading one moves a slope between these widths by less than 0.05.
    halves = {n: power + 0.5 * (n % 2 == 0) if power % 1 else power for n in found}
    assert found == pytest.approx(halves, abs=0.05)


def test_the_round_trip_at_first_order_is_exact():
    found = residual(1e3, 1, (4,), "iid")
    assert max(found.values()) < 1e-15


@pytest.mark.parametrize("legs", [2, 4, 6])
def test_every_factor_counts_in_the_round_trip(legs, monkeypatch):
    """Negative control: with any one diagram doubled the round trip fails one power earlier, or at once."""
    real = inverse_rules.action_terms
    for wrong in real(legs, 2):

        def doubled(r, *args, wrong=wrong, **kwargs):
            terms = real(r, *args, **kwargs)
            return terms + tuple(t for t in terms if t == wrong) if r == legs else terms

        monkeypatch.setattr(inverse_rules, "action_terms", doubled)
        assert min(slopes(2, EVEN, "iid").values()) < wrong.order + 0.05


def test_an_action_at_one_point_against_its_integral():
    """Correlators of e^{-φ²/2G - g₄φ⁴} by quadrature: the error falls with the first omitted power of g₄."""
    errors = []
    for strength in (4e-4, 4e-5):
        found = ff.correlators(1.0, {2: 0.0, 4: strength, 6: 0.0}, order=2)
        moments = [
            integrate.quad(
                lambda x, n=n, g=strength: x**n * np.exp(-(x**2) / 2 - g * x**4), -12, 12, epsabs=1e-14, epsrel=1e-13
            )[0]
            for n in (0, 2, 4)
        ]
        second, fourth = (moment / moments[0] for moment in moments[1:])
        errors.append([abs(found[2] - second), abs(found[4] - (fourth - 3 * second**2))])
    assert np.log10(np.array(errors[0]) / errors[1]) == pytest.approx([3.0, 3.0], abs=0.1)


def test_two_points_against_the_integral():
    g2 = np.array([[1.0, 0.4], [0.4, 1.5]])
    quartic = 0.1 * symmetric(np.random.Generator(np.random.Philox(5)), 4)
    quartic[0, 0, 0, 0] = quartic[1, 1, 1, 1] = 1.0  # bounded below
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    root = np.linalg.cholesky(g2)
    points = root @ np.array(np.meshgrid(nodes, nodes)).reshape(2, -1)
    gauss = np.outer(weights, weights).reshape(-1)
    errors = []
    for strength in (4e-4, 4e-5):
        value = np.einsum("ijkl,ia,ja,ka,la->a", strength * quartic, *[points] * 4)
        density = gauss * np.exp(-value)
        density /= density.sum()
        second = np.einsum("a,ia,ja->ij", density, points, points)
        found = ff.correlators(g2, {2: np.zeros((2, 2)), 4: strength * quartic, 6: np.zeros((2,) * 6)}, order=2)
        errors.append(np.abs(found[2] - second).max())
    assert np.log10(errors[0] / errors[1]) == pytest.approx(3.0, abs=0.1)


def test_couplings_are_those_of_the_formula():
    g = ff.couplings({2: 1.3, 4: 0.02, 6: -0.004}, order=2)
    for legs in (2, 4, 6):
        assert float(g[legs]) == pytest.approx(
            ff.coupling_formula(legs, 2).compile()(*(1.3, 0.02, -0.004)[:3]), rel=1e-13
        )


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ((np.eye(3), np.zeros((3,) * 4), np.zeros((3,) * 6)), "G2"),
        ((1.3, np.zeros((2,) * 4), -0.004), "G4"),
        ((1.3, 0.02, np.zeros((2,) * 6)), "G6"),
    ],
)
def test_the_formula_of_one_point_refuses_tensors(values, name):
    compiled = ff.coupling_formula(legs=4, order=2).compile()
    with pytest.raises(
        BadInput, match=rf"{name}: expected numbers at one mesh point, got shape .*fieldflow\.couplings"
    ):
        compiled(*values)
    assert "one mesh point; for tensors on a mesh use fieldflow.couplings" in compiled.__doc__


def test_the_formula_of_one_point_broadcasts_over_parameter_values():
    compiled = ff.coupling_formula(legs=4, order=2).compile()
    line, quartic = np.linspace(1.0, 2.0, 3), np.linspace(0.0, 0.1, 4)
    grid = compiled(line[:, None], quartic, 0.0)
    assert grid[2, 1] == compiled(line[2], quartic[1], 0.0)
    # One point remains one point however many axes its tensors have.
    assert compiled(np.full((1, 1), 2.0), np.full((1,) * 4, 0.1), 0.0).item() == compiled(2.0, 0.1, 0.0)


def test_couplings_with_values_put_in_are_still_code():
    formula = ff.coupling_formula(legs=4, order=2)
    line = formula.args[0]
    fixed = formula.subs({line: 2})
    assert fixed.compile()(0.1, 0.2) == pytest.approx(formula.compile()(2.0, 0.1, 0.2), rel=1e-14)
    assert "pow(G4, 2)" in fixed.code("c")
    assert "-1/24*G4/G2^4" in formula.code("mathematica")


def test_catalogue():
    assert {f"action.g{r}" for r in (1, 2, 3, 4, 6)} <= set(ff.catalog())
    assert ff.derive("action.g4").args == (
        sp.Symbol("G2", positive=True),
        sp.Symbol("G4", real=True),
        sp.Symbol("G6", real=True),
    )


def test_a_regulator_is_white_noise():
    """Noise of variance r added to the field: the same higher cumulants, G2 + r."""
    g2, tensors = ensemble((4,))
    regular = ff.couplings({2: g2, **tensors}, regulator=0.3)
    assert np.array_equal(regular[4], ff.couplings({2: g2 + 0.3 * np.eye(2), **tensors})[4])


def test_a_mean_drops_out():
    assert float(ff.couplings({1: 5.0, 2: 1.0, 4: 0.1})[4]) == float(ff.couplings({2: 1.0, 4: 0.1})[4])


def test_any_point_order():
    g2, tensors = ensemble((4, 6), size=3)
    swap = [2, 0, 1]
    there = ff.couplings({2: g2, **tensors}, order=2)
    moved = ff.couplings(
        {2: g2[np.ix_(swap, swap)], **{n: t[np.ix_(*[swap] * n)] for n, t in tensors.items()}}, order=2
    )
    for r in there:
        np.testing.assert_allclose(moved[r], there[r][np.ix_(*[swap] * r)], rtol=0, atol=1e-13 * np.abs(there[r]).max())


BAD = [
    ({2: np.eye(2)}, {}, BadInput, "order 1 needs key 4, which is missing"),
    ({2: 1.0, 4: 0.1}, {"order": 3}, BadInput, "order 3 needs keys 6, 8, which are missing"),
    ({4: 0.1}, {}, BadInput, "needs key 2"),
    ({2: 1.0, 3: 0.1, 4: 0.1}, {"order": 2}, BadInput, "keys 5, 6"),
    ({2: np.ones((2, 2)), 4: np.zeros((2,) * 4)}, {}, BadInput, "rows 0 and 1 are equal: repeated mesh points"),
    ({2: np.diag([1.0, 0.0]), 4: np.zeros((2,) * 4)}, {}, NotPositiveDefinite, "condition number is inf"),
    ({2: np.array([[1.0, 2.0], [2.0, 1.0]]), 4: np.zeros((2,) * 4)}, {}, NotPositiveDefinite,
     r"cumulants\[2\]: expected G2 to be .* smallest eigenvalue is -1 "),
    ({2: np.diag([1.0, 1e-14]), 4: np.zeros((2,) * 4)}, {}, NotPositiveDefinite, "condition number is 1e\\+14"),
    ({2: np.array([[1.0, 0.5], [0.0, 1.0]]), 4: np.zeros((2,) * 4)}, {}, BadInput, r"cumulants\[2\]: expected a fully symmetric"),
    ({2: np.eye(2), 4: np.arange(16.0).reshape((2,) * 4)}, {}, BadInput, r"cumulants\[4\]: expected a fully symmetric tensor"),
    ({2: np.eye(2), 4: np.zeros((3,) * 4)}, {}, BadInput, "same points, got sizes 2: 2, 4: 3"),
    ({2: np.eye(2), 4: np.zeros((2,) * 3)}, {}, BadInput, r"cumulants\[4\]: expected shape \(m,\)\*4"),
    ({2: np.eye(2), 4: np.full((2,) * 4, np.nan)}, {}, BadInput, "finite"),
    ({2: 1.0, 4: 0.1, "six": 1.0}, {}, BadInput, "key"),
    (None, {}, BadInput, "expected a mapping"),
    ({2: 1.0, 4: 0.1}, {"order": 0}, BadInput, "order"),
    ({2: 1.0, 4: 0.1}, {"counting": "naive"}, BadInput, "counting"),
    ({2: 1.0, 4: 0.1}, {"regulator": -1.0}, BadInput, "regulator"),
]  # fmt: skip


@pytest.mark.parametrize(("cumulants", "more", "error", "says"), BAD)
def test_bad_cumulants(cumulants, more, error, says):
    with pytest.raises(error, match=says):
        ff.couplings(cumulants, **more)


def test_bad_couplings():
    with pytest.raises(BadInput, match="couplings: order 2 needs keys 2, 6"):
        ff.correlators(1.0, {4: 0.1}, order=2)
    with pytest.raises(NotPositiveDefinite, match="condition number"):
        ff.correlators(np.zeros((1, 1)), {2: 0.0, 4: 0.1})


def test_too_large_for_the_memory():
    m = 60
    with pytest.raises(BadInput, match=r"tensors of rank 6 on 60 mesh points: needs \d+\.\d GiB of memory"):
        ff.correlators(np.eye(m), {2: np.zeros((m, m)), 4: np.zeros((m,) * 4), 6: np.zeros((1,) * 6)}, order=2)


def test_draw_returns_axes(tmp_path):
    axes = ff.diagrams(legs=4, order=2)[-1].draw()
    axes.figure.savefig(tmp_path / "bubble.png")
    assert (tmp_path / "bubble.png").stat().st_size > 1000


@pytest.mark.parametrize("call", [ff.diagrams, ff.coupling_formula])
def test_the_order_at_which_diagrams_start_is_named(call):
    with pytest.raises(BadInput, match=r"from [01] to 4 at order 1, got 6: diagrams with 6 legs start at order 2$"):
        call(legs=6, order=1)
    with pytest.raises(BadInput, match=r"got 5: diagrams with 5 legs start at order 2$"):
        call(legs=5, order=1, odd=True)
    assert call(legs=6, order=2)
    assert call(legs=np.int64(4), order=np.int64(1))
    with pytest.raises(BadInput, match="legs: g_5 vanishes without odd cumulants"):
        call(legs=5, order=2)
    with pytest.raises(BadInput, match=r"legs: expected an integer from [01] to 4 at order 1, got 4\.0$"):
        call(legs=4.0, order=1)


@pytest.mark.parametrize("axes", [3, "axes"])
def test_draw_names_what_are_no_axes(axes):
    with pytest.raises(BadInput, match="ax: expected matplotlib axes or None, got"):
        ff.diagrams(legs=4, order=1)[0].draw(ax=axes)


def test_size_comes_before_any_tensor_is_read():
    wide = np.broadcast_to(0.0, (60,) * 6)  # 348 GiB if it were copied
    with pytest.raises(BadInput, match="tensors of rank 6 on 60 mesh points"):
        ff.couplings({2: np.eye(60), 4: np.zeros((60,) * 4), 6: wide}, order=2)


@pytest.mark.parametrize("call", [lambda: ff.couplings({}), lambda: ff.correlators(1.0, {})])
def test_empty_mappings(call):
    with pytest.raises(BadInput, match="got an empty one"):
        call()
