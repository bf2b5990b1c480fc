"""How far is a wide network from infinitely wide? The 1/N corrections of trained and coarse-grained ensembles.

Given its hidden layer a network is Gaussian, with mean μ and covariance C that are functions of its own kernels
K = (1/N) Σ_i t_i and K_> = (1/N) Σ_i t_i 1{λ_i >= Λ}, t_i = s_w N h_i h_i^T: averages over N independent neurons.  So all
that the ensemble is at order 1/N is an average over *one* neuron (von Mises' expansion), with D the derivative along the
deviation of its t from K.
"""

from collections.abc import Callable
from functools import cache
from itertools import combinations
from typing import Any

import sympy as sp

from fieldflow.symbolic import shells
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.noncommutative import derivative, noncommutative, symbols

_ORDER = "order 1/N^1"
_ONE_NEURON = "one hidden layer of N independent neurons, Gaussian read-out; D: derivative along a neuron's t - K, t 1{stiff} - K_>"
N = sp.Symbol("N", positive=True)

_n, _p, _r, _outputs = sp.symbols("n p r o", positive=True, integer=True)
_MATRICES: dict[str, Any] = {
    "M": sp.MatrixSymbol("M", _n, _n),
    "Mdot": sp.MatrixSymbol("M_dot", _n, _n),
    "Mddot": sp.MatrixSymbol("M_ddot", _n, _n),
    "k_x": sp.MatrixSymbol("k_stiff_x", _n, _p),
    "k_y": sp.MatrixSymbol("k_stiff_y", _n, _r),
    "kdot_x": sp.MatrixSymbol("k_dot_x", _n, _p),
    "kdot_y": sp.MatrixSymbol("k_dot_y", _n, _r),
    "K": sp.MatrixSymbol("K", _n, _n),
    "Kdot": sp.MatrixSymbol("K_dot", _n, _n),
    "K_xy": sp.MatrixSymbol("K_xy", _p, _r),
    "Kdot_xy": sp.MatrixSymbol("K_dot_xy", _p, _r),
    "Y": sp.MatrixSymbol("Y", _n, _outputs),
}
_TRANSPOSED = ("M", "Mdot", "Mddot", "k_x", "kdot_x")
_AS_MATRICES = _MATRICES | {f"{name}^T": _MATRICES[name].T for name in _TRANSPOSED}
_nc = dict(zip(_AS_MATRICES, symbols(" ".join(_AS_MATRICES)), strict=True))

_RATES = {
    "M": "Mdot", "Mdot": "Mddot", "M^T": "Mdot^T", "Mdot^T": "Mddot^T", "k_x^T": "kdot_x^T", "k_y": "kdot_y", "K": "Kdot",
    "K_xy": "Kdot_xy",
}  # fmt: skip
"""d/dt along a straight line of kernels: K, k_> and K_xy move at a constant rate, M, a function of K, does not."""


def _average_moments(order: int) -> tuple[sp.Expr, ...]:
    """Return E Δ^k, k = 0 … order, of the average Δ of N independent deviations with cumulants 0, c_2, c_3, …"""
    cumulants = (sp.Integer(0), sp.Integer(0), *sp.symbols(f"c_2:{order + 1}", real=True))
    moments: list[sp.Expr] = [sp.Integer(1)]
    for k in range(1, order + 1):
        # Cumulants add: those of Δ are c_j/N^{j-1}.
        terms = (sp.binomial(k - 1, j - 1) * cumulants[j] / N ** (j - 1) * moments[k - j] for j in range(1, k + 1))
        moments.append(sp.expand(sum(terms, sp.Integer(0))))
    return tuple(moments)


def _taylor(name: str, delta: sp.Symbol, order: int) -> tuple[sp.Expr, tuple[sp.Symbol, ...]]:
    """Return F(K + Δ) - F(K) and its derivatives D^k F."""
    slopes = sp.symbols(f"{name}_1:{order + 1}", real=True)
    terms = (slope * delta**k / sp.factorial(k) for k, slope in enumerate(slopes, start=1))
    return sum(terms, sp.Integer(0)), slopes


@cache
def _expectation_steps() -> tuple[Step, ...]:
    """Return that E F = F(K) + E[D²F]/2N and Cov(F, G) = E[DF DG]/N up to O(1/N²), by Taylor's theorem."""
    average = _average_moments(8)
    delta, small = sp.Symbol("Delta", real=True), sp.Symbol("x", positive=True)
    (f, (f1, f2, *_)), (g, (g1, *_)) = (_taylor(name, delta, 4) for name in "FG")
    c2, c3, c4 = sp.symbols("c_2:5", real=True)

    def expected(expr: sp.Expr) -> sp.Expr:
        terms = sp.Poly(sp.expand(expr), delta).terms()
        return sp.expand(sum((coefficient * average[power] for (power,), coefficient in terms), sp.Integer(0)))

    def first(expr: sp.Expr) -> sp.Expr:
        return sp.expand(expr.subs(N, 1 / small)).coeff(small, 1)

    a, b = (_taylor(name, delta, 2)[0] for name in "FG")
    mean_a, mean_b = expected(a), expected(b)
    third = expected(a * a * b) - 2 * mean_a * expected(a * b) - mean_b * expected(a * a) + 2 * mean_a**2 * mean_b
    return (
        step(average[3] + average[4], c3 / N**2 + 3 * c2**2 / N**2 + c4 / N**3,
             "cumulants add: E Delta^2 = c_2/N, while E Delta^3 and E Delta^4 are O(1/N^2)"),
        step(first(expected(f)), f2 * c2 / 2, "E F - F(K) at order 1/N is E[D^2 F]/2 (Taylor to fourth order)"),
        step(first(expected(f * g) - expected(f) * expected(g)), f1 * g1 * c2, "Cov(F, G) at order 1/N is E[DF DG]"),
        step(first(third), sp.Integer(0), "third joint cumulants of such functionals are O(1/N^2)"),
    )  # fmt: skip


Split = tuple[tuple[int, ...], tuple[tuple[int, int], ...]]
"""Points at which μ is taken, and pairs of points at which C is."""


def _total_cumulance(order: int) -> tuple[sp.Expr, dict[Split, sp.Symbol]]:
    """Return κ of f at ``order`` different points in joint cumulants of μ and C: ln E e^{t·μ + ½t·C·t}, given Gaussianity."""
    t = sp.symbols(f"t_1:{order + 1}", real=True)
    points = range(order)
    pairs = list(combinations(points, 2))
    # Only terms linear in every t are needed: the diagonal of C cannot contribute.
    found: sp.Expr = sp.Integer(0)
    names: dict[Split, sp.Symbol] = {}
    for count in range(order // 2 + 1):
        for chosen in combinations(pairs, count):
            used = [i for pair in chosen for i in pair]
            if len(set(used)) != len(used):
                continue
            rest = tuple(i for i in points if i not in used)
            names[rest, chosen] = sp.Symbol(rf"\kappa({_printed(rest, chosen)})")
            weight = sp.prod([t[i] for i in rest]) * sp.prod([t[i] * t[j] for i, j in chosen])
            found += names[rest, chosen] * weight
    return sp.diff(found, *t), names


def _label(rest: tuple[int, ...], pairs: tuple[tuple[int, int], ...]) -> str:
    parts = [f"mu{i + 1}" for i in rest] + [f"C{i + 1}{j + 1}" for i, j in pairs]
    return "".join(parts)


def _printed(rest: tuple[int, ...], pairs: tuple[tuple[int, int], ...]) -> str:
    return ", ".join([rf"\mu_{i + 1}" for i in rest] + [f"C_{{{i + 1}{j + 1}}}" for i, j in pairs])


def _leading(order: int) -> tuple[sp.Expr, sp.Expr, list[sp.Symbol]]:
    """Return the law of total cumulance, what is left of it at order 1/N, and the one-neuron averages of that."""
    total, names = _total_cumulance(order)
    averages: list[sp.Symbol] = []
    kept: sp.Expr = sp.Integer(0)
    for rest, pairs in sorted(names):
        if len(rest) + len(pairs) == 2:
            averages.append(sp.Symbol("E_" + _label(rest, pairs), real=True))
            kept += averages[-1] / N
    return total, kept, averages


def _formula(name: str, lhs: str, expr: sp.Expr, args: tuple[Any, ...], steps: tuple[Step, ...], after: tuple[str, ...],
             domain: str = _ONE_NEURON, validity: str = _ORDER) -> Formula:  # fmt: skip
    return Formula(
        name=f"finite_width.{name}", lhs=sp.Symbol(lhs), expr=expr, args=args, domain=domain, validity=validity,
        derived_from=after, steps=steps,
    )  # fmt: skip


@cache
def mean_shift() -> Formula:
    """Return E f - μ = E[D²μ]/2N."""
    average = sp.Symbol("E_D2mu", real=True)
    return _formula(
        "mean", r"\mathrm{E} f_\Lambda - \mu_\Lambda", average / (2 * N), (average, N),
        _expectation_steps()[:2], ("finite_width.mean_curvature",),
    )  # fmt: skip


@cache
def variance_excess() -> Formula:
    """Return Cov f - C = (E[Dμ Dμ] + ½E[D²C])/N, at two points or one."""
    product, curvature = sp.symbols("E_DmuDmu E_D2C", real=True)
    t1, t2 = sp.symbols("t_1 t_2", real=True)
    inner, outer = sp.symbols("E_C Cov_mu", real=True)
    joint = t1 * t2 * (inner + outer)
    return _formula(
        "variance", r"\mathrm{Cov} f_\Lambda - \Sigma_\Lambda", (product + curvature / 2) / N, (product, curvature, N),
        (
            step(sp.diff(joint, t1, t2), inner + outer, "total covariance: E[C] + Cov(mu, mu), from ln E exp(t mu + t C t/2)"),
            *_expectation_steps()[1:3],
        ),
        ("finite_width.mean_slope", "finite_width.covariance_curvature"),
    )  # fmt: skip


def _cumulant(order: int, symbol: str) -> Formula:
    total, kept, averages = _leading(order)
    return _formula(
        f"kappa{order}", symbol, kept, (*averages, N),
        (
            definition(sp.Symbol(rf"\kappa_{order}"), total, "total cumulance: ln E exp(t mu + t C t/2), linear in every t"),
            *_expectation_steps()[2:],
        ),
        ("finite_width.mean_slope", "finite_width.covariance_slope"),
        _ONE_NEURON + "; mu1C23: average of D mu(x_1) D C(x_2, x_3)",
    )  # fmt: skip


@cache
def third_cumulant() -> Formula:
    """Return κ₃ = Σ₃ E[Dμ DC]/N at three points; 3E[Dμ DC]/N at one."""
    return _cumulant(3, r"\kappa_3")


@cache
def fourth_cumulant() -> Formula:
    """Return κ₄ = Σ₃ E[DC DC]/N at four points; 3E[(DC)²]/N at one."""
    return _cumulant(4, r"\kappa_4")


def _moved(expr: Any) -> sp.Expr:
    named = {
        "k_stiff_x^T": _nc["k_x^T"], "k_stiff_y": _nc["k_y"], "M": _nc["M"], "M^T": _nc["M^T"], "Y": _nc["Y"], "K": _nc["K"],
        "K_xy": _nc["K_xy"],
    }  # fmt: skip
    return noncommutative(expr, named)


def _along(expr: sp.Expr, order: int) -> sp.Expr:
    """Return D or D² of an expression of kernels, by Leibniz' rule."""
    rates = {_nc[name]: _nc[rate] for name, rate in _RATES.items()}
    for _ in range(order):
        expr = derivative(expr, rates)
    return expr


def _slope(name: str, lhs: str, start: Formula, order: int) -> Formula:
    """Return D (order 1) or D² (order 2) of a formula of the shell flow."""
    before = _moved(start.expr)
    found = _along(before, order)
    value = shells.as_matrices(found, _AS_MATRICES)
    args = tuple(matrix for matrix in _MATRICES.values() if value.has(matrix))
    t = sp.Symbol("t", real=True)
    line = {
        "M": _nc["M"] + t * _nc["Mdot"] + t**2 / 2 * _nc["Mddot"],
        "M^T": _nc["M^T"] + t * _nc["Mdot^T"] + t**2 / 2 * _nc["Mddot^T"],
        **{name: _nc[name] + t * _nc[_RATES[name]] for name in ("k_x^T", "k_y", "K", "K_xy")},
    }
    moved = sp.expand(before.subs({_nc[name]: value for name, value in line.items()}, simultaneous=True))
    return _formula(
        name, lhs, value, args,
        (step(found, sp.expand(sp.factorial(order) * moved.coeff(t, order)),
              f"Leibniz' rule is the coefficient of t^{order} along K + t K_dot, M + t M_dot + t^2 M_ddot/2 (times {order}!)"),),
        (start.name,), "dots: derivatives along one neuron's deviation; prune: K_xy is K_>(x, y)",
        "exact at any width, given the hidden layer",
    )  # fmt: skip


@cache
def inverse_slope() -> Formula:
    """Return Ṁ = -M K̇ M of the posterior, M = K^{-1}; gradient training by truncated Taylor arithmetic (``numeric.jets``)."""
    found = -_nc["M"] * _nc["Kdot"] * _nc["M"]
    rates = {_nc["M"]: _nc["Mdot"], _nc["K"]: _nc["Kdot"]}
    solved = derivative(_nc["M"] * _nc["K"], rates).subs(_nc["Mdot"], found)
    value = sp.expand(solved).subs(_nc["M"] * _nc["K"], 1)
    return _formula(
        "posterior_slope", r"\dot{M}", shells.as_matrices(found, _AS_MATRICES), (_MATRICES["M"], _MATRICES["Kdot"]),
        (step(sp.expand(value), sp.Integer(0), "d(M K) = 0 with M K = 1"),),
        ("training.posterior",), "M = K^{-1}", "exact at any width, given the hidden layer",
    )  # fmt: skip


@cache
def inverse_curvature() -> Formula:
    """Return M̈ = 2M K̇ M K̇ M of the posterior."""
    slope = -_nc["M"] * _nc["Kdot"] * _nc["M"]
    found = derivative(slope, {_nc["M"]: slope})
    return _formula(
        "posterior_curvature", r"\ddot{M}", shells.as_matrices(found, _AS_MATRICES), (_MATRICES["M"], _MATRICES["Kdot"]),
        (step(found, 2 * _nc["M"] * _nc["Kdot"] * _nc["M"] * _nc["Kdot"] * _nc["M"], "Leibniz' rule once more"),),
        ("finite_width.posterior_slope",), "M = K^{-1}", "exact at any width, given the hidden layer",
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {
    "finite_width.mean_slope": lambda: _slope("mean_slope", r"D\mu_\Lambda", shells.mean(), 1),
    "finite_width.mean_curvature": lambda: _slope("mean_curvature", r"D^2\mu_\Lambda", shells.mean(), 2),
    "finite_width.covariance_slope": lambda: _slope("covariance_slope", r"D\Sigma_\Lambda", shells.covariance(), 1),
    "finite_width.covariance_curvature": lambda: _slope(
        "covariance_curvature", r"D^2\Sigma_\Lambda", shells.covariance(), 2
    ),
    "finite_width.posterior_slope": inverse_slope,
    "finite_width.posterior_curvature": inverse_curvature,
    "finite_width.mean": mean_shift,
    "finite_width.variance": variance_excess,
    "finite_width.kappa3": third_cumulant,
    "finite_width.kappa4": fourth_cumulant,
}
