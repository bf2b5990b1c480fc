"""What does Polchinski's exact RG do to a field? It is a noisy channel: φ_Λ = (P_Λ/P_0)φ_0 + N(0, P_Λ - P_Λ²/P_0).

One mode of regulated propagator P_Λ, weight e^{-φ²/2P_Λ - S_Λ(φ)}.  With s = P_0 - P_Λ, which grows as Λ is lowered, the
interaction solves ∂_s e^{-S} = ½∂²e^{-S}, that is ∂_s S = ½(S'' - S'²): e^{-S_Λ(φ)} = E e^{-S_0(φ + ζ)}, ζ ~ N(0, s).
Pruning a network is this channel with P_0 = K and P_Λ = K_> (``brg.covariance_prune``).
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.formula import Formula, Step, step
from fieldflow.symbolic.reference import Reference

_ERG = (Reference("polchinski1984renormalization", "Sec. 2"), Reference("cotler2023renormalization", "Sec. 2"))
_DOMAIN = "one mode, 0 < P_Lambda <= P_0"

START, NOW = sp.symbols("P_0 P_Lambda", positive=True)
"""Regulated propagators at the initial and at the present scale."""

_phi, _zeta, _j = sp.symbols("phi zeta j", real=True)
_s = sp.Symbol("s", positive=True)


def density_flow() -> tuple[Step, ...]:
    """Return that ρ ∝ e^{-φ²/2P - S} obeys ∂_sρ = ½∂[∂ρ + 2φρ/P] when P = P_0 - s and ∂_s S = ½(S'' - S'²)."""
    present = START - _s
    action = sp.Function("S")(_phi, _s)
    log_density = -(_phi**2) / (2 * present) - action - sp.log(present) / 2
    flow = (sp.diff(action, _phi, 2) - sp.diff(action, _phi) ** 2) / 2
    left = sp.diff(log_density, _s).subs(sp.Derivative(action, _s), flow)
    slope = sp.diff(log_density, _phi)
    right = (slope**2 + sp.diff(slope, _phi) + 2 * (1 + _phi * slope) / present) / 2
    weight, kernel = sp.Function("w"), sp.exp(-((_zeta - _phi) ** 2) / (2 * _s)) / sp.sqrt(2 * sp.pi * _s)
    heat = sp.diff(kernel, _s), sp.diff(kernel, _phi, 2) / 2
    exponent = -sp.log(weight(_phi, _s))
    heat_of_weight = sp.Derivative(weight(_phi, _s), (_phi, 2)) / 2
    change = sp.diff(exponent, _s).subs(sp.Derivative(weight(_phi, _s), _s), heat_of_weight)
    return (
        step(sp.simplify(heat[0] / kernel), sp.simplify(heat[1] / kernel), "E e^{-S_0(phi + zeta)} solves the heat equation"),
        step(change, (sp.diff(exponent, _phi, 2) - sp.diff(exponent, _phi) ** 2) / 2, "w = e^{-S}: dS/ds = (S'' - S'^2)/2"),
        step(left, right, "the whole density obeys a Fokker-Planck equation, divided by rho"),
    )  # fmt: skip


def _generating(function: sp.Expr) -> sp.Expr:
    """Return ln E e^{jφ_Λ} of the channel, ``function`` of j being ln E e^{jφ_0}."""
    ratio = NOW / START
    return function.subs(_j, ratio * _j) + _j**2 * (NOW - NOW**2 / START) / 2


def channel() -> Step:
    """Return that the channel makes e^{-φ²/2P_Λ - S_Λ} of e^{-φ²/2P_0 - S_0}: weights of one pair (φ_0, φ_Λ)."""
    noise = NOW - NOW**2 / START
    through = -((_phi - NOW / START * _zeta) ** 2) / (2 * noise) - _zeta**2 / (2 * START)
    heat = -((_zeta - _phi) ** 2) / (2 * (START - NOW)) - _phi**2 / (2 * NOW)
    return step(
        sp.together(through), sp.together(heat), "exponents: the channel after P_0 is the heat kernel before P_Lambda"
    )


@cache
def mean() -> Formula:
    """Return ⟨φ⟩_Λ = (P_Λ/P_0)⟨φ⟩_0."""
    average = sp.Symbol("mu_0", real=True)
    found = sp.diff(_generating(average * _j), _j).subs(_j, 0)
    return Formula(
        name="polchinski.mean",
        lhs=sp.Symbol(r"\langle\varphi\rangle_\Lambda"),
        expr=found,
        args=(average, START, NOW),
        domain=_DOMAIN,
        validity="exact",
        references=_ERG,
        steps=(channel(), step(found, NOW / START * average, "first derivative of ln E e^{j phi}")),
    )


@cache
def two_point() -> Formula:
    """Return G_Λ = P_Λ + (P_Λ/P_0)²(G_0 - P_0), connected."""
    start = sp.Symbol("G_0", positive=True)
    found = sp.expand(sp.diff(_generating(start * _j**2 / 2), _j, 2))
    return Formula(
        name="polchinski.two_point",
        lhs=sp.Symbol(r"G_\Lambda"),
        expr=found,
        args=(start, START, NOW),
        domain=_DOMAIN,
        validity="exact",
        references=_ERG,
        steps=(
            *density_flow(),
            channel(),
            step(found, NOW + (NOW / START) ** 2 * (start - START), "second derivative of ln E e^{j phi}"),
            step(found.subs(NOW, START), start, "nothing happens at P_Lambda = P_0"),
        ),
    )


@cache
def connected() -> Formula:
    """Return κ_n → (P_Λ/P_0)^n κ_n for n >= 3: amputated connected correlators are RG invariants."""
    order, cumulant = sp.Symbol("n", positive=True, integer=True), sp.Symbol("kappa_n", real=True)
    cumulants = sp.symbols("kappa_1:7", real=True)
    function = sum((value * _j**n / sp.factorial(n) for n, value in enumerate(cumulants, start=1)), sp.Integer(0))
    written = []
    for n in (3, 4, 5, 6):
        found = sp.diff(_generating(function), _j, n).subs(_j, 0)
        plain = (NOW / START) ** n * cumulants[n - 1]
        written.append(step(found, plain, f"n = {n}: the Gaussian noise adds to j^2 only, the map multiplies j"))
    return Formula(
        name="polchinski.connected",
        lhs=sp.Symbol(r"\kappa_n(\Lambda)"),
        expr=(NOW / START) ** order * cumulant,
        args=(cumulant, START, NOW, order),
        domain=_DOMAIN + ", n >= 3",
        validity="exact",
        references=_ERG,
        derived_from=("polchinski.two_point",),
        steps=tuple(written),
    )


@cache
def quadratic() -> Formula:
    """Return r_Λ = r/(1 + r(P_0 - P_Λ)) of S = ½rφ²."""
    r = sp.Symbol("r", positive=True)
    found = r / (1 + r * (START - NOW))
    running = r / (1 + r * _s)
    action = running * _phi**2 / 2 + sp.log(1 + r * _s) / 2
    start = sp.expand(r * (_phi + _zeta) ** 2 / 2 + _zeta**2 / (2 * _s))
    lowest = sp.solve(sp.diff(start, _zeta), _zeta)[0]
    return Formula(
        name="polchinski.quadratic",
        lhs=sp.Symbol(r"r_\Lambda"),
        expr=found,
        args=(r, START, NOW),
        domain=_DOMAIN + ", S_0 = r phi^2/2",
        validity="exact",
        references=_ERG,
        derived_from=("polchinski.two_point",),
        steps=(
            step(sp.simplify(start.subs(_zeta, lowest)), running * _phi**2 / 2, "Gaussian integral over zeta, s = P_0 - P_Lambda"),
            step(sp.diff(action, _s), (sp.diff(action, _phi, 2) - sp.diff(action, _phi) ** 2) / 2, "dS/ds = (S'' - S'^2)/2"),
            step(1 / (1 / NOW + found), two_point().expr.subs(sp.Symbol("G_0", positive=True), 1 / (1 / START + r)),
                 "two-point function 1/(1/P + r) on both scales"),
        ),
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {
    "polchinski.mean": mean,
    "polchinski.two_point": two_point,
    "polchinski.connected": connected,
    "polchinski.quadratic": quadratic,
}
