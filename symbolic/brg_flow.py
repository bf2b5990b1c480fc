"""How does the law of a coarse-grained ensemble change with Λ? The differential flow, its generator, and its OU form.

κ = -∂_ΛK_> is the density of the prior at the shell, A = κK_>^{-1}.  The law solves a Fokker-Planck equation of drift -Aφ
and diffusion matrix κ (prune: Polchinski's exact RG equation) or AK + KA^T (resample).  For homogeneous activations
A = -∂_Λ ln Z, and in time t = -ln Z resampling is dφ = -φ dt + √(2K) dW.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import sympy as sp

from fieldflow.symbolic import brg, shells
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.noncommutative import derivative, noncommutative, reduced, symbols
from fieldflow.symbolic.reference import Reference

_ANY_WIDTH = "exact at any width, given the hidden layer"
_DOMAIN = "kappa = -dK_>/dLambda, where K_> is differentiable; with the infinite-width kernels: infinite width"

_n, _p, _r, _outputs = sp.symbols("n p r o", positive=True, integer=True)
_M, _GRAM = sp.MatrixSymbol("M", _n, _n), sp.MatrixSymbol("K", _n, _n)
_K_X, _K_Y = sp.MatrixSymbol("k_stiff_x", _n, _p), sp.MatrixSymbol("k_stiff_y", _n, _r)
_RATE_X, _RATE_Y = sp.MatrixSymbol("kappa_x", _n, _p), sp.MatrixSymbol("kappa_y", _n, _r)
_RATE_XY, _TARGET = sp.MatrixSymbol("kappa_xy", _p, _r), sp.MatrixSymbol("Y", _n, _outputs)

_names = symbols("k_x^T k_y kappa_x^T kappa_y K_xy kappa_xy M M^T K Y")
_k_x, _k_y, _rate_x, _rate_y, _prior, _rate_xy, _m, _m_t, _gram, _target = _names
_NAMED = {"k_stiff_x^T": _k_x, "k_stiff_y": _k_y, "K_xy": _prior, "K_stiff": _prior, "M": _m, "M^T": _m_t, "K": _gram,
          "Y": _target}  # fmt: skip
_BACK = {"k_x^T": _K_X.T, "k_y": _K_Y, "kappa_x^T": _RATE_X.T, "kappa_y": _RATE_Y, "kappa_xy": _RATE_XY, "M": _M,
         "M^T": _M.T, "K": _GRAM, "Y": _TARGET}  # fmt: skip
_RATES = {_k_x: -_rate_x, _k_y: -_rate_y}


@cache
def flow_mean() -> Formula:
    """Return ∂_Λμ_Λ(x) = -κ_xᵀ M Y."""
    found = derivative(noncommutative(shells.mean().expr, _NAMED), _RATES)
    return Formula(
        name="brg.flow_mean",
        lhs=sp.Symbol(r"\partial_\Lambda \mu_\Lambda(x)"),
        expr=shells.as_matrices(found, _BACK),
        args=(_RATE_X, _M, _TARGET),
        domain=_DOMAIN,
        validity=_ANY_WIDTH,
        derived_from=("shell.mean",),
        steps=(step(found, -_rate_x * _m * _target, "dk_>/dLambda = -kappa in shell.mean"),),
    )


@cache
def flow_covariance(redrawn: bool = True) -> Formula:
    """Return ∂_ΛΣ_Λ = κ(M + Mᵀ)k_> + k_>(M + Mᵀ)κ - κMKMᵀk_> - k_>MKMᵀκ; prune: -κ more."""
    source = shells.covariance() if redrawn else shells.covariance_prune()
    rates = _RATES if redrawn else {**_RATES, _prior: -_rate_xy}
    found = derivative(noncommutative(source.expr, _NAMED), rates)
    middle = _m + _m_t - _m * _gram * _m_t
    expected = _rate_x * middle * _k_y + _k_x * middle * _rate_y - (0 if redrawn else _rate_xy)
    args: tuple[Any, ...] = (_RATE_X, _RATE_Y, _K_X, _K_Y, _M, _GRAM)
    return Formula(
        name="brg.flow_covariance" if redrawn else "brg.flow_covariance_prune",
        lhs=sp.Symbol(r"\partial_\Lambda \Sigma_\Lambda(x, y)"),
        expr=shells.as_matrices(found, _BACK),
        args=args if redrawn else (*args, _RATE_XY),
        domain=_DOMAIN,
        validity=_ANY_WIDTH,
        derived_from=(source.name,),
        steps=(step(found, sp.expand(expected), f"dk_>/dLambda = -kappa in {source.name}"),),
    )


_size, _columns = sp.symbols("m o", positive=True, integer=True)
_RATE, _DRIFT = sp.MatrixSymbol("kappa", _size, _size), sp.MatrixSymbol("A", _size, _size)
_STIFF, _PRIOR = sp.MatrixSymbol("K_stiff", _size, _size), sp.MatrixSymbol("K", _size, _size)
_SIGMA, _DIFFUSION = sp.MatrixSymbol("Sigma", _size, _size), sp.MatrixSymbol("D", _size, _size)
_MU = sp.MatrixSymbol("mu", _size, _columns)
_kappa, _a, _a_t, _stiff_inverse, _d = symbols("kappa A A^T K_stiff^-1 D")
_GENERATOR = ((_a, _kappa * _stiff_inverse), (_a_t, _stiff_inverse * _kappa))
_INVERSE = ((_stiff_inverse * brg.K_STIFF, sp.Integer(1)), (brg.K_STIFF * _stiff_inverse, sp.Integer(1)), *brg.INVERSE)
_MATRICES = {"kappa": _RATE, "A": _DRIFT, "A^T": _DRIFT.T, "K_stiff": _STIFF, "K_stiff^-1": _STIFF.inverse(), "K": _PRIOR,
             "Sigma": _SIGMA, "D": _DIFFUSION, "mu": _MU}  # fmt: skip


def _along(expr: sp.Expr) -> sp.Expr:
    """Return d/dΛ of an expression in K_> on the mesh."""
    return derivative(expr, {brg.K_STIFF: -_kappa})


def _with_generator(expr: sp.Expr) -> sp.Expr:
    return reduced(expr, (*_GENERATOR, *_INVERSE))


@cache
def generator() -> Formula:
    """Return A = κK_>^{-1}, with ∂_Λμ = -Aμ: how fast the map forgets."""
    mean = brg.K_STIFF * brg.K_INVERSE * brg.MU
    return Formula(
        name="brg.generator",
        lhs=sp.Symbol("A"),
        expr=shells.as_matrices(_kappa * _stiff_inverse, _MATRICES),
        args=(_RATE, _STIFF),
        domain="mesh that contains the training inputs, K_> invertible; " + _DOMAIN,
        validity=_ANY_WIDTH,
        derived_from=("brg.mean",),
        steps=(
            definition(_a, _kappa * _stiff_inverse, "generator"),
            step(_along(mean), _with_generator(-_a * mean), "dmu/dLambda = -A mu with mu_Lambda = K_> K^{-1} mu"),
        ),
    )


@cache
def flow_of_mean() -> Formula:
    """Return the closed equation ∂_Λμ_Λ = -Aμ_Λ on the mesh."""
    return Formula(
        name="brg.generator_mean",
        lhs=sp.Symbol(r"\partial_\Lambda \mu_\Lambda"),
        expr=shells.as_matrices(-_a * brg.MU, _MATRICES),
        args=(_DRIFT, _MU),
        domain=generator().domain,
        validity=_ANY_WIDTH,
        derived_from=("brg.generator", "brg.flow_mean"),
        steps=(
            step(
                _along(brg.on_the_mesh(shells.mean(), brg.K_STIFF)),
                _with_generator(-_a * brg.on_the_mesh(shells.mean(), brg.K_STIFF)),
                "brg.flow_mean on the mesh",
            ),
        ),
    )


@cache
def flow_of_covariance() -> Formula:
    """Return the closed equation ∂_ΛΣ = -AΣ - ΣAᵀ + D on the mesh."""
    found = -_a * brg.SIGMA - brg.SIGMA * _a_t + _d
    return Formula(
        name="brg.generator_covariance",
        lhs=sp.Symbol(r"\partial_\Lambda \Sigma_\Lambda"),
        expr=shells.as_matrices(found, _MATRICES),
        args=(_DRIFT, _SIGMA, _DIFFUSION),
        domain=generator().domain + "; D = kappa (prune) or A K + K A^T (resample)",
        validity=_ANY_WIDTH,
        derived_from=("brg.flow_covariance", "brg.flow_covariance_prune"),
        steps=(_covariance_step(False), _covariance_step(True), *fokker_planck()),
    )


def _covariance_step(redrawn: bool) -> Step:
    """Return that -AΣ - ΣA^T + D is the derivative of the closed form on the mesh."""
    law = brg.trained_covariance(brg.K_STIFF, redrawn, brg.K if redrawn else brg.K_STIFF)
    diffusion = _a * brg.K + brg.K * _a_t if redrawn else _kappa
    rule = "resample, D = A K + K A^T" if redrawn else "prune, D = kappa"
    return step(_along(law), _with_generator(-_a * law - law * _a_t + diffusion), f"dSigma/dLambda on the mesh, {rule}")


def fokker_planck() -> tuple[Step, ...]:
    """Return that N(m, V) with m' = -Am and V' = -AV - VA^T + D solves ∂ρ = ∇·(Aφρ) + ½D:∇∇ρ, for two points."""
    one = sp.symbols("phi_1:3", real=True)
    phi, mean = sp.Matrix(one), sp.Matrix(sp.symbols("m_1:3", real=True))
    drift = sp.Matrix(2, 2, sp.symbols("a_11 a_12 a_21 a_22", real=True))
    w11, w12, w22, d11, d12, d22 = sp.symbols("w_11 w_12 w_22 d_11 d_12 d_22", real=True)
    inverse, diffusion = sp.Matrix([[w11, w12], [w12, w22]]), sp.Matrix([[d11, d12], [d12, d22]])
    shifted = phi - mean
    # With W = V^{-1}: ln det V changes by tr WV' and W by -WV'W, so that nothing has to be inverted.
    spread = -inverse * drift - drift.T * inverse + inverse * diffusion * inverse
    change = drift.trace() - (inverse * diffusion).trace() / 2
    change += (shifted.T * spread * shifted)[0] / 2 - (mean.T * drift.T * inverse * shifted)[0]
    slope = -inverse * shifted
    flux = drift.trace() + ((drift * phi).T * slope)[0] + (diffusion * (slope * slope.T - inverse)).trace() / 2
    return (step(change, flux, "Fokker-Planck equation of drift -A phi, divided by rho, two points, W = V^{-1}"),)


@cache
def diffusion() -> Formula:
    """Return D = AK + KAᵀ of resampling: it keeps the prior, and is a diffusion only where it is not negative."""
    found = _a * brg.K + brg.K * _a_t
    return Formula(
        name="brg.diffusion_resample",
        lhs=sp.Symbol("D"),
        expr=shells.as_matrices(found, _MATRICES),
        args=(_DRIFT, _PRIOR),
        domain=generator().domain + "; a Markov diffusion only where no eigenvalue is negative",
        validity=_ANY_WIDTH,
        derived_from=("brg.generator",),
        steps=(
            step(sp.expand(-_a * brg.K - brg.K * _a_t + found), sp.Integer(0), "the prior does not move: Sigma = K"),
        ),
    )


_time = sp.Symbol("t", nonnegative=True)
_START = sp.MatrixSymbol("Sigma_0", _size, _size)
_MU_0 = sp.MatrixSymbol("mu_0", _size, _columns)
_LINEAR = (Reference("howard2024bayesian", "Eqs. (53)-(56)"),)


def _homogeneous(formula: Formula, factor: sp.Expr) -> sp.Expr:
    """Return a formula of ``brg`` for K_> = ZK, P = Z·1, as an expression in commuting scalars (one mode at a time)."""
    prior, start, mean = sp.symbols("K Sigma_0 mu_0", positive=True)
    table = {"P": factor, "P^T": factor, "K": prior, "K_stiff": factor * prior, "Sigma": start, "mu": mean}
    return noncommutative(formula.expr, table)


@cache
def ou_mean() -> Formula:
    """Return μ(t) = e^{-t}μ_0, t = -ln Z."""
    mean = sp.Symbol("mu_0", positive=True)
    found = _homogeneous(brg.mean(), sp.exp(-_time))
    return Formula(
        name="brg.ou_mean",
        lhs=sp.Symbol(r"\mu_\Lambda"),
        expr=found.coeff(mean) * _MU_0,
        args=(_MU_0, _time),
        domain="K_> = Z K, t = -ln Z",
        validity=_ANY_WIDTH,
        references=_LINEAR,
        derived_from=("brg.mean", "shell.homogeneous_Z"),
        steps=(
            step(found, sp.exp(-_time) * mean, "P = Z = e^{-t}"),
            step(sp.diff(found, _time), -found, "drift -phi"),
        ),
    )


@cache
def ou_covariance(redrawn: bool = True) -> Formula:
    """Return Σ(t) = e^{-2t}Σ_0 + (1 - e^{-2t})K (resample) or e^{-2t}Σ_0 + (e^{-t} - e^{-2t})K (prune), t = -ln Z."""
    prior, start = sp.symbols("K Sigma_0", positive=True)
    found = sp.expand(_homogeneous(brg.covariance(redrawn), sp.exp(-_time)))
    noise = 2 * prior if redrawn else sp.exp(-_time) * prior
    weights = [found.coeff(start), found.coeff(prior)]
    label = "resample" if redrawn else "prune"
    return Formula(
        name=f"brg.ou_covariance_{label}",
        lhs=sp.Symbol(r"\Sigma_\Lambda"),
        expr=weights[0] * _START + weights[1] * _PRIOR,
        args=(_START, _PRIOR, _time),
        domain="K_> = Z K, t = -ln Z",
        validity=_ANY_WIDTH,
        references=_LINEAR,
        derived_from=(f"brg.covariance_{label}", "shell.homogeneous_Z"),
        steps=(
            step(sp.diff(found, _time), sp.expand(-2 * found + noise),
                 "dSigma/dt = -2 Sigma + 2 K: drift -phi, dphi = -phi dt + sqrt(2 K) dW" if redrawn else
                 "dSigma/dt = -2 Sigma + e^{-t} K: drift -phi, diffusion kappa of K_> = e^{-t} K"),
            step(found.subs(_time, 0), start, "t = 0"),
            *_kolmogorov(noise),
        ),
    )  # fmt: skip


def _kolmogorov(noise: sp.Expr) -> tuple[Step, ...]:
    """Return that the Gaussian law of one mode solves ∂_tρ = ∂(φρ) + ½(noise)∂²ρ."""
    phi, mean = sp.Symbol("phi", real=True), sp.Symbol("mu_0", positive=True)
    variance = sp.Function("v", positive=True)(_time)
    log_density = -((phi - mean * sp.exp(-_time)) ** 2) / (2 * variance) - sp.log(variance) / 2
    slope = sp.diff(log_density, phi)
    left = sp.diff(log_density, _time).subs(sp.Derivative(variance, _time), -2 * variance + noise)
    right = 1 + phi * slope + noise / 2 * (slope**2 + sp.diff(slope, phi))
    value = sp.Symbol("v", positive=True)
    return (
        step(
            left.subs(variance, value), right.subs(variance, value), "Fokker-Planck equation, divided by rho, one mode"
        ),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "brg.flow_mean": flow_mean,
    "brg.flow_covariance": flow_covariance,
    "brg.flow_covariance_prune": lambda: flow_covariance(False),
    "brg.generator": generator,
    "brg.generator_mean": flow_of_mean,
    "brg.generator_covariance": flow_of_covariance,
    "brg.diffusion_resample": diffusion,
    "brg.ou_mean": ou_mean,
    "brg.ou_covariance_resample": ou_covariance,
    "brg.ou_covariance_prune": lambda: ou_covariance(False),
}
