"""What does coarse-graining cost? Data: the pruned Bayesian net is a posterior from noisier data, and information falls.

Networks trained to the posterior with noise s², M = (K + s²)^{-1}.  Their pruned theory is the posterior with prior K_>
and noise covariance s² + K_<(X, X): what the sloppy part would have explained has become noise.  The information about
the stiff part in the data, I_Λ = ½ ln det(K + s²) - ½ ln det(K_< + s²), never grows with Λ: a c-function.  All formulas are
written with N = s² + K_<, so that K + s² = K_> + N.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp
from sympy.codegen.cfunctions import log1p

from fieldflow.symbolic import shells
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.noncommutative import noncommutative, reduced, symbols
from fieldflow.symbolic.reference import Reference

_DATA = (Reference("howard2024bayesian", "Sec. 3.2; Eqs. (53)-(55)"),)
_BAYES = "M = (K + s2)^{-1}, s2 > 0: training to the posterior; N = s2 + K_<, all on the training inputs"
_ANY_WIDTH = "exact at any width, given the hidden layer"

_n, _p, _r, _outputs = sp.symbols("n p r o", positive=True, integer=True)
_NOISE, _STIFF_GRAM = sp.MatrixSymbol("N", _n, _n), sp.MatrixSymbol("K_stiff", _n, _n)
_LEFT, _RIGHT = sp.MatrixSymbol("k_stiff_x", _n, _p), sp.MatrixSymbol("k_stiff_y", _n, _r)
_PRIOR, _TARGET = sp.MatrixSymbol("K_xy", _p, _r), sp.MatrixSymbol("Y", _n, _outputs)

# G stands for (K_> + N)^{-1}, N the covariance of the noise.
_k_x, _k_y, _prior, _y, _gain, _gain_t, _stiff, _noise = symbols("k_x^T k_y K_xy Y G G^T K_stiff N")
_INVERSE = ((_gain * (_stiff + _noise), sp.Integer(1)), ((_stiff + _noise) * _gain, sp.Integer(1)))


def _regression() -> tuple[Step, ...]:
    """Return that k_>ᵀG y is the regression of f_> on y = f_>(X) + noise, and what it leaves."""
    data, data_t, field, field_t = symbols("y y^T f_x f_x^T")
    moments = (
        (data * data_t, _stiff + _noise),
        (field * data_t, _k_x),
        (data * field_t, _k_y),
        (field * field_t, _prior),
    )
    residual, residual_t = field - _k_x * _gain * data, field_t - data_t * _gain * _k_y
    total = symbols("T")[0]  # K_> + N as one symbol, so that G T = 1 can be used
    joint = reduced(reduced(residual * data_t, moments).subs(_stiff, total - _noise), ((_gain * total, sp.Integer(1)),))
    left = reduced(
        reduced(residual * residual_t, moments).subs(_stiff, total - _noise), ((_gain * total, sp.Integer(1)),)
    )
    return (
        step(joint, sp.Integer(0), "posterior from y = f_>(X) + noise, G = (K_> + N)^{-1}: the residual is independent of y"),
        step(left, _prior - _k_x * _gain * _k_y, "covariance of the residual"),
    )  # fmt: skip


def _degraded_noise() -> Step:
    gram, s2 = symbols("K s2")
    return step(
        _stiff + (s2 + gram - _stiff), gram + s2, "N = s2 + K_<, K_< = K - K_>: K_> + N = K + s2, so that G = M"
    )


@cache
def mean() -> Formula:
    """Return μ_Λ(x) = k_>ᵀ(K_> + N)^{-1}Y with N = s² + K_<: the posterior mean from degraded data."""
    trained = noncommutative(shells.mean().expr, {"k_stiff_x^T": _k_x, "M": _gain, "Y": _y})
    return Formula(
        name="brg.degraded_mean",
        lhs=sp.Symbol(r"\mu_\Lambda(x)"),
        expr=_LEFT.T * (_STIFF_GRAM + _NOISE).inverse() * _TARGET,
        args=(_LEFT, _STIFF_GRAM, _NOISE, _TARGET),
        domain=_BAYES,
        validity=_ANY_WIDTH,
        references=_DATA,
        derived_from=("shell.mean", "training.posterior"),
        steps=(*_regression(), _degraded_noise(), step(trained, _k_x * _gain * _y, "shell.mean with M = G")),
    )


@cache
def covariance() -> Formula:
    """Return Σ_Λ = K_> - k_>ᵀ(K_> + N)^{-1}k_> with N = s² + K_<: the posterior covariance from degraded data."""
    # With noise in the data M(K + s2)M^T replaces MKM^T: the prior of the ensemble is that of the noisy targets.
    noisy = symbols("T")[0]
    table = {"K_stiff": _prior, "k_stiff_x^T": _k_x, "k_stiff_y": _k_y, "M": _gain, "M^T": _gain, "K": noisy}
    trained = noncommutative(shells.covariance_prune().expr, table)
    return Formula(
        name="brg.degraded_covariance",
        lhs=sp.Symbol(r"\Sigma_\Lambda(x, y)"),
        expr=_PRIOR - _LEFT.T * (_STIFF_GRAM + _NOISE).inverse() * _RIGHT,
        args=(_PRIOR, _LEFT, _RIGHT, _STIFF_GRAM, _NOISE),
        domain=_BAYES + "; K_xy is K_>(x, y); ridge = s2 in the training, so that T = K + s2 in M T M^T",
        validity=_ANY_WIDTH,
        references=_DATA,
        derived_from=("shell.covariance_prune", "training.posterior"),
        steps=(
            *_regression(),
            _degraded_noise(),
            step(reduced(trained, ((_gain * noisy, sp.Integer(1)),)), _prior - _k_x * _gain * _k_y,
                 "shell.covariance_prune with M = G = T^{-1}"),
        ),
    )  # fmt: skip


@cache
def information() -> Formula:
    """Return I_Λ = ½ ln det(K + s²) - ½ ln det(K_< + s²), the information in the data about the stiff part."""
    value = sp.log(sp.Determinant(_STIFF_GRAM + _NOISE)) / 2 - sp.log(sp.Determinant(_NOISE)) / 2
    signal, noise, x = sp.symbols("k_> n x", positive=True)
    entropy = sp.log(2 * sp.pi * sp.E * x) / 2
    return Formula(
        name="brg.information",
        lhs=sp.Symbol(r"I_\Lambda"),
        expr=value,
        args=(_STIFF_GRAM, _NOISE),
        domain="N = s2 + K_< on the training inputs, s2 > 0; nats",
        validity=_ANY_WIDTH,
        references=_DATA,
        derived_from=("brg.degraded_mean",),
        steps=(
            step(
                entropy.subs(x, signal + noise) - entropy.subs(x, noise),
                sp.log(signal + noise) / 2 - sp.log(noise) / 2,
                "entropy of the data minus entropy of the data given the stiff part, one mode",
            ),
            *_jacobi(),
        ),
    )


def _explicit(name: str) -> sp.Matrix:
    """Return a symmetric matrix of two points with entries name_11, name_12, name_22."""
    a, b, c = sp.symbols(f"{name}_11 {name}_12 {name}_22", real=True)
    return sp.Matrix([[a, b], [b, c]])


def _jacobi() -> tuple[Step, ...]:
    """Return that I_Λ falls at the rate ½ tr[(K_< + s²)^{-1}κ], for two points written out."""
    sloppy, rate, shift = _explicit("b"), _explicit("kappa"), sp.Symbol("epsilon", real=True)
    change = sp.diff(-sp.log((sloppy + shift * rate).det()) / 2, shift).subs(shift, 0)
    left = sp.together(change)
    right = sp.together(-(sloppy.inv() * rate).trace() / 2)
    return (
        step(
            left, right, "Jacobi: dN/dLambda = kappa, so that d ln det N = tr[N^{-1} kappa] dLambda; two points, b = N"
        ),
    )


@cache
def information_mode() -> Formula:
    """Return I_Λ of one mode, -½ ln(1 - ν), ν an eigenvalue of (K + s²)^{-1}K_>: what floating point evaluates."""
    share = sp.Symbol("nu", nonnegative=True)
    total, total_inverse, stiff = symbols("T T^-1 K_stiff")
    x = sp.Symbol("x", positive=True)  # ν = x/(1 + x) < 1
    plain, stable = -sp.log(1 - share) / 2, -log1p(-share) / 2
    inside = {share: x / (1 + x)}
    return Formula(
        name="brg.information_mode",
        lhs=sp.Symbol(r"I_\Lambda(\nu)"),
        expr=plain,
        args=(share,),
        domain="0 <= nu < 1; I_Lambda is the sum over the eigenvalues nu of (K_> + N)^{-1} K_>",
        validity=_ANY_WIDTH,
        references=_DATA,
        derived_from=("brg.information",),
        steps=(
            step(reduced(total * (1 - total_inverse * stiff), ((total * total_inverse, sp.Integer(1)),)), total - stiff,
                 "T = K_> + N: N = T (1 - T^{-1} K_>), so that det N = det T det(1 - T^{-1} K_>)"),
            step(stable.rewrite(sp.log).subs(inside), sp.log(1 + x) / 2, "floating-point form"),
            step(plain.subs(inside), sp.log(1 + x) / 2, "not negative"),
        ),
        numerical=stable,
    )  # fmt: skip


@cache
def information_loss() -> Formula:
    """Return -∂_ΛI_Λ = ½ tr[(K_< + s²)^{-1}κ] >= 0."""
    rate = sp.MatrixSymbol("kappa", _n, _n)
    root, shell = (
        sp.Matrix(2, 2, sp.symbols(f"{name}_11 {name}_12 {name}_21 {name}_22", real=True)) for name in ("l", "f")
    )
    squares = sum((entry**2 for entry in root.T * shell), sp.Integer(0))
    return Formula(
        name="brg.information_loss",
        lhs=sp.Symbol(r"-\partial_\Lambda I_\Lambda"),
        expr=sp.Trace(_NOISE.inverse() * rate) / 2,
        args=(_NOISE, rate),
        domain="kappa = -dK_>/dLambda, N = s2 + K_< on the training inputs, s2 > 0",
        validity=_ANY_WIDTH,
        references=_DATA,
        derived_from=("brg.information",),
        steps=(
            *_jacobi(),
            definition(symbols("kappa")[0], symbols("f f^T")[0] * symbols("f f^T")[1],
                       "features of the neurons on the shell: kappa = f f^T is not negative"),
            step((root * root.T * shell * shell.T).trace(), squares,
                 "with N^{-1} = l l^T the trace is a sum of squares: I_Lambda never grows (two points, two neurons)"),
        ),
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {
    "brg.degraded_mean": mean,
    "brg.degraded_covariance": covariance,
    "brg.information": information,
    "brg.information_mode": information_mode,
    "brg.information_loss": information_loss,
}
