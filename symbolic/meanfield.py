"""How far does a signal reach into a deep random network? Length and correlation maps, their slopes and depth scales.

The maps are the NNGP recursion on the diagonal and at fixed variance; their slopes follow from the heat equation of the
Gaussian density, and the edge of chaos from χ₁ = 1.  E_sigma and E_slope stand for E[σ(u)σ(v)] and E[σ'(u)σ'(v)].
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic import gaussian
from fieldflow.symbolic.activations import activation
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.nngp import E_PAIR, SLOPE_PAIR, recursion
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import a_l, c, q, q11, q22, sigma_b, sigma_w, z

RATE = sp.Symbol("D_q", real=True)  # dE[σ²]/dq
SLOPE = sp.Symbol("chi", positive=True)
FIXED = sp.Symbol("q", positive=True)

LENGTH_MAP = (Reference("poole2016exponential", "Sec. 2"), Reference("schoenholz2017deep", "Sec. 2"))
DEPTH_SCALES = (Reference("schoenholz2017deep", "Sec. 3"),)

_u, _v = sp.symbols("u v", real=True)
_sigma = sp.Function("sigma")
_INSIDE = {c: sp.sqrt(q11 * q22) * c / sp.sqrt(1 + c**2)}  # keeps |c| < √(q11 q22)


def _density() -> sp.Expr:
    """Return the density of the centred Gaussian pair."""
    determinant = q11 * q22 - c**2
    square = (q22 * _u**2 - 2 * c * _u * _v + q11 * _v**2) / (2 * determinant)
    return sp.exp(-square) / (2 * sp.pi * sp.sqrt(determinant))


@cache
def price_step() -> Step:
    """Return Price's theorem: ∂_c of the density is ∂_u∂_v of it, so by parts ∂_c E[σ(u)σ(v)] = E[σ'(u)σ'(v)]."""
    density = _density()
    return step(
        sp.diff(density, c) / density, sp.diff(density, _u, _v) / density,
        "Price: d/dc p(u, v) = d^2/dudv p(u, v), by parts d/dc E[sigma sigma] = E[sigma' sigma']", where=_INSIDE,
    )  # fmt: skip


@cache
def _rate_steps() -> tuple[Step, ...]:
    """Return dE[σ²]/dq = E[σ'²] + E[σσ''] = E[zσσ']/q: (∂_q11 + ∂_c + ∂_q22) E[σ(u)σ(v)] at equal points."""
    density, positive = _density(), sp.Symbol("q", positive=True)
    pair = _sigma(_u) * _sigma(_v)
    total = (sp.diff(pair, _u, 2) + 2 * sp.diff(pair, _u, _v) + sp.diff(pair, _v, 2)) / 2
    slope, curvature = sp.diff(_sigma(z), z), sp.diff(_sigma(z), z, 2)
    unit = sp.Symbol("x", real=True)
    scaled = sp.diff(sp.tanh(sp.sqrt(positive) * unit) ** 2, positive).subs(unit, z / sp.sqrt(positive))
    erf, bent = activation("erf"), sp.diff(sp.erf(z), z, 2)
    relu = sp.diff(gaussian.second_moment("relu").expr, q)
    parts = _diagonal(erf.derivative, erf.derivative) + _diagonal(erf.expr, bent)
    return (
        step(
            sp.diff(density, q11) / density, sp.diff(density, _u, 2) / density / 2,
            "heat equation: d/dq11 p = 1/2 d^2/du^2 p, by parts d/dq11 E[sigma sigma] = 1/2 E[sigma'' sigma]",
            where=_INSIDE,
        ),
        price_step(),
        step(
            total.doit().subs({_u: z, _v: z}).doit(), sp.diff(_sigma(z) ** 2, z, 2) / 2,
            "d/dq11 + d/dc + d/dq22 at u = v = z: 1/2 (sigma^2)''",
        ),
        step(sp.diff(_sigma(z) ** 2, z, 2) / 2, slope**2 + _sigma(z) * curvature, "D_q = E[sigma'^2] + E[sigma sigma'']"),
        step(
            scaled, z * sp.tanh(z) * sp.diff(sp.tanh(z), z) / positive,
            "the same with kinks, z = sqrt(q) x: D_q = E[z sigma sigma']/q (here sigma = tanh)",
        ),
        step(sp.diff(gaussian.second_moment("erf").expr, q), parts, "sigma = erf: E[sigma'^2] + E[sigma sigma'']"),
        step(relu, _diagonal(z * sp.Heaviside(z), sp.Max(z, 0)) / q, "sigma = relu: E[z sigma sigma']/q"),
    )  # fmt: skip


def _diagonal(sigma: sp.Expr, tau: sp.Expr) -> sp.Expr:
    """Return E[σ(z)τ(z)], z ~ N(0, q)."""
    return gaussian.diagonal(gaussian.expectation_value(sigma, tau))


@cache
def fixed_point() -> Formula:
    """Return q* = σ_b² + σ_w² E[σ(z)²], z ~ N(0, q*): the length map V(q), and the condition on its fixed point."""
    expr = recursion().expr.subs(a_l, 1)
    linear = expr.subs(E_PAIR, gaussian.second_moment("relu").expr.subs(q, FIXED))
    (root,) = sp.solve(linear - FIXED, FIXED)
    return Formula(
        name="meanfield.fixed_point",
        lhs=sp.Symbol(r"q^{\ast}"),
        expr=expr,
        args=(sigma_w, sigma_b, E_PAIR),
        domain="E_sigma = E[sigma(z)^2] at variance q*; at any variance q this is the length map V(q)",
        validity="infinite width",
        references=LENGTH_MAP,
        derived_from=("nngp.recursion",),
        steps=(
            definition(sp.Function("V")(q), expr, "length map: the recursion at x = x', a = 1"),
            step(linear.subs(FIXED, root), root, "sigma = relu: q* = sigma_b^2/(1 - sigma_w^2/2)"),
        ),
    )


@cache
def variance_slope() -> Formula:
    """Return V'(q) = σ_w² dE[σ²]/dq."""
    moment = sp.Function("M")(q)
    mapped = fixed_point().expr.subs(E_PAIR, moment)
    return Formula(
        name="meanfield.variance_slope",
        lhs=sp.Symbol("V'(q)"),
        expr=sigma_w**2 * RATE,
        args=(sigma_w, RATE),
        domain="continuous activations; D_q = dE[sigma(z)^2]/dq = E[sigma'^2] + E[sigma sigma''], kinks of sigma included",
        validity="infinite width",
        references=DEPTH_SCALES,
        derived_from=("meanfield.fixed_point",),
        steps=(
            step(sp.diff(mapped, q).subs(sp.diff(moment, q), RATE), sigma_w**2 * RATE, "slope of the length map"),
            *_rate_steps(),
        ),
    )


@cache
def moment_rate(sigma: sp.Expr) -> Formula:
    """Return D_q = dE[σ(z)²]/dq of a continuous activation as a formula of (q,), q > 0.

    >>> moment_rate(sp.Max(z, 0)).expr
    1/2
    """
    moment = gaussian.second_moment(sigma)
    formula = moment.diff(q)
    carried = None
    if moment.closed_form is not False and moment.numerical is not None:
        # What is carefully rounded in E[σ²] is so in its derivative; E[σ²] itself may cancel once differentiated.
        carried = sp.diff(moment.numerical.doit(), q)
    if carried is None or carried.has(sp.Derivative, sp.Subs, sp.Heaviside):
        return formula
    return Formula(
        name=formula.name, lhs=formula.lhs, expr=formula.expr, args=(q,), domain="q > 0", validity="exact",
        derived_from=formula.derived_from, numerical=carried,
        steps=(step(formula.expr, carried, "the form for floating point"),),
    )  # fmt: skip


@cache
def correlation_map() -> Formula:
    """Return C(c) = (σ_b² + σ_w² E[σ(u)σ(v)])/q*, with q11 = q22 = q*, Cov = c q*."""
    own = fixed_point().expr
    (bias,) = sp.solve(own - FIXED, sigma_b**2)
    return Formula(
        name="meanfield.correlation_map",
        lhs=sp.Symbol(r"\mathcal{C}(c)"),
        expr=own / FIXED,
        args=(sigma_w, sigma_b, E_PAIR, FIXED),
        domain="0 <= c <= 1, q* > 0: both lengths have settled at the fixed point",
        validity="infinite width",
        references=LENGTH_MAP,
        derived_from=("nngp.recursion", "meanfield.fixed_point"),
        steps=(
            step((own / FIXED).subs(sigma_b**2, bias), sp.Integer(1), "c = 1 is a fixed point: C(1) = V(q*)/q* = 1"),
        ),
    )


@cache
def correlation_slope() -> Formula:
    """Return χ = dC/dc = σ_w² E[σ'(u)σ'(v)]: how much one layer shrinks a small change of the correlation."""
    # To first order in c, with Price's E[σ'σ'] as the slope of the expectation in the covariance c q*.
    mapped = correlation_map().expr.subs(E_PAIR, sp.Symbol("E_0") + SLOPE_PAIR * c * FIXED)
    erf = activation("erf")
    left, right = (gaussian.expectation_value(sigma, sigma) for sigma in (erf.expr, erf.derivative))
    return Formula(
        name="meanfield.correlation_slope",
        lhs=sp.Symbol(r"\chi_{c}"),
        expr=sigma_w**2 * SLOPE_PAIR,
        args=(sigma_w, SLOPE_PAIR),
        domain="E_slope = E[sigma'(u) sigma'(v)] at q11 = q22 = q*, Cov = c q*",
        validity="infinite width",
        references=DEPTH_SCALES,
        derived_from=("meanfield.correlation_map",),
        steps=(
            price_step(),
            step(sp.diff(mapped, c), sigma_w**2 * SLOPE_PAIR, "chain rule: Cov = c q*"),
            step(sp.diff(left, c), right, "Price's theorem for sigma = erf", where=_INSIDE),
        ),
    )


@cache
def chi1() -> Formula:
    """Return χ₁ = σ_w² E[σ'(z)²]: the slope at c = 1, below 1 in the ordered and above 1 in the chaotic phase."""
    expr = correlation_slope().expr
    slope = gaussian.second_moment(activation("relu").derivative).expr
    return Formula(
        name="meanfield.chi1",
        lhs=sp.Symbol(r"\chi_{1}"),
        expr=expr,
        args=(sigma_w, SLOPE_PAIR),
        domain="continuous activations; E_slope = E[sigma'(z)^2] at variance q*",
        validity="infinite width",
        references=LENGTH_MAP,
        derived_from=("meanfield.correlation_slope",),
        steps=(
            price_step(),
            step(expr.subs(SLOPE_PAIR, slope), sigma_w**2 / 2, "sigma = relu: E[sigma'^2] = 1/2"),
        ),
    )


def _depth_scale(name: str, lhs: str, source: str, of: str) -> Formula:
    depth, start = sp.Symbol("l", positive=True), sp.Symbol(r"\varepsilon_{0}", real=True)
    length = -1 / sp.log(SLOPE)
    return Formula(
        name=f"meanfield.{name}",
        lhs=sp.Symbol(lhs),
        expr=length,
        args=(SLOPE,),
        domain=f"0 < chi < 1, chi = {of}; infinite at chi = 1",
        validity="infinite width",
        references=DEPTH_SCALES,
        derived_from=(source,),
        steps=(
            step(start * SLOPE**depth, start * sp.exp(-depth / length), "l layers multiply a small change by chi^l"),
        ),
    )


@cache
def variance_length() -> Formula:
    """Return ξ_q = -1/ln V'(q*): the depth over which the memory of a length decays."""
    return _depth_scale("variance_length", r"\xi_{q}", "meanfield.variance_slope", "|V'(q*)|")


@cache
def correlation_length() -> Formula:
    """Return ξ_c = -1/ln χ_c*: the depth over which the memory of an angle decays."""
    return _depth_scale("correlation_length", r"\xi_{c}", "meanfield.correlation_slope", "chi_c at the fixed point c*")


def _edge() -> tuple[sp.Expr, sp.Expr]:
    """Return (σ_w, σ_b²) that solve χ₁ = 1 and V(q) = q."""
    weight, bias = sp.symbols("s_w s_b", positive=True)  # σ_w², σ_b²
    squares = {sigma_w**2: weight, sigma_b**2: bias}
    (found,) = sp.solve(
        [chi1().expr.subs(squares) - 1, fixed_point().expr.subs(squares) - FIXED], [weight, bias], dict=True
    )
    return sp.sqrt(found[weight]), sp.expand(found[bias])


@cache
def edge_sigma_w() -> Formula:
    """Return the σ_w of the edge of chaos with fixed point q*, from χ₁ = 1."""
    weight, _ = _edge()
    return Formula(
        name="meanfield.edge_sigma_w",
        lhs=sigma_w,
        expr=weight,
        args=(SLOPE_PAIR,),
        domain="E_slope = E[sigma'(z)^2] at variance q*, positive",
        validity="infinite width",
        references=DEPTH_SCALES,
        derived_from=("meanfield.chi1",),
        steps=(step(chi1().expr.subs(sigma_w, weight), sp.Integer(1), "chi_1 = 1"),),
    )


@cache
def edge_bias_variance() -> Formula:
    """Return the σ_b² of the edge of chaos with fixed point q*, from V(q*) = q*."""
    weight, bias = _edge()
    mapped = fixed_point().expr.subs({sigma_w: weight, sigma_b: sp.sqrt(bias)})
    return Formula(
        name="meanfield.edge_bias_variance",
        lhs=sigma_b**2,
        expr=bias,
        args=(FIXED, E_PAIR, SLOPE_PAIR),
        domain="E_sigma = E[sigma(z)^2], E_slope = E[sigma'(z)^2] at variance q*; the edge exists where this is >= 0",
        validity="infinite width",
        references=DEPTH_SCALES,
        derived_from=("meanfield.edge_sigma_w", "meanfield.fixed_point"),
        steps=(step(mapped, FIXED, "V(q*) = q* with the sigma_w of chi_1 = 1"),),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "meanfield.fixed_point": fixed_point,
    "meanfield.variance_slope": variance_slope,
    "meanfield.correlation_map": correlation_map,
    "meanfield.correlation_slope": correlation_slope,
    "meanfield.chi1": chi1,
    "meanfield.variance_length": variance_length,
    "meanfield.correlation_length": correlation_length,
    "meanfield.edge_sigma_w": edge_sigma_w,
    "meanfield.edge_bias_variance": edge_bias_variance,
}
