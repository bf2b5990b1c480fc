"""What does the information shell do to a trained ensemble? Mean, covariance, loss and critical cut-off along Λ.

Read-out weights with λ < Λ are redrawn from the prior (resample) or set to zero (prune): equations (74)-(76) of
arXiv:2405.17538 with each member's own partition.  Normalised features as in ``training``: h_> are the stiff, h_< the
sloppy features at a point (rows), H those at the training inputs, k_> = H h_>ᵀ.
"""

from collections.abc import Callable
from functools import cache, reduce
from operator import mul
from typing import Any

import sympy as sp

from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.gaussian import second_moment
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.special import InverseRegularizedUpperGamma, RegularizedUpperGamma, gamma_density
from fieldflow.symbolic.symbols import cutoff, d, degree, moment, noise_variance, q, s_x, sigma_v

_GIVEN = "exact at any width, given the hidden layer"
_SHELL = (Reference("howard2024bayesian", "Eqs. (74)-(76), (94)-(97)"),)

_n, _m, _p, _r, _outputs = sp.symbols("n m p r o", positive=True, integer=True)
_MATRIX, _GRAM = sp.MatrixSymbol("M", _n, _n), sp.MatrixSymbol("K", _n, _n)
_LEFT, _RIGHT = sp.MatrixSymbol("k_stiff_x", _n, _p), sp.MatrixSymbol("k_stiff_y", _n, _r)
_PRIOR, _STIFF_PRIOR = sp.MatrixSymbol("K_xy", _p, _r), sp.MatrixSymbol("K_stiff", _p, _r)
_TARGET = sp.MatrixSymbol("Y", _n, _outputs)
_FEATURES, _SEEN = sp.MatrixSymbol("h_stiff", _p, _m), sp.MatrixSymbol("H", _n, _m)

# Non-commutative twins: ^T marks a transpose that the algebra must keep apart.
_nc = {
    name: sp.Symbol(name, commutative=False)
    for name in (
        "h_x",
        "h_y^T",
        "l_x",
        "l_y^T",
        "H",
        "H^T",
        "M",
        "M^T",
        "Y",
        "k_x^T",
        "k_y",
        "K",
        "K_xy",
        "omega",
        "xi",
    )
}

_MATRICES: dict[str, Any] = {
    "h_x": _FEATURES,
    "H": _SEEN,
    "M": _MATRIX,
    "M^T": _MATRIX.T,
    "Y": _TARGET,
    "k_x^T": _LEFT.T,
    "k_y": _RIGHT,
    "K": _GRAM,
    "K_xy": _PRIOR,
}


def as_matrices(expr: sp.Expr, matrices: dict[str, Any] | None = None) -> Any:
    """Return a non-commutative expression as a matrix expression, so that a derived result is never retyped."""
    chosen = _MATRICES if matrices is None else matrices
    total = []
    for term in sp.Add.make_args(sp.expand(expr)):
        number, factors = term.args_cnc()
        names = [factor for part in factors for factor in ([part.base] * int(part.exp) if part.is_Pow else [part])]
        total.append(reduce(mul, [chosen[factor.name] for factor in names]) * reduce(mul, number, sp.Integer(1)))
    return sp.MatAdd(*total).doit() if len(total) > 1 else total[0]


def _output() -> sp.Expr:
    """Return f_Λ(x) = h_> ω_T + h_< ξ with ω_T = ω + Hᵀ M (Y - Hω); ω, ξ ~ N(0, 1) independent."""
    n = _nc
    trained = n["omega"] + n["H^T"] * n["M"] * (n["Y"] - n["H"] * n["omega"])
    return sp.expand(n["h_x"] * trained + n["l_x"] * n["xi"])


def _with_kernels(expr: sp.Expr) -> sp.Expr:
    """Return the expression with feature products written as kernels."""
    n = _nc
    for product, kernel in (
        (n["h_x"] * n["H^T"], n["k_x^T"]),
        (n["H"] * n["h_y^T"], n["k_y"]),
        (n["H"] * n["H^T"], n["K"]),
    ):
        expr = sp.expand(expr).subs(product, kernel)
    return sp.expand(expr)


def _mean_nc() -> sp.Expr:
    output = _output()
    return _with_kernels(output.subs({_nc["omega"]: 0, _nc["xi"]: 0}))


def _loading_nc() -> sp.Expr:
    """Return the row that multiplies ω: every term of f_Λ that ends in it, without it."""
    terms = [term for term in sp.Add.make_args(_output()) if term.has(_nc["omega"])]
    rows = []
    for term in terms:
        number, factors = term.args_cnc()
        rows.append(reduce(mul, number, sp.Integer(1)) * reduce(mul, factors[:-1], sp.Integer(1)))
    return _with_kernels(sum(rows, sp.Integer(0)))


def _transposed_loading_nc() -> sp.Expr:
    n = _nc
    return n["h_y^T"] - n["H^T"] * n["M^T"] * n["k_y"]


def _covariance_nc(redrawn: bool) -> sp.Expr:
    """Return E over ω, ξ of the centred product: loadings times transposed loadings."""
    n = _nc
    product = sp.expand(_loading_nc() * _transposed_loading_nc())
    if redrawn:
        product += n["l_x"] * n["l_y^T"]
        product = product.subs(n["h_x"] * n["h_y^T"], n["K_xy"] - n["l_x"] * n["l_y^T"])
    else:
        product = product.subs(n["h_x"] * n["h_y^T"], n["K_xy"])
    return _with_kernels(sp.expand(product))


@cache
def mean() -> Formula:
    """Return μ_Λ(x) = k_>ᵀ M Y."""
    return Formula(
        name="shell.mean",
        lhs=sp.Symbol(r"\mu_\Lambda(x)"),
        expr=as_matrices(_mean_nc()),
        args=(_LEFT, _MATRIX, _TARGET),
        domain="k_> = K_>(X, x); with the infinite-width kernels in place of the member's own: infinite width",
        validity=_GIVEN,
        references=_SHELL,
        derived_from=("training.gd", "training.sgd", "training.gradient_flow"),
        steps=(
            definition(sp.Symbol("f_Lambda", commutative=False), _output(), "f = h_> omega_T + h_< xi, read-out trained"),
            step(_with_kernels(_output().subs({_nc["omega"]: 0, _nc["xi"]: 0})),
                 _nc["k_x^T"] * _nc["M"] * _nc["Y"], "E omega = E xi = 0; k_> = H h_>^T"),
        ),
    )  # fmt: skip


@cache
def loading() -> Formula:
    """Return h_> - k_>ᵀ M H, the linear map from the initial read-out to f_Λ(x)."""
    return Formula(
        name="shell.loading",
        lhs=sp.Symbol(r"\partial f_\Lambda(x)/\partial\omega"),
        expr=as_matrices(_loading_nc()),
        args=(_FEATURES, _LEFT, _MATRIX, _SEEN),
        domain="rows are points; the redrawn weights enter through h_<",
        validity=_GIVEN,
        references=_SHELL,
        derived_from=("shell.mean",),
        steps=(
            step(
                _with_kernels(_loading_nc() * _nc["omega"] + _nc["l_x"] * _nc["xi"] + _mean_nc()),
                _with_kernels(_output()),
                "mean + loading omega + h_< xi is f_Lambda",
            ),
        ),
    )


def _covariance(redrawn: bool) -> Formula:
    n = _nc
    prior = _PRIOR if redrawn else _STIFF_PRIOR
    found = _covariance_nc(redrawn)
    expected = (
        n["K_xy"]
        - n["k_x^T"] * n["M^T"] * n["k_y"]
        - n["k_x^T"] * n["M"] * n["k_y"]
        + n["k_x^T"] * n["M"] * n["K"] * n["M^T"] * n["k_y"]
    )
    rule = "h_> h_>^T + h_< h_<^T = K" if redrawn else "h_> h_>^T = K_>, nothing is redrawn"
    return Formula(
        name="shell.covariance" if redrawn else "shell.covariance_prune",
        lhs=sp.Symbol(r"\Sigma_\Lambda(x, y)"),
        expr=as_matrices(found, {**_MATRICES, "K_xy": prior}),
        args=(prior, _LEFT, _RIGHT, _MATRIX, _GRAM),
        domain="same convention for K as in shell.mean",
        validity=_GIVEN,
        references=_SHELL,
        derived_from=("shell.loading",),
        steps=(step(found, expected, f"E[omega omega^T] = E[xi xi^T] = 1, H H^T = K, {rule}"),),
    )


@cache
def covariance() -> Formula:
    """Return Σ_Λ = K - k_>ᵀ(M + Mᵀ)k_> + k_>ᵀ M K Mᵀ k_> (resample)."""
    return _covariance(True)


@cache
def covariance_prune() -> Formula:
    """Return the covariance with pruned weights: the first term is K_>."""
    return _covariance(False)


_u = sp.Symbol("u", positive=True)


def _argument() -> sp.Expr:
    """Return u(Λ) = (s²Λ/c_k)^{1/k}/(2 s_x² σ_v²), where λ = c_k s_x^{2k}|v|^{2k}/s² crosses Λ."""
    return (noise_variance * cutoff / moment) ** (1 / degree) / (2 * s_x**2 * sigma_v**2)


def _radial_steps(power: sp.Expr) -> tuple[Step, ...]:
    """Return that the share of E|v|^{2·power} beyond the shell is Q(d/2 + power, u), |v|²/(2σ_v²) ~ Gamma(d/2)."""
    order = d / 2 + power
    positive = sp.Symbol("Lambda", positive=True)
    squared = 2 * sigma_v**2 * _u
    crossing = moment * s_x ** (2 * degree) * squared**degree / noise_variance
    return (
        step(_argument().subs(cutoff, sp.powsimp(crossing, force=True)).subs(positive, cutoff), _u,
             "lambda = c_k s_x^{2k} |v|^{2k}/s^2 = Lambda at |v|^2 = 2 sigma_v^2 u"),
        step(
            sp.diff(sp.uppergamma(order, _u) / sp.gamma(order), _u),
            -(_u ** (order - 1)) * sp.exp(-_u) / sp.gamma(order),
            "minus the normalised density u^{d/2-1} e^{-u} times u^power",
        ),
        step(sp.uppergamma(order, 0) / sp.gamma(order), sp.Integer(1), "everything lies beyond the shell at u = 0"),
        step(RegularizedUpperGamma(order, _u), sp.uppergamma(order, _u) / sp.gamma(order), "Q is the regularised function"),
    )  # fmt: skip


_SHELL_ARGS = (cutoff, d, degree, moment, s_x, sigma_v, noise_variance)
_RADIAL = (
    "one hidden layer, sigma homogeneous of degree k > 0, no hidden bias, inputs N(0, s_x^2), weights N(0, sigma_v^2)"
)


@cache
def homogeneous_factor() -> Formula:
    """Return Z(Λ) = Q(d/2 + k, u) with K_> = Z K."""
    return Formula(
        name="shell.homogeneous_Z",
        lhs=sp.Symbol(r"Z(\Lambda)"),
        expr=RegularizedUpperGamma(d / 2 + degree, _argument()),
        args=_SHELL_ARGS,
        domain=_RADIAL,
        validity="exact at any width",
        references=(Reference("howard2024bayesian", "Eqs. (53), (95)"),),
        derived_from=("fisher.readout",),
        steps=_radial_steps(degree),
    )


@cache
def relu_factor() -> Formula:
    """Return Z(Λ) of ReLU: k = 1, c_1 = E[relu²] = 1/2."""
    half = second_moment("relu").expr.subs(q, 1)
    general = homogeneous_factor()
    expr = general.expr.subs({degree: 1, moment: half})
    return Formula(
        name="shell.relu_Z",
        lhs=sp.Symbol(r"Z(\Lambda)"),
        expr=expr,
        args=tuple(argument for argument in _SHELL_ARGS if argument not in (degree, moment)),
        domain=_RADIAL.replace("sigma homogeneous of degree k > 0", "ReLU"),
        validity="exact at any width",
        references=general.references,
        derived_from=("shell.homogeneous_Z", "expectation.relu"),
        steps=(step(half, sp.Rational(1, 2), "c_1 = E[relu(z)^2], z ~ N(0, 1)"),),
    )


@cache
def sloppy_fraction() -> Formula:
    """Return P(λ < Λ) = 1 - Q(d/2, u)."""
    return Formula(
        name="shell.sloppy_fraction",
        lhs=sp.Symbol(r"\mathrm{P}(\lambda < \Lambda)"),
        expr=1 - RegularizedUpperGamma(d / 2, _argument()),
        args=_SHELL_ARGS,
        domain=_RADIAL,
        validity="exact at any width",
        references=(Reference("howard2024bayesian", "Eq. (95)"),),
        derived_from=("fisher.readout",),
        steps=_radial_steps(sp.Integer(0)),
    )


@cache
def anomalous_dimension() -> Formula:
    """Return γ = -∂ ln Z/∂ ln Λ."""
    positive = sp.Symbol("Lambda", positive=True)
    factor = homogeneous_factor().expr.subs(cutoff, positive)
    expr = sp.simplify(-positive * sp.diff(factor, positive) / factor).subs(positive, cutoff)
    argument = _argument().subs(cutoff, positive)
    order = d / 2 + degree
    expected = argument**order * sp.exp(-argument) / (degree * sp.gamma(order) * factor)
    return Formula(
        name="shell.gamma",
        lhs=sp.Symbol(r"\gamma(\Lambda)"),
        expr=expr,
        args=_SHELL_ARGS,
        domain=_RADIAL + ", Lambda > 0",
        validity="exact at any width",
        derived_from=("shell.homogeneous_Z",),
        steps=(step(expr.subs(cutoff, positive), expected, "chain rule"),),
        numerical=sp.Piecewise(
            (sp.Integer(0), sp.Eq(cutoff, 0)),
            (_argument() * gamma_density(order, _argument()) / (degree * factor.subs(positive, cutoff)), True),
        ),
    )


_Z = sp.Symbol("Z", nonnegative=True)
_a, _b, _c = sp.symbols("a b c", real=True)
_epsilon = sp.Symbol("epsilon", positive=True)


@cache
def loss(redrawn: bool = True) -> Formula:
    """Return L(Z) = aZ² - 2bZ + c, the mean of (Zμ - y)² + Σ_Λ, with a, b, c averages over points."""
    mu, y, prior, trained = sp.symbols("mu y K_x Sigma_x", real=True)
    if redrawn:
        variance = (1 - _Z**2) * prior + _Z**2 * trained
        coefficients = {_a: mu**2 - (prior - trained), _b: mu * y, _c: y**2 + prior}
    else:
        variance = _Z * prior - _Z**2 * (prior - trained)
        coefficients = {_a: mu**2 - (prior - trained), _b: mu * y - prior / 2, _c: y**2}
    expr = _a * _Z**2 - 2 * _b * _Z + _c
    return Formula(
        name="shell.loss" if redrawn else "shell.loss_prune",
        lhs=sp.Symbol("L(Z)"),
        expr=expr,
        args=(_Z, _a, _b, _c),
        domain="; ".join(f"{symbol} = mean of {value}" for symbol, value in coefficients.items()),
        validity="infinite width",
        derived_from=("shell.mean", "shell.covariance", "shell.homogeneous_Z"),
        steps=(
            step((_Z * mu - y) ** 2 + variance, expr.subs(coefficients), "bias^2 + variance at one point, K_> = Z K"),
        ),
    )


@cache
def critical_factor() -> Formula:
    """Return Z_c, where the loss first exceeds L(1) + ε[L(0) - L(1)] as Z falls from 1.

    Written without a division by a, which may vanish or have either sign.
    """
    polynomial = loss().expr
    start, end = polynomial.subs(_Z, 1), polynomial.subs(_Z, 0)
    excess = sp.expand(_c - (start + _epsilon * (end - start)))
    root = excess / (_b + sp.sqrt(_b**2 - _a * excess))
    # c - L_c = (1 - ε)(2b - a): positive exactly when L(0) > L(1).
    bound = start + _epsilon * (end - start)
    other = (_b - sp.sqrt(_b**2 - _a * excess)) / _a
    rise, small = sp.symbols("rho x", positive=True)
    inside = {_b: (_a + rise) / 2, _epsilon: small / (1 + small)}
    return Formula(
        name="shell.critical",
        lhs=sp.Symbol("Z_c"),
        expr=root,
        args=(_a, _b, _c, _epsilon),
        domain="L(0) > L(1), 0 < epsilon < 1; a, b, c as in shell.loss",
        validity="infinite width",
        derived_from=("shell.loss",),
        steps=(
            step(sp.factor(excess), (1 - _epsilon) * (2 * _b - _a), "c - L_c > 0 exactly when L(0) > L(1)"),
            step(
                sp.expand(_a * _Z**2 - 2 * _b * _Z + excess),
                sp.expand(polynomial - bound),
                "the crossing solves a Z^2 - 2 b Z + (c - L_c) = 0",
            ),
            step(sp.simplify((polynomial - bound).subs(_Z, other)), sp.Integer(0), "a root of the quadratic"),
            step(root.subs(inside), other.subs(inside), "the same root without dividing by a"),
        ),
    )


@cache
def critical_cutoff() -> Formula:
    """Return Λ_C = (c_k/s²)(2 s_x² σ_v² Q^{-1}(d/2 + k, Z_c))^k."""
    factor = sp.Symbol("Z_c", positive=True)
    reached = InverseRegularizedUpperGamma(d / 2 + degree, factor)
    expr = moment / noise_variance * (2 * s_x**2 * sigma_v**2 * reached) ** degree
    stand_in = sp.Symbol("u", positive=True)
    return Formula(
        name="shell.critical_cutoff",
        lhs=sp.Symbol(r"\Lambda_C"),
        expr=expr,
        args=(factor, d, degree, moment, s_x, sigma_v, noise_variance),
        domain=_RADIAL + ", 0 < Z_c <= 1",
        validity="infinite width",
        derived_from=("shell.critical", "shell.homogeneous_Z"),
        steps=(
            step(
                sp.powsimp(sp.powdenest(_argument().subs(cutoff, expr.subs(reached, stand_in)), force=True)),
                stand_in,
                "u(Lambda_C) = Q^{-1}(d/2 + k, Z_c)",
            ),
        ),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "shell.mean": mean,
    "shell.loading": loading,
    "shell.covariance": covariance,
    "shell.covariance_prune": covariance_prune,
    "shell.homogeneous_Z": homogeneous_factor,
    "shell.relu_Z": relu_factor,
    "shell.sloppy_fraction": sloppy_fraction,
    "shell.gamma": anomalous_dimension,
    "shell.loss": loss,
    "shell.loss_prune": lambda: loss(False),
    "shell.critical": critical_factor,
    "shell.critical_cutoff": critical_cutoff,
}
