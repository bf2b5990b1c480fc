"""What does a read-out drawn independently of the hidden layer predict? Equations (64)-(73) of arXiv:2405.17538.

Three ensembles share the equations.  *shared*: all members have one frozen hidden layer, V = h and everything is exact.
*factorised*: weights of the trained law on a freshly drawn hidden layer, as (63) says.  *independent*: every member is
trained on its own hidden layer; (63) does not hold (see ``paper.eq64_gap``).

Raw features h (a neuron a row), prior variance s_w of one read-out weight, V_x = E[h(x)], V_xy = E[h(x)h(y)ᵀ].  A scalar is
written as its trace, which is cyclic: f(x)f(y) = tr[w wᵀ h(x)h(y)ᵀ].
"""

from collections.abc import Callable, Mapping
from functools import cache, reduce
from operator import mul
from typing import Any

import sympy as sp

from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.shells import homogeneous_factor
from fieldflow.symbolic.special import RegularizedUpperGamma
from fieldflow.symbolic.symbols import d, degree, q

GIVEN = "exact at any width, given the hidden layer"
ANY = "exact at any width"

s_w = sp.Symbol("s_w", positive=True)
_N, _n = sp.symbols("N n", positive=True, integer=True)

_SHAPES: Mapping[str, tuple[Any, Any]] = {
    **dict.fromkeys(("w_mean", "w_mean_a", "w_mean_b", "V_x", "V_y", "V_stiff_x", "V_stiff_y", "Xi_wb"), (_N, 1)),
    **dict.fromkeys(("V_xy", "V_stiff", "V_sloppy", "Xi", "S"), (_N, _N)),
    **dict.fromkeys(("b_mean_a", "b_mean_b", "Xi_bb"), (1, 1)),
    **dict.fromkeys(("m_x", "m_y"), (1, 1)),
    "Xi_bw": (1, _N),
    "H": (_n, _N),
    "M": (_n, _n),
    "Y": (_n, 1),
    "k_x": (_n, 1),
    "V_X": (1, _n),
    "V_at_x": (1, 1),
}


def matrix(name: str) -> sp.MatrixSymbol:
    """Return the matrix of this name, as the formulas take it."""
    return sp.MatrixSymbol(name, *_SHAPES[name])


def nc(names: str) -> Any:
    """Return non-commutative symbols: products of matrices that the algebra must keep in order."""
    return sp.symbols(names, commutative=False)


def _factor(symbol: sp.Symbol, size: Any) -> Any:
    if symbol.name == "1":
        return sp.Identity(size)
    return matrix(symbol.name.removesuffix("^T")).T if symbol.name.endswith("^T") else matrix(symbol.name)


def _products(expr: sp.Expr, size: Any = _N) -> list[tuple[sp.Expr, Any]]:
    """Return the terms of a non-commutative sum as (number, product of matrices)."""
    found = []
    for term in sp.Add.make_args(sp.expand(expr)):
        number, factors = term.args_cnc()
        names = [factor for part in factors for factor in ([part.base] * int(part.exp) if part.is_Pow else [part])]
        product = reduce(mul, [_factor(factor, size) for factor in names], sp.Identity(size)).doit()
        found.append((reduce(mul, number, sp.Integer(1)), product))
    return found


def traced(expr: sp.Expr) -> sp.Expr:
    """Return a non-commutative sum of cyclic words as traces of matrices, so that a derived result is never retyped."""
    return sp.Add(*(number * sp.Trace(product) for number, product in _products(expr)))


def summed(expr: sp.Expr, size: Any = _N) -> Any:
    """Return a non-commutative sum as a sum of matrices."""
    terms = [product * number for number, product in _products(expr, size)]
    return sp.MatAdd(*terms).doit() if len(terms) > 1 else terms[0]


def paper(number: int) -> tuple[Reference, ...]:
    return (Reference("howard2024bayesian", f"Eq. ({number})"),)


def replaced(expr: sp.Expr, rules: Mapping[Any, Any]) -> sp.Expr:
    for before, after in rules.items():
        expr = sp.expand(sp.expand(expr).subs(before, after))
    return expr


# Moments of the hidden layer: (66), (67)


@cache
def feature_mean() -> Formula:
    """Return V(x) = E[h(x)] of a ReLU unit: √(q/2π), q the variance of its preactivation."""
    u = sp.Symbol("u", real=True)
    variance = sp.Symbol("q", positive=True)
    density = sp.exp(-(u**2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)
    value = variance * density.subs(u, 0)
    return Formula(
        name="paper.eq66",
        lhs=sp.Symbol("V^{i}(x)"),
        expr=value.subs(variance, q),
        args=(q,),
        domain="(66) is a definition, V = E[h]; here a ReLU unit with preactivation N(0, q)",
        validity=ANY,
        references=paper(66),
        derived_from=("lemma.stein",),
        steps=(
            step(u * density, -variance * sp.diff(density, u), "Stein: E[u theta(u)] = q E[delta(u)]"),
            step(sp.integrate(u * density, (u, 0, sp.oo)), value, "q times the density at 0"),
        ),
    )


@cache
def feature_pair() -> Formula:
    """Return V_xy = V_x V_yᵀ + (k - v_x v_y)·1 of independent, equal neurons: off-diagonal products, diagonal E[h h]."""
    same, left, right = sp.symbols("k_xy v_x v_y", real=True)
    expr = matrix("V_x") * matrix("V_y").T + (same - left * right) * sp.Identity(_N)
    two = sp.Matrix([left, left]) * sp.Matrix([[right, right]]) + (same - left * right) * sp.eye(2)
    return Formula(
        name="paper.eq67",
        lhs=sp.Symbol("V(x, y)"),
        expr=expr,
        args=(matrix("V_x"), matrix("V_y"), same, left, right),
        domain="(67) for one hidden layer of independent, equal neurons: k_xy = E[h_i(x)h_i(y)], v_x = E[h_i(x)]; or the "
        "same three averages over stiff neurons only",
        validity=ANY,
        references=paper(67),
        derived_from=("paper.eq66", "independence of the neurons"),
        steps=(
            step(two[0, 1], left * right, "two neurons, i != j: E[h_i h_j] = E[h_i] E[h_j]"),
            step(two[0, 0], same, "i = j: E[h_i(x) h_i(y)]"),
        ),
    )


@cache
def stiff_factor() -> Formula:
    """Return V^>/V = Q(d/2 + k/2, u): the share of E[h] that stiff neurons carry, as ``shell.homogeneous_Z`` for E[hh]."""
    u = sp.Symbol("u", positive=True)
    order = d / 2 + degree / 2
    both = homogeneous_factor()
    expr = RegularizedUpperGamma(order, both.expr.args[1])
    share = sp.uppergamma(order, u) / sp.gamma(order)
    return Formula(
        name="paper.eq66_stiff",
        lhs=sp.Symbol("V^{>}(x)/V(x)"),
        expr=expr,
        args=both.args,
        domain=both.domain,
        validity=ANY,
        references=(Reference("howard2024bayesian", "Eqs. (66), (95)"),),
        derived_from=("shell.homogeneous_Z",),
        steps=(
            step(sp.diff(share, u), -(u ** (order - 1)) * sp.exp(-u) / sp.gamma(order),
                 "minus the normalised density u^{d/2-1} e^{-u} times u^{k/2}: one leg h carries |v|^k"),
            step(sp.uppergamma(order, 0) / sp.gamma(order), sp.Integer(1), "everything is stiff at u = 0"),
        ),
    )  # fmt: skip


# The predictive law: (64), (65), (68), (72), (73)


_WEIGHTS = {
    "w_b": "w_mean_b", "w_a^T": "w_mean_a^T", "b_a": "b_mean_a", "b_b": "b_mean_b",
}  # fmt: skip


def _two_point() -> sp.Expr:
    """Return f_a(x) f_b(y) as cyclic words, f_a = b_a + w_aᵀ h."""
    w_b, w_at, b_a, b_b, h_x, h_yt = nc("w_b w_a^T b_a b_b h_x h_y^T")
    return b_b * b_a + w_b * b_a * h_yt + b_b * w_at * h_x + w_b * w_at * h_x * h_yt


def _hidden_average(expr: sp.Expr) -> sp.Expr:
    """Return the expectation over the hidden layer, of which the weights are independent by (63)."""
    h_x, h_yt, v_xy, v_x, v_yt = nc("h_x h_y^T V_xy V_x V_y^T")
    return replaced(expr, {h_x * h_yt: v_xy, h_x: v_x, h_yt: v_yt})


def _readout_average(expr: sp.Expr) -> sp.Expr:
    """Return the expectation over weights and biases: means, and a covariance for each pair of fluctuations."""
    parts = {nc(name): nc(mean) + nc(f"d{name}") for name, mean in _WEIGHTS.items()}
    split = sp.expand(expr.subs(parts, simultaneous=True))
    dw_b, dw_at, db_a, db_b = nc("dw_b dw_a^T db_a db_b")
    xi, xi_wb, xi_bw, xi_bb = nc("Xi Xi_wb Xi_bw Xi_bb")
    paired = replaced(split, {dw_b * dw_at: xi, dw_b * db_a: xi_wb, db_b * dw_at: xi_bw, db_b * db_a: xi_bb})
    single = {dw_b, dw_at, db_a, db_b}
    return sp.Add(*(term for term in sp.Add.make_args(paired) if not term.free_symbols & single))


def _covariance_words() -> sp.Expr:
    """Return E[f_a(x) f_b(y)] - E[f_a(x)] E[f_b(y)] in cyclic words."""
    h_x, h_yt, v_x, v_yt = nc("h_x h_y^T V_x V_y^T")
    means = {nc(name): nc(mean) for name, mean in _WEIGHTS.items()}
    apart = replaced(_two_point(), {h_x: v_x, h_yt: v_yt}).subs(means, simultaneous=True)
    return sp.expand(_readout_average(_hidden_average(_two_point())) - apart)


def _printed_covariance() -> sp.Expr:
    """Return the right-hand side of (65) and (72) in cyclic words."""
    xi, xi_wb, xi_bw, xi_bb, v_xy, v_x, v_yt, w_b, w_at = nc("Xi Xi_wb Xi_bw Xi_bb V_xy V_x V_y^T w_mean_b w_mean_a^T")
    return xi_bb + xi_wb * v_yt + xi_bw * v_x + xi * v_xy + w_b * w_at * (v_xy - v_x * v_yt)


_FACTORISED = "weights independent of the hidden layer (63), of any law"


@cache
def predictive_mean() -> Formula:
    """Return (64): E f_a(x) = b̄_a + w̄_aᵀ V(x)."""
    b_a, w_at, h_x, v_x, b_mean, w_mean = nc("b_a w_a^T h_x V_x b_mean_a w_mean_a^T")
    averaged = (b_a + w_at * h_x).subs({b_a: b_mean, w_at: w_mean, h_x: v_x}, simultaneous=True)
    return Formula(
        name="paper.eq64",
        lhs=sp.Symbol(r"\mu_\pi(x)"),
        expr=traced(averaged),
        args=(matrix("b_mean_a"), matrix("w_mean_a"), matrix("V_x")),
        domain=_FACTORISED,
        validity=ANY,
        references=paper(64),
        derived_from=("paper.eq66",),
        steps=(step(averaged, b_mean + w_mean * v_x, "E[w h] = E[w] E[h] because the two are independent"),),
    )


@cache
def predictive_covariance() -> Formula:
    """Return (65): weights' covariance on V(x, y) and the spread of the features under the mean weights."""
    return Formula(
        name="paper.eq65",
        lhs=sp.Symbol(r"\Sigma_\pi^{ab}(x, y)"),
        expr=traced(_covariance_words()),
        args=tuple(map(matrix, ("Xi_bb", "Xi_wb", "Xi_bw", "Xi", "w_mean_a", "w_mean_b", "V_x", "V_y", "V_xy"))),
        domain=_FACTORISED + "; outputs a, b: Xi = Cov[w_b, w_a], Xi_wb = Cov[w_b, b_a], Xi_bw = Cov[b_b, w_a]",
        validity=ANY,
        references=paper(65),
        derived_from=("paper.eq64", "paper.eq67"),
        steps=(
            definition(sp.Symbol(r"f_{a}(x)\,f_{b}(y)", commutative=False), _two_point(), "f_a = b_a + w_a^T h, cyclic order"),
            step(_covariance_words(), _printed_covariance(),
                 "average over the hidden layer, then w = w_mean + fluctuation; minus the product of the means"),
        ),
    )  # fmt: skip


@cache
def fourth_cumulant() -> Formula:
    """Return κ₄[f] = κ[m,m,m,m] + 6κ[m,m,v] + 3κ[v,v] of f given the hidden layer N(m, v): what (68) leaves out."""
    t = sp.Symbol("t")
    kappa = {
        (i, j): sp.Symbol(f"k_{'m' * i}{'v' * j}", real=True) for i in range(5) for j in range(3) if 0 < i + 2 * j < 5
    }
    generating = sum(
        value * t**i * (t**2 / 2) ** j / (sp.factorial(i) * sp.factorial(j)) for (i, j), value in kappa.items()
    )
    fourth = sp.diff(generating, t, 4).subs(t, 0)
    m, v = sp.symbols("m v", real=True)
    frozen = m * t + v * t**2 / 2
    return Formula(
        name="paper.eq68",
        lhs=sp.Symbol(r"\kappa_4[f(x)]"),
        expr=fourth,
        args=(kappa[4, 0], kappa[2, 1], kappa[0, 2]),
        domain="weights Gaussian given the hidden layer: m = mean, v = variance of f(x) given it; kappa their joint cumulants "
        "over hidden layers. (68) says 0: right for one shared layer, not for factorised draws at finite width",
        validity=ANY,
        references=paper(68),
        derived_from=("paper.eq65",),
        steps=(
            definition(sp.Symbol(r"\ln \mathrm{E}\,e^{t f}"), generating,
                       "E[exp(t f) | hidden] = exp(t m + t^2 v/2): the joint cumulant series of (m, v) at (t, t^2/2)"),
            step(fourth, kappa[4, 0] + 6 * kappa[2, 1] + 3 * kappa[0, 2], "fourth derivative at t = 0"),
            step(sp.diff(frozen, t, 4), sp.Integer(0), "one hidden layer for all: m and v are numbers and f is Gaussian"),
        ),
    )  # fmt: skip


@cache
def trained_mean() -> Formula:
    """Return (69) exactly, for a frozen hidden layer: w̄ = s_w Hᵀ M Y."""
    trained, start = _trained_words()
    mean = sp.expand(trained).subs(start, 0)
    h_t, m, y = nc("H^T M Y")
    return Formula(
        name="paper.eq69",
        lhs=sp.Symbol(r"\bar w"),
        expr=summed(mean),
        args=(matrix("H"), matrix("M"), matrix("Y"), s_w),
        domain="rows of H: raw features at the training inputs; M as in training.gd, sgd or gradient_flow for K = s_w H H^T",
        validity=GIVEN,
        references=paper(69),
        derived_from=("training.gd", "training.sgd", "training.gradient_flow"),
        steps=(
            definition(sp.Symbol("w_T", commutative=False), trained, "read-out trained from w_0"),
            step(mean, s_w * h_t * m * y, "E w_0 = 0"),
        ),
    )


def _trained_words() -> tuple[sp.Expr, sp.Symbol]:
    """Return w_T = w_0 + s_w Hᵀ M (Y - H w_0) and w_0."""
    start, h, h_t, m, y = nc("w_0 H H^T M Y")
    return start + s_w * h_t * m * (y - h * start), start


@cache
def trained_covariance() -> Formula:
    """Return (70) exactly, for a frozen hidden layer: Ξ = s_w (1 - s_w HᵀMH)(1 - s_w HᵀMᵀH)."""
    trained, start = _trained_words()
    h, h_t, m, m_t = nc("H H^T M M^T")
    loading = sp.expand(trained.subs(nc("Y"), 0).subs(start, 1))
    transposed = 1 - s_w * h_t * m_t * h
    product = sp.expand(s_w * loading * transposed)
    full = 1 - s_w * h_t * m * h
    return Formula(
        name="paper.eq70",
        lhs=sp.Symbol(r"\Xi"),
        expr=summed(product),
        args=(matrix("H"), matrix("M"), s_w),
        domain="as paper.eq69; (69) is then no assumption: w_T is linear in the Gaussian w_0",
        validity=GIVEN,
        references=paper(70),
        derived_from=("paper.eq69",),
        steps=(
            step(loading, sp.expand(full), "w_T is linear in w_0"),
            step(product, sp.expand(s_w * full * transposed), "E[w_0 w_0^T] = s_w 1"),
        ),
    )


@cache
def many_data() -> Formula:
    """Return (71): the posterior variance 1/(|D| λ) of one weight for many data."""
    count, fisher = sp.symbols("n lambda", positive=True)
    posterior = 1 / (1 / s_w + count * fisher)
    return Formula(
        name="paper.eq71",
        lhs=sp.Symbol(r"\Xi_{ii}"),
        expr=1 / (count * fisher),
        args=(count, fisher),
        domain="n = |D| data, prior N(0, s_w), n lambda s_w >> 1; for a network with more weights than data most "
        "directions keep the prior variance, see paper.eq70",
        validity="exact",
        references=paper(71),
        derived_from=("fisher.readout",),
        steps=(
            step(sp.limit(count * posterior, count, sp.oo), 1 / fisher, "n Xi as n -> infinity"),
            step(sp.simplify(1 / posterior - 1 / s_w), count * fisher, "precisions add: prior 1/s_w, data n lambda"),
        ),
    )


def _special(name: str, number: int, formula: Formula, zero: tuple[str, ...], checked: Step, lhs: str) -> Formula:
    """Return a formula with some of its arguments zero, under another equation number."""
    nothing = {matrix(entry): sp.ZeroMatrix(*matrix(entry).shape) for entry in zero}
    return Formula(
        name=name,
        lhs=sp.Symbol(lhs),
        expr=formula.expr.subs(nothing).doit(),
        args=tuple(argument for argument in formula.args if argument not in nothing),
        domain=formula.domain,
        validity=formula.validity,
        references=paper(number),
        derived_from=(formula.name,),
        steps=(checked,),
    )


_BIASES = ("Xi_bb", "Xi_wb", "Xi_bw")
_MEAN, _COVARIANCE = r"\mu_\pi(x)", r"\Sigma_\pi^{ab}(x, y)"


def _mean_step(bias: bool) -> Step:
    b_mean, w_mean, v_x = nc("b_mean_a w_mean_a^T V_x")
    words = b_mean + w_mean * v_x
    return step(words if bias else words.subs(b_mean, 0), w_mean * v_x + (b_mean if bias else 0), "(64)")


@cache
def gaussian_mean() -> Formula:
    """Return the mean of (72), which is (64) with w̄, b̄ of (69)."""
    return _special("paper.eq72_mean", 72, predictive_mean(), (), _mean_step(True), _MEAN)


@cache
def gaussian_covariance() -> Formula:
    """Return the covariance of (72), which is (65) with the blocks of (70)."""
    checked = step(_covariance_words(), _printed_covariance(), "(65) with the blocks of (70)")
    return _special("paper.eq72", 72, predictive_covariance(), (), checked, _COVARIANCE)


@cache
def unbiased_mean() -> Formula:
    """Return the mean of (73)."""
    return _special("paper.eq73_mean", 73, gaussian_mean(), ("b_mean_a",), _mean_step(False), _MEAN)


@cache
def unbiased_covariance() -> Formula:
    """Return the covariance of (73): tr[ΞV_xy] + w̄ᵀ(V_xy - V_x V_yᵀ)w̄."""
    xi, v_xy, v_x, v_yt, w_b, w_at = nc("Xi V_xy V_x V_y^T w_mean_b w_mean_a^T")
    words = _covariance_words().subs({nc(name): 0 for name in _BIASES})
    checked = step(words, sp.expand(xi * v_xy + w_b * w_at * (v_xy - v_x * v_yt)), "(72) without biases")
    return _special("paper.eq73", 73, gaussian_covariance(), _BIASES, checked, _COVARIANCE)


@cache
def independent_gap() -> Formula:
    """Return the mean of independently trained members minus (64): s_wN Cov[h(x), h(X)] M Y."""
    size = sp.Symbol("N", positive=True)
    single, target, m = nc("v_x Y M")
    feature = sp.Symbol("V_X", commutative=False)  # the row v(X)
    response = nc("k_x^T")  # s_w N E[h(x) h(X)]
    weight = s_w * feature * m * target  # E w_i of every neuron
    fit = response * m * target
    paper = size * weight.subs(feature, single * feature)
    prior = sp.Symbol("s_wN", positive=True)
    left = sp.expand(fit - paper).subs(s_w * size, prior).subs(single, nc("V_at_x"))
    expected = (response - prior * nc("V_at_x") * feature) * m * target
    return Formula(
        name="paper.eq64_gap",
        lhs=sp.Symbol(r"\mathrm{E} f(x) - \bar w \cdot V(x)"),
        expr=summed(left, 1),
        args=(matrix("k_x"), matrix("M"), matrix("Y"), matrix("V_at_x"), matrix("V_X"), prior),
        domain="every member trained on its own hidden layer, against (64) with the same mean weights; k_x = K(X, x), "
        "V_X = E[h_i] at the training inputs, s_wN = sigma_w^2 under fan_in",
        validity="infinite width",
        references=(Reference("howard2024bayesian", "Eqs. (63), (64)"),),
        derived_from=("paper.eq64", "paper.eq69", "shell.mean"),
        steps=(
            definition(sp.Symbol(r"\bar w_i", commutative=False), weight,
                       "(69) averaged over hidden layers: neurons are exchangeable, E[H^T] M Y with M fixed"),
            step(left, sp.expand(expected), "s_w N E[h(x) h(X)] M Y, the trained mean, minus N times w_mean v(x)"),
        ),
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {
    "paper.eq64": predictive_mean,
    "paper.eq64_gap": independent_gap,
    "paper.eq65": predictive_covariance,
    "paper.eq66": feature_mean,
    "paper.eq66_stiff": stiff_factor,
    "paper.eq67": feature_pair,
    "paper.eq68": fourth_cumulant,
    "paper.eq69": trained_mean,
    "paper.eq70": trained_covariance,
    "paper.eq71": many_data,
    "paper.eq72": gaussian_covariance,
    "paper.eq72_mean": gaussian_mean,
    "paper.eq73": unbiased_covariance,
    "paper.eq73_mean": unbiased_mean,
}
