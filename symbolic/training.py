"""What does gradient training of the read-out do? One matrix function of the Gram matrix, proved by induction.

Normalised features H (a point a row) absorb the prior standard deviation of the read-out weights, so f = Hω, ω ~ N(0, 1)
and K = HHᵀ.  Matrices that need not commute are non-commutative symbols in the proofs; what commutes with K (full batch,
gradient flow) is a function of its eigenvalues κ.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp
from sympy.codegen.cfunctions import expm1, log1p

from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import eta, gamma, kappa
from fieldflow.symbolic.symbols import steps as T
from fieldflow.symbolic.symbols import time as t

_GIVEN = "exact at any width, given the hidden layer"
_SOURCES = (Reference("howard2024bayesian", "Sec. 4.1, below Eq. (62)"), Reference("lee2019wide", "Sec. 2.2"))


def _matrices(names: str) -> tuple[sp.Symbol, ...]:
    return tuple(sp.symbols(names, commutative=False))


@cache
def induction() -> tuple[Step, ...]:
    """Return the proof that T updates r -> Br, B = 1 - KA, sum to M_T = A Σ_{t<T} B^t and K M_T = 1 - B^T.

    α_T = A Σ_{t<T} B^t r_0 is what T updates add to the read-out (ω_T = ω_0 + Hᵀα_T).
    """
    gram, update, residual = _matrices("K A r_0")
    total = sp.Symbol("S_T", commutative=False)
    power = sp.Symbol("B_T", commutative=False)  # stands for B^T; B B^T = B^T B and B^{T+1} = B B^T
    one_step = 1 - gram * update
    # Induction hypothesis K A S_T = 1 - B^T as a substitution for K A S_T.
    telescoped = sp.expand(gram * update * (total + power)).subs(gram * update * total, 1 - power)
    return (
        step(residual - gram * update * residual, sp.expand(one_step * residual), "one update: r -> (1 - KA) r = B r"),
        step(gram * update * sp.Integer(0), 1 - one_step**0, "T = 0: S_0 = 0 and K A S_0 = 1 - B^0"),
        step(
            telescoped,
            sp.expand(1 - one_step * power),
            "T -> T + 1: if K A S_T = 1 - B^T then K A S_{T+1} = 1 - B^{T+1}, with S_{T+1} = S_T + B^T",
        ),
    )


@cache
def doubling() -> Step:
    """Return S_{2T} = S_T + B^T S_T, on which the numerical evaluation rests, with S_T = (1 - B)^{-1}(1 - B^T)."""
    inverse, power = _matrices("R B_T")  # R = (1 - B)^{-1} commutes with B^T
    single = inverse * (1 - power)
    double = inverse * (1 - power * power)
    right = sp.expand(single + power * single).subs(power * inverse, inverse * power)
    return step(sp.expand(double), sp.expand(right), "doubling: S_{2T} = S_T + B^T S_T")


@cache
def full_batch() -> Formula:
    """Return the spectral filter m(κ) = (1 - (1 - ηκ)^T)/κ of full-batch descent, η = 2·learning_rate/(n d_out)."""
    exact = (1 - (1 - eta * kappa) ** T) / kappa
    stable = sp.Piecewise(
        (eta * T, sp.Eq(kappa, 0)),
        (-expm1(T * log1p(-eta * kappa)) / kappa, eta * kappa < 1),
        (exact, True),
    )
    count = sp.Symbol("T", positive=True, integer=True)
    positive = sp.Symbol("kappa", positive=True)
    small = sp.Symbol("x", positive=True)  # ηκ = x/(1 + x) < 1
    branch = (-expm1(T * log1p(-eta * kappa)) / kappa).subs(kappa, small / (1 + small) / eta)
    return Formula(
        name="training.gd",
        lhs=sp.Symbol(r"m_T(\kappa)"),
        expr=exact,
        args=(kappa, eta, T),
        domain="eigenvalue kappa >= 0 of K (eta T at kappa = 0), T a whole number",
        validity=_GIVEN,
        references=_SOURCES,
        derived_from=("gradient of the mean squared loss",),
        steps=(
            _gradient_step(),
            *induction(),
            step(
                sp.summation((1 - eta * positive) ** sp.Symbol("s", integer=True), (sp.Symbol("s", integer=True), 0, 2))
                * eta,
                sp.expand(exact.subs({kappa: positive, T: 3})),
                "A = eta: the sum is geometric (written out for T = 3)",
            ),
            step(sp.limit(exact.subs({T: 4}), kappa, 0), 4 * eta, "kappa = 0: eta T (written out for T = 4)"),
            step(
                branch.rewrite(sp.exp).subs(T, count),
                exact.subs(kappa, small / (1 + small) / eta).subs(T, count),
                "floating-point form for eta kappa < 1",
            ),
        ),
        numerical=stable,
    )


def _gradient_step() -> Step:
    """Return the update of one weight: -η_lr ∂/∂ω of the mean of (f - y)², for two samples and one feature each."""
    h1, h2, y1, y2, omega, rate = sp.symbols("h_1 h_2 y_1 y_2 omega ell", real=True)
    loss = ((h1 * omega - y1) ** 2 + (h2 * omega - y2) ** 2) / 2
    residuals = (y1 - h1 * omega, y2 - h2 * omega)
    update = -rate * sp.diff(loss, omega)
    dual = 2 * rate / 2 * (h1 * residuals[0] + h2 * residuals[1])
    return step(update, dual, "gradient of the mean squared loss: omega -> omega + (2 lr/n) H^T r, n = 2")


@cache
def gradient_flow() -> Formula:
    """Return the filter (1 - e^{-ηtκ})/κ of gradient flow."""
    exact = (1 - sp.exp(-eta * t * kappa)) / kappa
    solution = sp.exp(-eta * t * kappa)
    stable = sp.Piecewise((eta * t, sp.Eq(kappa, 0)), (-expm1(-eta * t * kappa) / kappa, True))
    positive = sp.Symbol("kappa", positive=True)
    return Formula(
        name="training.gradient_flow",
        lhs=sp.Symbol(r"m_t(\kappa)"),
        expr=exact,
        args=(kappa, eta, t),
        domain="eigenvalue kappa >= 0 of K (eta t at kappa = 0)",
        validity=_GIVEN,
        references=_SOURCES,
        derived_from=("training.gd",),
        steps=(
            step(sp.diff(solution, t), -eta * kappa * solution, "residual: dr/dt = -eta kappa r"),
            step(sp.diff(exact, t), eta * solution, "dual variable: d alpha/dt = eta r"),
            step(exact.subs(t, 0), sp.Integer(0), "alpha = 0 at t = 0"),
            step(sp.limit(exact.subs(kappa, positive), positive, 0), eta * t, "kappa = 0"),
            step((-expm1(-eta * t * kappa) / kappa).rewrite(sp.exp), exact, "floating-point form"),
        ),
        numerical=stable,
    )


@cache
def sequential() -> Formula:
    """Return M_T = K^{-1}(1 - B^T), B = 1 - KA, A = γ(1 + γL)^{-1}, of per-sample descent in fixed order."""
    n = sp.Symbol("n", positive=True, integer=True)
    gram, lower = sp.MatrixSymbol("K", n, n), sp.MatrixSymbol("L", n, n)
    identity = sp.Identity(n)
    update = gamma * (identity + gamma * lower).inverse()
    count = sp.Symbol("T", nonnegative=True, integer=True)
    return Formula(
        name="training.sgd",
        lhs=sp.Symbol("M_T"),
        expr=gram.inverse() * (identity - (identity - gram * update) ** count),
        args=(gram, lower, gamma, count),
        domain="K invertible; A sum_{t<T} B^t in general; L the strictly lower triangle of K, gamma = 2 lr/d_out",
        validity=_GIVEN,
        references=_SOURCES,
        derived_from=("gradient of the squared loss of one sample",),
        steps=(*_sweep_steps(), *induction(), doubling()),
    )


def _sweep_steps() -> tuple[Step, ...]:
    """Return that one sweep over the samples is α = A r, for three samples written out and in general."""
    size = 3
    gram = sp.Matrix(size, size, lambda i, j: sp.Symbol(f"k_{min(i, j) + 1}{max(i, j) + 1}", real=True))
    residual = sp.Matrix(sp.symbols("r_1:4", real=True))
    swept: list[sp.Expr] = []
    for i in range(size):
        swept.append(gamma * (residual[i] - sum(gram[i, j] * swept[j] for j in range(i))))
    lower = sp.Matrix(size, size, lambda i, j: gram[i, j] if j < i else 0)
    solved = gamma * (sp.eye(size) + gamma * lower).inv() * residual
    triangle, update = _matrices("L A")
    return (
        *(
            step(swept[i], sp.expand(solved[i]), f"sample {i + 1} of 3 sees the updates of the earlier ones")
            for i in range(size)
        ),
        definition(
            sp.expand((1 + gamma * triangle) * update),
            gamma,
            "alpha_i = gamma (r_i - sum_{j<i} K_ij alpha_j), that is (1 + gamma L) A = gamma",
        ),
    )


@cache
def posterior() -> Formula:
    """Return M_∞ = (K + ρ1)^{-1}: all limits above when B^T → 0, and the Bayesian posterior with noise ρ."""
    n = sp.Symbol("n", positive=True, integer=True)
    gram, ridge = sp.MatrixSymbol("K", n, n), sp.Symbol("rho", nonnegative=True)
    positive = sp.Symbol("kappa", positive=True)
    small = sp.Symbol("x", positive=True)
    return Formula(
        name="training.posterior",
        lhs=sp.Symbol(r"M_\infty"),
        expr=(gram + ridge * sp.Identity(n)).inverse(),
        args=(gram, ridge),
        domain="K + rho 1 positive definite, spectral radius of B below 1",
        validity=_GIVEN,
        references=_SOURCES,
        derived_from=("training.gradient_flow",),
        steps=(
            step(
                sp.limit((1 - sp.exp(-small * positive)) / positive, small, sp.oo),
                1 / positive,
                "gradient flow, t -> infinity",
            ),
        ),
    )


@cache
def two_kernels() -> Formula:
    """Return the covariance when the tangent kernel Θ drives a prior of covariance K (all layers trained).

    Cov = K(x,x') - Θ_xᵀ M K(X,x') - K(x,X) Mᵀ Θ_{x'} + Θ_xᵀ M K Mᵀ Θ_{x'}.
    """
    n, p, m = sp.symbols("n p m", positive=True, integer=True)
    prior = sp.MatrixSymbol("K_xy", p, m)
    seen, other_seen = sp.MatrixSymbol("k_x", n, p), sp.MatrixSymbol("k_y", n, m)
    left, right = sp.MatrixSymbol("Theta_x", n, p), sp.MatrixSymbol("Theta_y", n, m)
    matrix, gram = sp.MatrixSymbol("M", n, n), sp.MatrixSymbol("K", n, n)
    prior_nc, here, there, theta_x, theta_y, m_nc, m_t, k_nc = _matrices("K_xy k_x k_y Theta_x Theta_y M M^T K")
    # f_T(x) = f_0(x) - Θ_x M f_0(X) + const; Cov[f_0, f_0] is the prior.
    covariance = prior_nc - theta_x * m_nc * there - here * m_t * theta_y + theta_x * m_nc * k_nc * m_t * theta_y
    f_x, f_y, f_train, f_train_t = _matrices("f_x f_y f_X f_X^T")
    product = sp.expand((f_x - theta_x * m_nc * f_train) * (f_y - f_train_t * m_t * theta_y))
    averaged = (
        product.subs(f_x * f_y, prior_nc)
        .subs(f_train * f_train_t, k_nc)
        .subs(f_train * f_y, there)
        .subs(f_x * f_train_t, here)
    )
    return Formula(
        name="training.two_kernels",
        lhs=sp.Symbol(r"\Sigma_T(x, y)"),
        expr=prior
        - left.T * matrix * other_seen
        - seen.T * matrix.T * right
        + left.T * matrix * gram * matrix.T * right,
        args=(prior, seen, other_seen, left, right, matrix, gram),
        domain="k_x = K(X, x), Theta_x = Theta(X, x), M from the tangent kernel",
        validity="infinite width",
        references=(Reference("lee2019wide", "Eq. (16)"),),
        derived_from=("training.gd",),
        steps=(step(averaged, covariance, "linear in the initial function: E[f_0 f_0] = K"),),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "training.gd": full_batch,
    "training.gradient_flow": gradient_flow,
    "training.sgd": sequential,
    "training.posterior": posterior,
    "training.two_kernels": two_kernels,
}
