"""How far apart are two networks? Relative entropy, Fisher matrix, and what they say about the read-out weights.

Equations (45)-(54) and (71) of arXiv:2405.17538 for the Gaussian likelihood y = f(x) + noise of variance s², of which every
entry is an average over the inputs: one number per pair of parameters, however many data there are.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.formula import Formula, definition, step
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import noise_variance

_SQUARE = sp.Symbol("E_Df2", nonnegative=True)
_ANY_WIDTH = "exact at any width"


def _paper(equations: str) -> tuple[Reference, ...]:
    return (Reference("howard2024bayesian", equations),)


def averaged_over_noise(expr: sp.Expr, residual: sp.Symbol) -> sp.Expr:
    """Return the expectation of a polynomial of degree <= 2 in the residual: E ε = 0, E ε² = s²."""
    polynomial = sp.Poly(sp.expand(expr), residual)
    return sp.expand(polynomial.coeff_monomial(residual**2) * noise_variance + polynomial.coeff_monomial(1))


def _log_likelihood(y: sp.Expr, mean: sp.Expr) -> sp.Expr:
    return -((y - mean) ** 2) / (2 * noise_variance) - sp.log(2 * sp.pi * noise_variance) / 2


@cache
def divergence() -> Formula:
    """Return KL(p_θ ‖ p_{θ+δθ}) = E_x[(f_{θ+δθ} - f_θ)²]/(2s²), exact at any distance."""
    y, f, change, residual = sp.symbols("y f Delta_f epsilon", real=True)
    ratio = sp.expand(_log_likelihood(y, f) - _log_likelihood(y, f + change)).subs(y, f + residual)
    found = averaged_over_noise(ratio, residual)
    return Formula(
        name="fisher.kl",
        lhs=sp.Symbol(r"D_{\mathrm{KL}}(p_\theta \| p_{\theta + \delta\theta})"),
        expr=found.subs(change**2, _SQUARE),
        args=(_SQUARE, noise_variance),
        domain="E_Df2 = mean over inputs of the sum over outputs of (f_{theta + dtheta} - f_theta)^2",
        validity=_ANY_WIDTH,
        references=_paper("Eq. (51)"),
        steps=(
            definition(sp.Symbol("ln p/p'"), ratio, "log-likelihoods at y = f + epsilon"),
            step(found, change**2 / (2 * noise_variance), "E epsilon = 0, E epsilon^2 = s^2"),
        ),
    )


@cache
def matrix() -> Formula:
    """Return I = JᵀJ/(n s²), the Jacobian J with a row per input and output: the second order of the relative entropy."""
    rows, size = sp.symbols("r P", positive=True, integer=True)
    jacobian, count = sp.MatrixSymbol("J", rows, size), sp.Symbol("n", positive=True)
    a, b, da, db, y, residual = sp.symbols("theta_A theta_B dtheta_A dtheta_B y epsilon", real=True)
    f = sp.Function("f", real=True)(a, b)
    slopes = {symbol: sp.Symbol(f"f_{symbol.name[-1]}", real=True) for symbol in (a, b)}
    named = {sp.diff(f, symbol): value for symbol, value in slopes.items()}
    scores = [sp.diff(_log_likelihood(y, f), symbol).subs(y, f + residual).subs(named) for symbol in (a, b)]
    covariance = averaged_over_noise(scores[0] * scores[1], residual)
    shift = sp.Symbol("t", real=True)
    first_order = slopes[a] * da + slopes[b] * db
    change = shift * first_order + shift**2 * sp.Symbol("f_2", real=True)
    entropy = sp.expand(divergence().expr.subs(_SQUARE, sp.expand(change**2)))
    hessian = sp.diff(entropy.coeff(shift, 2), da, db)
    return Formula(
        name="fisher.matrix",
        lhs=sp.Symbol(r"\mathcal{I}"),
        expr=jacobian.T * jacobian / (count * noise_variance),
        args=(jacobian, count, noise_variance),
        domain="J = df/dtheta, a row per pair of input and output, n inputs",
        validity=_ANY_WIDTH,
        references=_paper("Eqs. (47)-(52)"),
        derived_from=("fisher.kl",),
        steps=(
            step(
                averaged_over_noise(scores[0], residual), sp.Integer(0), "Eq. (48): the score is centred, E epsilon = 0"
            ),
            step(covariance, slopes[a] * slopes[b] / noise_variance, "Eq. (50): covariance of the scores, one input"),
            step(entropy.coeff(shift, 1), sp.Integer(0), "Eq. (52): no first order"),
            step(hessian, covariance, "Eq. (52): half its Hessian is the second order, and f'' does not enter it"),
        ),
    )


@cache
def posterior() -> Formula:
    """Return the posterior covariance (nI + 1/s_w)^{-1} of read-out weights after n data: equation (71) with the prior."""
    size = sp.Symbol("P", positive=True, integer=True)
    fisher, count = sp.MatrixSymbol("I", size, size), sp.Symbol("n", positive=True)
    prior = sp.Symbol("s_w", positive=True)
    w1, w2, y1, y2 = sp.symbols("w_1 w_2 y_1 y_2", real=True)
    h = sp.Matrix(2, 2, sp.symbols("h_11 h_12 h_21 h_22", real=True))
    weights = sp.Matrix([w1, w2])
    data = sum((_log_likelihood(y, (h.row(i) * weights)[0]) for i, y in enumerate((y1, y2))), sp.Integer(0))
    log_posterior = data - (w1**2 + w2**2) / (2 * prior)
    sampled = h.T * h / (2 * noise_variance)  # fisher.matrix of two inputs
    precision = -sp.hessian(log_posterior, (w1, w2))
    return Formula(
        name="fisher.posterior",
        lhs=sp.Symbol(r"\Xi"),
        expr=(count * fisher + sp.Identity(size) / prior).inverse(),
        args=(fisher, count, prior),
        domain="Gaussian prior of variance s_w, Gaussian likelihood, n data at the inputs of I; Eq. (71) is s_w -> oo",
        validity="exact at any width, given the hidden layer",
        references=_paper("Eqs. (70), (71)"),
        derived_from=("fisher.matrix",),
        steps=tuple(
            step(sp.expand(precision[i, j]), sp.expand((2 * sampled)[i, j] + sp.eye(2)[i, j] / prior),
                 f"precision of the posterior, entry ({i + 1}, {j + 1}), two data and two weights")
            for i, j in ((0, 0), (0, 1), (1, 1))
        ),
    )  # fmt: skip


@cache
def jeffreys() -> Formula:
    """Return √det I of two read-out weights: no function of them, so Jeffreys' prior (54) is flat and has no normalisation."""
    w1, w2, h1, h2 = sp.symbols("w_1 w_2 h_1 h_2", real=True)
    squares = sp.symbols("E_h11 E_h22", positive=True)
    mixed = sp.Symbol("E_h12", real=True)
    averages = {h1**2: squares[0], h2**2: squares[1], h1 * h2: mixed}
    slopes = [sp.diff(w1 * h1 + w2 * h2, w) for w in (w1, w2)]
    fisher = sp.Matrix(2, 2, lambda i, j: (slopes[i] * slopes[j]).subs(averages) / noise_variance)
    density = sp.sqrt(squares[0] * squares[1] - mixed**2) / noise_variance
    box = sp.Symbol("R", positive=True)
    return Formula(
        name="fisher.jeffreys",
        lhs=sp.Symbol(r"\sqrt{\det\mathcal{I}(w)}"),
        expr=density,
        args=(*squares, mixed, noise_variance),
        domain="two read-out weights; constant in them, so its integral over all weights is infinite: improper",
        validity="exact at any width, given the hidden layer",
        references=_paper("Eq. (54)"),
        derived_from=("fisher.matrix",),
        steps=(
            step(fisher.det(), density**2, "I_ij = E[h_i h_j]/s^2 for f = w_1 h_1 + w_2 h_2"),
            step(sp.diff(fisher.det(), w1) + sp.diff(fisher.det(), w2), sp.Integer(0), "it does not depend on the weights"),
            step(
                sp.integrate(sp.integrate(density, (w1, -box, box)), (w2, -box, box)),
                4 * box**2 * density,
                "its mass in a box of side 2R grows without bound",
            ),
        ),
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {
    "fisher.kl": divergence,
    "fisher.matrix": matrix,
    "fisher.posterior": posterior,
    "fisher.jeffreys": jeffreys,
}
