"""Is coarse-graining by information a renormalisation group map? Yes, a linear one: f_Λ = P f + N(0, Q), P = K_>K^{-1}.

On a mesh that contains the training inputs, with kernels K (prior) and K_> (its stiff part) as matrices.  S selects the
training inputs among the points of the mesh, H = Sh, so that k_> of ``shells`` is SK_>.  Lower leg of figures 1 and 2 of
arXiv:2405.17538.  Pruning is Polchinski's flow with P_Λ0 = K and P_Λ = K_>; resampling a Gaussian block-spin map whose
fixed point is the prior.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import sympy as sp

from fieldflow.symbolic import shells
from fieldflow.symbolic.formula import Formula, definition, step
from fieldflow.symbolic.noncommutative import noncommutative, reduced, symbols
from fieldflow.symbolic.reference import Reference

_ANY_WIDTH = "exact at any width, given the hidden layer"
_DIAGRAM = (Reference("howard2024bayesian", "Figs. 1, 2; Eqs. (53)-(58)"),)
_MESH = "mesh that contains the training inputs, K invertible; with the infinite-width kernels: infinite width"

_m, _outputs = sp.symbols("m o", positive=True, integer=True)
PRIOR, STIFF = sp.MatrixSymbol("K", _m, _m), sp.MatrixSymbol("K_stiff", _m, _m)
PROJECTOR, TRAINED = sp.MatrixSymbol("P", _m, _m), sp.MatrixSymbol("Sigma", _m, _m)
MEAN = sp.MatrixSymbol("mu", _m, _outputs)

K, K_INVERSE, K_STIFF, P, P_T = symbols("K K^-1 K_stiff P P^T")
S, S_T, M, M_T, Y = symbols("S S^T M M^T Y")
SIGMA, MU, Q = symbols("Sigma mu Q")
H, H_T, h, h_T, h_stiff, h_stiff_T = symbols("H H^T h h^T h_stiff h_stiff^T")

INVERSE = ((K_INVERSE * K, sp.Integer(1)), (K * K_INVERSE, sp.Integer(1)))
"""What an inverse is."""

MAP = ((P, K_STIFF * K_INVERSE), (P_T, K_INVERSE * K_STIFF))
"""P and its transpose, K and K_> being symmetric."""

FEATURES = ((H, S * h), (H_T, h_T * S_T), (h_stiff * h_stiff_T, K_STIFF), (h_stiff * h_T, K_STIFF), (h * h_stiff_T, K_STIFF),
            (h * h_T, K))  # fmt: skip
"""Kernels as products of features: stiff and sloppy neurons are different ones, so that h_> h^T = K_>."""

_AS_MATRICES = {"P": PROJECTOR, "P^T": PROJECTOR.T, "K": PRIOR, "K^-1": PRIOR.inverse(), "K_stiff": STIFF,
                "Sigma": TRAINED, "mu": MEAN}  # fmt: skip


def on_the_mesh(formula: Formula, stiff: sp.Expr, prior: sp.Expr = K) -> sp.Expr:
    """Return a formula of ``shells`` between the points of the mesh: k_> = S·stiff, K(X, X) = SKS^T, first term ``prior``."""
    named = {
        "k_stiff_x^T": stiff * S_T, "k_stiff_y": S * stiff, "M": M, "M^T": M_T, "Y": Y, "K": S * K * S_T, "K_xy": prior,
        "K_stiff": prior,
    }  # fmt: skip
    return noncommutative(formula.expr, named)


def mapped(expr: sp.Expr) -> sp.Expr:
    """Return an expression with P = K_>K^{-1} written out and K^{-1}K = 1."""
    return reduced(expr, (*MAP, *INVERSE))


def _regression() -> tuple[sp.Expr, sp.Expr]:
    """Return E[f_Λ f^T] and E[f f^T] at initialisation, f = hω and f_Λ = h_>ω + h_<ξ with ω, ξ ~ N(0, 1)."""
    return reduced(h_stiff * h_T, FEATURES), reduced(h * h_T, FEATURES)


@cache
def projector() -> Formula:
    """Return P = K_>K^{-1}, the regression of the coarse-grained on the original function."""
    joint, own = _regression()
    residual_loading = h_stiff - P * h
    trained_part = residual_loading * H_T
    return Formula(
        name="brg.projector",
        lhs=sp.Symbol("P"),
        expr=shells.as_matrices(joint * K_INVERSE, _AS_MATRICES),
        args=(STIFF, PRIOR),
        domain=_MESH,
        validity=_ANY_WIDTH,
        references=_DIAGRAM,
        derived_from=("shell.mean", "shell.covariance"),
        steps=(
            step(
                joint,
                K_STIFF,
                "before training, Cov[f_Lambda, f]: what is sloppy is independent of f_Lambda or redrawn",
            ),
            step(own, K, "before training, Cov[f, f]"),
            definition(P, joint * K_INVERSE, "linear regression of f_Lambda on f"),
            step(mapped(P * K), K_STIFF, "P K = K_>"),
            step(
                reduced(trained_part, (*MAP, *FEATURES, *INVERSE)),
                sp.Integer(0),
                "residual f_Lambda - P f = (h_> - P h) omega_T + h_< xi: what training adds, H^T M (Y - H omega), drops out",
            ),
        ),
    )


@cache
def mean() -> Formula:
    """Return μ_Λ = Pμ."""
    found = mapped(P * on_the_mesh(shells.mean(), K))
    return Formula(
        name="brg.mean",
        lhs=sp.Symbol(r"\mu_\Lambda"),
        expr=shells.as_matrices(P * MU, _AS_MATRICES),
        args=(PROJECTOR, MEAN),
        domain=_MESH,
        validity=_ANY_WIDTH,
        references=_DIAGRAM,
        derived_from=("brg.projector", "shell.mean"),
        steps=(
            definition(sp.Symbol(r"f_\Lambda", commutative=False), P * symbols("f")[0] + symbols("eta")[0],
                       "residual eta of mean zero, independent of f"),
            step(found, on_the_mesh(shells.mean(), K_STIFF), "P mu_T is shell.mean at Lambda"),
        ),
    )  # fmt: skip


def trained_covariance(stiff: sp.Expr, redrawn: bool, prior: sp.Expr) -> sp.Expr:
    """Return ``shell.covariance`` or ``shell.covariance_prune`` on the mesh."""
    return on_the_mesh(shells.covariance() if redrawn else shells.covariance_prune(), stiff, prior)


@cache
def cross_covariance() -> Formula:
    """Return Cov[f_Λ, f_T] = PΣ: P is the regression of the coarse-grained on the trained function as well."""
    loading = shells.loading()
    named = {"M": M, "M^T": M_T, "H": S * h}
    coarse = noncommutative(loading.expr, {**named, "h_stiff": h_stiff, "k_stiff_x^T": K_STIFF * S_T})
    fine_transposed = h_T - h_T * S_T * M_T * S * K
    fine = noncommutative(loading.expr, {**named, "h_stiff": h, "k_stiff_x^T": K * S_T})
    own = reduced(fine * fine_transposed, FEATURES)
    return Formula(
        name="brg.cross_covariance",
        lhs=sp.Symbol(r"\mathrm{Cov}[f_\Lambda, f_T]"),
        expr=shells.as_matrices(P * SIGMA, _AS_MATRICES),
        args=(PROJECTOR, TRAINED),
        domain=_MESH,
        validity=_ANY_WIDTH,
        references=_DIAGRAM,
        derived_from=("brg.projector", "shell.loading"),
        steps=(
            step(own, trained_covariance(K, True, K), "loadings of f_T: Sigma_T is shell.covariance at Lambda = 0"),
            step(
                reduced(coarse * fine_transposed, FEATURES),
                mapped(P * own),
                "loadings of f_Lambda and of f_T: P Sigma_T",
            ),
        ),
    )


def _channel(noise: sp.Expr) -> sp.Expr:
    """Return E[(Pφ + η)(Pφ + η)^T] with φ of covariance Σ and η independent of it."""
    phi, phi_t, eta, eta_t = symbols("phi phi^T eta eta^T")
    product = sp.expand((P * phi + eta) * (phi_t * P_T + eta_t))
    moments = ((phi * phi_t, SIGMA), (eta * eta_t, noise), (phi * eta_t, sp.Integer(0)), (eta * phi_t, sp.Integer(0)))
    return reduced(product, moments)


def composition(redrawn: bool) -> tuple[sp.Expr, sp.Expr]:
    """Return the noise of two maps in a row, K to K_1 to K_2, and that of the one map K to K_2."""
    first, first_inverse, second = symbols("K_1 K_1^-1 K_2")
    later, later_t = second * first_inverse, first_inverse * second
    kept = (K, K) if redrawn else (first, second)
    noise = kept[0] - first * K_INVERSE * K * K_INVERSE * first
    later_noise = kept[1] - later * kept[0] * later_t
    whole = kept[1] - second * K_INVERSE * K * K_INVERSE * second
    rules = (*INVERSE, (first_inverse * first, sp.Integer(1)), (first * first_inverse, sp.Integer(1)))
    return reduced(later * noise * later_t + later_noise, rules), reduced(whole, rules)


@cache
def covariance(redrawn: bool = True) -> Formula:
    """Return Σ_Λ = PΣP^T + Q with Q = K - PKP^T (resample) or K_> - PKP^T (prune)."""
    untrained = K if redrawn else K_STIFF
    noise = untrained - P * K * P_T
    found = _channel(noise)
    trained = found.subs(SIGMA, trained_covariance(K, True, K))
    args: tuple[Any, ...] = (PROJECTOR, TRAINED, PRIOR)
    name, rule = "resample", "shell.covariance"
    if not redrawn:
        args, name, rule = (*args, STIFF), "prune", "shell.covariance_prune"
    return Formula(
        name=f"brg.covariance_{name}",
        lhs=sp.Symbol(r"\Sigma_\Lambda"),
        expr=shells.as_matrices(found, _AS_MATRICES),
        args=args,
        domain=_MESH,
        validity=_ANY_WIDTH,
        references=_DIAGRAM,
        derived_from=("brg.cross_covariance", rule),
        steps=(
            step(_channel(Q), P * SIGMA * P_T + Q, "f_Lambda = P f + eta, eta of covariance Q independent of f"),
            step(_channel(noise).subs(SIGMA, K), untrained,
                 "Q from the untrained ensemble, whose covariance K goes to " + ("K" if redrawn else "K_>")),
            step(mapped(trained), trained_covariance(K_STIFF, redrawn, untrained), f"with Sigma_T this is {rule} at Lambda"),
            step(*composition(redrawn), "semigroup: the noise of K to K_1 to K_2 is that of K to K_2"),
            *([] if redrawn else [_polchinski()]),
        ),
    )  # fmt: skip


def _polchinski() -> Any:
    """Return that pruning maps covariances as Polchinski's flow does, P_Λ0 = K and P_Λ = K_>."""
    at_cutoff = K_STIFF + K_STIFF * K_INVERSE * (SIGMA - K) * K_INVERSE * K_STIFF
    return step(
        mapped(_channel(K_STIFF - P * K * P_T)),
        reduced(at_cutoff, INVERSE),
        "Polchinski's two-point function P_Lambda + (P_Lambda/P_0)(G_0 - P_0)(P_Lambda/P_0)^T, P_0 = K, P_Lambda = K_>",
    )


@cache
def two_times(redrawn: bool) -> Formula:
    """Return Cov[f_Λ2, f_Λ1] of one member for Λ2 > Λ1: P_21 Σ_1 (prune), P_21 Σ_1 + (1 - P_21)(K - K_1) (resample).

    Pruning is Polchinski's channel as a process.  Resampling with one redraw per member has the law of the block-spin map
    at each Λ but not between two: there the map would give P_21 Σ_1.
    """
    later, first, first_inverse = symbols("K_stiff K_1 K_1^-1")
    between = (first_inverse * first, sp.Integer(1))
    sloppy = K - first if redrawn else sp.Integer(0)
    middle = S_T * M * S * K * S_T * M_T * S - S_T * M * S - S_T * M_T * S
    joint = later + later * middle * first + sloppy
    own = (K if redrawn else first) + first * middle * first
    channel = reduced(later * first_inverse * own, (between,))
    earlier, covariance_1 = sp.MatrixSymbol("K_1", _m, _m), sp.MatrixSymbol("Sigma_1", _m, _m)
    one = symbols("Sigma_1")[0]
    names = {"K": PRIOR, "K_stiff": STIFF, "K_1": earlier, "K_1^-1": earlier.inverse(), "Sigma_1": covariance_1}
    excess = reduced(joint - channel, (between,))
    found = later * first_inverse * one + excess
    return Formula(
        name="brg.two_times_resample" if redrawn else "brg.two_times_prune",
        lhs=sp.Symbol(r"\mathrm{Cov}[f_{\Lambda_2}, f_{\Lambda_1}]"),
        expr=shells.as_matrices(found, names),
        args=(STIFF, earlier, covariance_1, PRIOR) if redrawn else (STIFF, earlier, covariance_1),
        domain=_MESH + ", Lambda_2 > Lambda_1, K_1 and Sigma_1 those of Lambda_1, K_> that of Lambda_2",
        validity=_ANY_WIDTH,
        references=_DIAGRAM,
        derived_from=("shell.loading",),
        steps=(
            step(reduced(_two_time_loadings(middle, later, first), ()), reduced(joint - sloppy, ()),
                 "loadings on omega, a stiff neuron at Lambda_2 being stiff at Lambda_1"),
            step(reduced(found.subs(one, own), (between,)), reduced(joint, ()),
                 "one redraw shared by all cut-offs: sloppy at Lambda_1 adds K - K_1" if redrawn else "nothing is redrawn"),
        ),
    )  # fmt: skip


def _two_time_loadings(middle: sp.Expr, later: sp.Expr, first: sp.Expr) -> sp.Expr:
    """Return the product of the loadings h_>2 - K_>2 S^T M H and h_>1 - K_>1 S^T M H on the initial read-out."""
    late, early_t = symbols("h_2 h_1^T")
    product = sp.expand((late - later * S_T * M * S * h) * (early_t - h_T * S_T * M_T * S * first))
    rules = ((late * early_t, later), (h * early_t, first), (late * h_T, later), (h * h_T, K))
    return reduced(product, rules)


FORMULAS: dict[str, Callable[[], Formula]] = {
    "brg.projector": projector,
    "brg.mean": mean,
    "brg.cross_covariance": cross_covariance,
    "brg.covariance_resample": covariance,
    "brg.covariance_prune": lambda: covariance(False),
    "brg.two_times_resample": lambda: two_times(True),
    "brg.two_times_prune": lambda: two_times(False),
}
