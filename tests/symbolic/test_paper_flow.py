"""(64)-(76) against exact enumeration of small probability spaces, their moments against quadrature at 30 digits."""

from itertools import product

import mpmath
import pytest
import sympy as sp

from fieldflow.symbolic import paper_flow, paper_shell
from fieldflow.symbolic.paper_flow import s_w

third, half = sp.Rational(1, 3), sp.Rational(1, 2)
FORMULAS = {**paper_flow.FORMULAS, **paper_shell.FORMULAS}

# Three equally likely hidden layers of two neurons at points x and y, and three equally likely (w_a, w_b, b_a, b_b).
HIDDEN = [
    (sp.Matrix([1, 2]), sp.Matrix([3, -1])),
    (sp.Matrix([0, 1]), sp.Matrix([2, 2])),
    (sp.Matrix([5, -2]), sp.Matrix([1, 1])),
]
WEIGHTS = [
    (sp.Matrix([1, 0]), sp.Matrix([2, 1]), 1, 0),
    (sp.Matrix([0, 3]), sp.Matrix([-1, 1]), 2, -1),
    (sp.Matrix([2, 2]), sp.Matrix([0, 4]), -1, 2),
]
STIFF = [sp.diag(1, 0), sp.diag(1, 1), sp.diag(0, 1)]
"""The partition of each hidden layer."""


def mean(values):
    values = list(values)
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total / sp.Integer(len(values))


def evaluate(name, **values):
    """Return a formula with explicit matrices and numbers in place of its arguments, exactly."""
    formula = FORMULAS[name]()
    matrices = {a: sp.ImmutableMatrix(values[str(a)]) for a in formula.args if isinstance(a, sp.MatrixSymbol)}
    numbers = {a: values[str(a)] for a in formula.args if not isinstance(a, sp.MatrixSymbol)}
    sizes = {}
    for symbol, value in matrices.items():
        sizes |= {
            size: number for size, number in zip(symbol.shape, value.shape, strict=True) if isinstance(size, sp.Symbol)
        }
    expr = formula.expr.subs(sizes)
    renamed = {a.subs(sizes): value for a, value in matrices.items()}
    found = expr.subs(renamed).subs(numbers).doit()
    return sp.Matrix(found.as_explicit()) if isinstance(found, sp.MatrixExpr) else sp.simplify(found)


def moments(stiff=None):
    kept = stiff or [sp.eye(2)] * 3
    pairs = [(s * hx, s * hy) for s, (hx, hy) in zip(kept, HIDDEN, strict=True)]
    return mean(p[0] for p in pairs), mean(p[1] for p in pairs), mean(p[0] * p[1].T for p in pairs)


def weight_moments():
    w_a, w_b = mean(w[0] for w in WEIGHTS), mean(w[1] for w in WEIGHTS)
    b_a, b_b = mean(w[2] for w in WEIGHTS), mean(w[3] for w in WEIGHTS)
    return {
        "w_mean_a": w_a, "w_mean_b": w_b, "b_mean_a": sp.Matrix([[b_a]]), "b_mean_b": sp.Matrix([[b_b]]),
        "Xi": mean(w[1] * w[0].T for w in WEIGHTS) - w_b * w_a.T,
        "Xi_wb": mean(w[1] * w[2] for w in WEIGHTS) - w_b * b_a,
        "Xi_bw": mean(w[3] * w[0].T for w in WEIGHTS) - b_b * w_a.T,
        "Xi_bb": sp.Matrix([[mean(w[2] * w[3] for w in WEIGHTS) - b_a * b_b]]),
    }  # fmt: skip


def test_every_equation_from_64_to_76_has_a_formula():
    assert {f"paper.eq{n}" for n in range(64, 77)} <= set(FORMULAS)


@pytest.mark.parametrize(
    ("bias", "names"), [(1, ("eq64", "eq65")), (1, ("eq72_mean", "eq72")), (0, ("eq73_mean", "eq73"))]
)
def test_predictive_law_by_enumeration(bias, names):
    draws = list(product(WEIGHTS, HIDDEN))
    left = [(w[0].T * h[0])[0] + bias * w[2] for w, h in draws]
    right = [(w[1].T * h[1])[0] + bias * w[3] for w, h in draws]
    v_x, v_y, v_xy = moments()
    values = {**weight_moments(), "V_x": v_x, "V_y": v_y, "V_xy": v_xy}
    assert evaluate(f"paper.{names[0]}", **values) == mean(left)
    truth = mean(a * b for a, b in zip(left, right, strict=True)) - mean(left) * mean(right)
    found = evaluate(f"paper.{names[1]}", **values)
    assert found == truth
    # Without the spread of the features under the mean weights, the last line of (65), it is another number.
    assert evaluate(f"paper.{names[1]}", **{**values, "V_xy": v_x * v_y.T}) != truth


def shell_by_enumeration(partitions):
    """Return mean at x and covariance of f_Λ(x), f_Λ(y), redrawn weights ±√s_w with s_w = 1/4."""
    redraws = [sp.Matrix(signs) / 2 for signs in product((1, -1), repeat=2)]
    left, right = [], []
    for (w, _, _, _), (h_x, h_y), stiff, xi in (
        (w, h, s, xi) for w in WEIGHTS for h, s in zip(HIDDEN, partitions, strict=True) for xi in redraws
    ):
        own = stiff * w + (sp.eye(2) - stiff) * xi
        left.append((own.T * h_x)[0])
        right.append((own.T * h_y)[0])
    return mean(left), mean(a * b for a, b in zip(left, right, strict=True)) - mean(left) * mean(right)


def single_weights():
    average = mean(w[0] for w in WEIGHTS)
    return {
        "w_mean": average,
        "Xi": mean(w[0] * w[0].T for w in WEIGHTS) - average * average.T,
        "s_w": sp.Rational(1, 4),
    }


@pytest.mark.parametrize("stiff", STIFF)
def test_76_holds_with_one_partition(stiff):
    v_x, v_y, v_xy = moments()
    values = {**single_weights(), "S": stiff, "V_x": v_x, "V_y": v_y, "V_xy": v_xy}
    expected = shell_by_enumeration([stiff] * 3)
    assert evaluate("paper.eq76_mean", **values) == expected[0]
    assert evaluate("paper.eq76", **values) == expected[1]
    kept, covariance = evaluate("paper.eq74", **values), evaluate("paper.eq75", **values)
    assert evaluate("paper.eq73_mean", w_mean_a=kept, V_x=v_x) == expected[0]
    assert (
        evaluate("paper.eq73", Xi=covariance, w_mean_a=kept, w_mean_b=kept, V_x=v_x, V_y=v_y, V_xy=v_xy) == expected[1]
    )


def test_memberwise_partitions_need_the_other_law():
    stiff_x, stiff_y, pair = moments(STIFF)
    sloppy = mean((sp.eye(2) - s) * h[0] * h[1].T for s, h in zip(STIFF, HIDDEN, strict=True))
    kept = mean(s * h[0] * h[1].T * s for s, h in zip(STIFF, HIDDEN, strict=True))
    assert kept == pair
    values = {**single_weights(), "V_stiff_x": stiff_x, "V_stiff_y": stiff_y, "V_stiff": kept, "V_sloppy": sloppy}
    expected = shell_by_enumeration(STIFF)
    assert evaluate("paper.eq76_memberwise_mean", **values) == expected[0]
    assert evaluate("paper.eq76_memberwise", **values) == expected[1]
    v_x, v_y, v_xy = moments()
    printed = [evaluate("paper.eq76", **single_weights(), S=s, V_x=v_x, V_y=v_y, V_xy=v_xy) for s in STIFF]
    assert expected[1] not in printed


def test_fourth_cumulant_by_enumeration():
    law = [(sp.Integer(2), sp.Integer(1)), (sp.Integer(-1), sp.Integer(3)), (sp.Integer(0), half)]  # (m, v)
    centre = mean(m for m, _ in law)
    d = [m - centre for m, _ in law]
    e = [v - mean(v for _, v in law) for _, v in law]
    values = {
        "k_mmmm": mean(x**4 for x in d) - 3 * mean(x**2 for x in d) ** 2,
        "k_mmv": mean(x**2 * y for x, y in zip(d, e, strict=True)),
        "k_vv": mean(y**2 for y in e),
    }
    second = mean(x**2 + v for x, (_, v) in zip(d, law, strict=True))
    fourth = mean(x**4 + 6 * x**2 * v + 3 * v**2 for x, (_, v) in zip(d, law, strict=True))
    assert evaluate("paper.eq68", **values) == fourth - 3 * second**2


def test_trained_law_is_the_law_of_explicit_descent():
    features = sp.Matrix([[1, 2, 0], [1, -1, 1]]) / 2  # two points, three neurons
    target, rate, prior = sp.Matrix([1, 3]), sp.Rational(1, 10), sp.Rational(1, 3)
    step = sp.eye(2) - rate * prior * features * features.T
    response = rate * (sp.eye(2) + step + step**2)  # M after three full-batch steps of size rate·s_w
    weights, loading = sp.zeros(3, 1), sp.eye(3)
    for _ in range(3):
        weights = weights + rate * prior * features.T * (target - features * weights)
        loading = loading - rate * prior * features.T * features * loading
    given = {"H": features, "M": response, "Y": target, "s_w": prior}
    assert sp.simplify(evaluate("paper.eq69", **given) - weights) == sp.zeros(3, 1)
    assert sp.simplify(evaluate("paper.eq70", **given) - prior * loading * loading.T) == sp.zeros(3, 3)


def test_posterior_of_many_data():
    prior, count, fisher = sp.Rational(1, 2), 10**8, sp.Rational(3, 7)
    exact = 1 / (1 / prior + count * fisher)
    assert abs(evaluate("paper.eq71", n=count, **{"lambda": fisher}) / exact - 1) < sp.Rational(1, 10**7)


@pytest.mark.parametrize("variance", ["0.3", "2.5"])
def test_feature_moments_against_quadrature(variance):
    with mpmath.workdps(30):
        q = mpmath.mpf(variance)
        density = lambda u: mpmath.npdf(u, 0, mpmath.sqrt(q))  # noqa: E731
        exact = mpmath.quad(lambda u: u * density(u), [0, 2, 5, 30])
        found = mpmath.mpf(
            str(sp.N(FORMULAS["paper.eq66"]().expr.subs(sp.Symbol("q", nonnegative=True), sp.Rational(variance)), 30))
        )
        assert abs(found - exact) < mpmath.mpf(10) ** -20


def test_neurons_are_independent_and_equal():
    found = evaluate("paper.eq67", V_x=sp.Matrix([2, 2]), V_y=sp.Matrix([3, 3]), k_xy=7, v_x=2, v_y=3)
    assert found == sp.Matrix([[7, 6], [6, 7]])


@pytest.mark.parametrize(("d", "cutoff"), [(1, "0.2"), (2, "0.7"), (3, "1.9")])
def test_stiff_share_of_the_mean_feature_against_radial_quadrature(d, cutoff):
    formula = FORMULAS["paper.eq66_stiff"]()
    numbers = dict(
        zip(formula.args, [sp.Rational(cutoff), d, 1, half, sp.Rational(4, 5), sp.Rational(6, 5), 1], strict=True)
    )
    found = mpmath.mpf(str(sp.N(formula.expr.subs(numbers), 30)))
    with mpmath.workdps(30):
        s_x, sigma_v = mpmath.mpf("0.8"), mpmath.mpf("1.2")
        edge = mpmath.sqrt(2 * mpmath.mpf(cutoff)) / s_x  # λ = s_x² r²/2 = Λ

        def radial(r):
            return r**d * mpmath.exp(-(r**2) / (2 * sigma_v**2))

        whole = mpmath.quad(radial, [0, 1, 3, 8, 40])
        assert abs(found - mpmath.quad(radial, [edge, edge + 2, edge + 8, 40]) / whole) < mpmath.mpf(10) ** -14
    assert formula.expr.subs(formula.args[0], 0) == 1


def test_gap_is_the_covariance_of_the_features():
    values = {"k_x": sp.Matrix([3, 1]), "M": sp.eye(2), "Y": sp.Matrix([1, 2]), "V_at_x": sp.Matrix([[2]])}
    found = evaluate("paper.eq64_gap", **values, V_X=sp.Matrix([[1, half]]), s_wN=sp.Integer(1))
    assert found == sp.Matrix([[(3 - 2) * 1 + (1 - 1) * 2]])


def test_printed_variance_of_redrawn_weights_is_the_width_too_large():
    width, nothing = 4, sp.zeros(4, 4)
    redrawn = evaluate("paper.eq75", S=nothing, Xi=nothing, s_w=sp.Rational(1, width))
    printed = evaluate("paper.eq75", S=nothing, Xi=nothing, s_w=sp.Integer(1))
    assert printed == width * redrawn
    assert s_w in FORMULAS["paper.eq75"]().expr.free_symbols
