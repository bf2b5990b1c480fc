"""What is E[σ(u)τ(v)] for Gaussian (u, v)? Derived by Stein's lemma down to a few base numbers, and Price's theorem for those.

σ and τ are sums of z^n·exp(αz² + βz)·{1, step, erf} (``normal_form``); the exponentials tilt the Gaussian (``pair.tilt``),
Stein's lemma removes the powers (``stein.pieces``), and E[θθ] follows from Price, ∂_c E[θθ] = E[δδ], integrated from c = 0
where the expectation factorises.  What is outside that span is left as an integral, to be done by quadrature.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import Any

import sympy as sp

from fieldflow.symbolic import lemmas, pair
from fieldflow.symbolic.activations import CATALOGUE, Activation, activation, canonical, derivative, with_rationals
from fieldflow.symbolic.activations import kinks as places
from fieldflow.symbolic.errors import BadInput, NoClosedForm
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.normal_form import Monomial, Terms, jumps, kinks, normal_form, rebuilt, squared
from fieldflow.symbolic.pair import DETERMINANT, Atom, det, gap
from fieldflow.symbolic.readable import collect
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.single import near_and_far
from fieldflow.symbolic.special import BivariateNormal, DifferenceOfProducts, ExpDifference, NormalCdf, NormalOrthant
from fieldflow.symbolic.symbols import c, q, q11, q22, z

Mean = tuple[sp.Expr, sp.Expr]

_CENTRED: Mean = (sp.Integer(0), sp.Integer(0))
_ONE: Terms = {Monomial(): sp.Integer(1)}

_ARC_COSINE = Reference("cho2009kernel", "Sec. 2.1")


@dataclass(frozen=True)
class Expectation:
    """E[σ(u)τ(v)] as people read it, and as floating point likes it: a function of D and δ = q11 + q22 - 2c as well."""

    exact: sp.Expr
    carried: sp.Expr

    @property
    def numerical(self) -> sp.Expr:
        """The floating-point form as a function of (q11, c, q22) alone."""
        compensated = sp.Max(0, DifferenceOfProducts(q11, q22, c, c))
        return self.carried.subs({det: compensated, gap: sp.Max(0, q11 + q22 - 2 * c)}, simultaneous=True)

    @property
    def special(self) -> bool:
        """Whether bivariate normal probabilities are left."""
        return bool(self.exact.has(BivariateNormal))


@cache
def expectation(sigma: sp.Expr, tau: sp.Expr, mean: Mean = _CENTRED) -> Expectation:
    """Return E[σ(u)τ(v)] in closed form; NoClosedForm outside the span of ``normal_form``."""
    return _expectation(normal_form(sigma), normal_form(tau), mean)


def _parts(first: Terms, second: Terms, mean: Mean) -> Iterator[Atom]:
    for left, alpha in first.items():
        for right, beta in second.items():
            for atom in pair.atoms(left, right, mean):
                yield atom._replace(factor=alpha * beta * atom.factor)


def _unsorted(first: Terms, second: Terms, mean: Mean) -> sp.Expr:
    """Return E[σ(u)τ(v)] as it comes: nothing collected or cancelled, which is quick and good enough to compare with."""
    parts = (part.factor * part.exact / sp.sqrt(part.root) for part in _parts(first, second, mean))
    return sp.Add(*parts).xreplace({det: DETERMINANT})


def _expectation(first: Terms, second: Terms, mean: Mean) -> Expectation:
    exact, carried = collect(_parts(first, second, mean))
    if exact.has(BivariateNormal):
        # A floor of one part in 10^30 keeps the conditional laws of coinciding points defined.
        carried = carried.subs(det, sp.Max(det, q11 * q22 / 10**30))
    return Expectation(exact, carried)


def expectation_value(sigma: sp.Expr, tau: sp.Expr) -> sp.Expr:
    """Return E[σ(u)τ(v)], centred, as an expression of (q11, c, q22)."""
    return expectation(canonical(sigma), canonical(tau)).exact


def average(terms: Terms, mean: sp.Expr, variance: sp.Expr) -> sp.Expr:
    """Return E[σ(u)] for u ~ N(mean, variance)."""
    location = sp.Symbol("m", real=True)
    value = _unsorted(terms, _ONE, (sp.Integer(0) if mean == 0 else location, sp.Integer(0)))
    return value.subs({q11: variance, location: mean}, simultaneous=True)


def gaussian_expectation(
    sigma: Any, tau: Any = None, *, mean: tuple[Any, Any] = (0, 0), tolerance: float = 1e-10
) -> Formula:
    """Return E[σ(u)τ(v)] for (u, v) ~ N(mean, [[q11, c], [c, q22]]) as a formula of (q11, c, q22[, m1, m2]).

    Stein's lemma and Price's theorem; for the rectifiers this is the arc-cosine family of Cho and Saul (2009).

    Parameters
    ----------
    sigma, tau : SymPy expression in one symbol, or catalogue name
        ``tau`` = None means ``sigma``.  Sums of z^n·exp(αz² + βz) times 1, a step or an erf are done in closed form
        (``closed_form`` True, or "special" where bivariate normal probabilities are left), others by quadrature (False).
    mean : pair of numbers or real symbols
        Symbols become further arguments.
    tolerance : float
        Relative accuracy asked of the quadrature.

    Raises
    ------
    BadInput
        For a mean or a tolerance that is not of the stated form, or an unknown name.

    >>> gaussian_expectation(sp.Max(z, 0)).expr.subs({q11: 1, q22: 1, c: 0})
    1/(2*pi)
    >>> gaussian_expectation("tanh").closed_form
    False
    """
    first = activation(sigma)
    second = first if tau is None else activation(tau)
    if not 0 < float(tolerance) < 1:
        raise BadInput(f"tolerance: expected a number between 0 and 1, got {tolerance!r}")
    return _derive(first, second, _mean(mean), float(tolerance))


def _mean(given: Any) -> Mean:
    try:
        first, second = (canonical_number(entry) for entry in given)
    except (TypeError, ValueError, sp.SympifyError) as error:
        raise BadInput(f"mean: expected two real numbers or real symbols, got {given!r}") from error
    return first, second


def canonical_number(value: Any) -> sp.Expr:
    """Return a real number, decimals as the rationals they print as, or a real symbol."""
    number = value if isinstance(value, sp.Expr) else sp.Rational(str(value))
    number = with_rationals(number)
    if not (number.is_extended_real and number.is_finite is not False and (number.is_number or number.is_Symbol)):
        raise ValueError(value)
    return number


@cache
def _derive(first: Activation, second: Activation, mean: Mean, tolerance: float) -> Formula:
    name = first.name if first == second else f"{first.name}, {second.name}"
    common = {
        "name": f"expectation.{name}",
        "lhs": sp.Symbol(r"\mathrm{E}[\sigma(u)\,\tau(v)]" if first != second else r"\mathrm{E}[\sigma(u)\,\sigma(v)]"),
        "args": (q11, c, q22, *(entry for entry in mean if entry.is_Symbol)),
        "validity": "exact",
    }
    bracket = sp.Function("E")(first.expr.subs(z, sp.Symbol("u")) * second.expr.subs(z, sp.Symbol("v")))
    try:
        value = expectation(first.expr, second.expr, mean)
    except NoClosedForm as reason:
        integral = _integral(first.expr, second.expr, mean)
        why = str(reason).removeprefix("sigma: ")
        return Formula(
            **common, expr=integral, domain="q11, q22 >= 0, |c| <= sqrt(q11 q22)", derived_from=("definition",),
            steps=(definition(bracket, integral, f"no closed form: {why}"),), closed_form=False, tolerance=tolerance,
            numerical=_integral(first.expr, second.expr, mean, stable=True), breaks=_breaks(first.expr, second.expr, mean),
        )  # fmt: skip
    requires = _requires(first.expr, second.expr)
    domain = "q11, q22 >= 0, |c| <= sqrt(q11 q22)" + "".join(f", {entry} > 0" for entry in requires)
    return Formula(
        **common,
        expr=value.exact,
        domain=domain,
        references=(_ARC_COSINE,) if None not in (first.degree, second.degree) and value.exact.has(sp.asin) else (),
        derived_from=_lemmas(first.expr, second.expr, value),
        steps=_steps(bracket, first.expr, second.expr, mean, value),
        numerical=value.numerical,
        closed_form="special" if value.special else True,
        integral=_integral(first.expr, second.expr, mean, stable=True) if value.special else None,
        breaks=_breaks(first.expr, second.expr, mean) if value.special else (),
        requires=requires,
    )


def _requires(*expressions: sp.Expr) -> tuple[sp.Expr, ...]:
    """Return what must be positive for weights that grow, exp(αz²) with α > 0, to have an expectation."""
    alphas = [max((m.alpha for m in normal_form(e)), default=sp.Integer(0)) for e in expressions]
    if max(alphas) <= 0:
        return ()
    return (1 - 2 * alphas[0] * q11, 1 - 2 * alphas[1] * q22,
            sp.expand((1 - 2 * alphas[0] * q11) * (1 - 2 * alphas[1] * q22) - 4 * alphas[0] * alphas[1] * c**2))  # fmt: skip


_SCALE = sp.sqrt(sp.Max(q11, sp.Rational(1, 10**290)))
_REST = sp.Max(0, q22 - (c / _SCALE) ** 2)
"""√q11 and the variance of v given u, also for q11 = 0."""


def _breaks(sigma: sp.Expr, tau: sp.Expr, mean: Mean) -> tuple[tuple[sp.Expr, ...], ...]:
    """Return the kinks of the integrand in x, and in y given x."""
    x = sp.Symbol("x", real=True)
    spread = sp.sqrt(sp.Max(_REST, sp.Rational(1, 10**290)))
    in_x = tuple((place - mean[0]) / _SCALE for place in places(sigma))
    in_y = tuple((place - mean[1] - c / _SCALE * x) / spread for place in places(tau))
    return in_x, in_y


def _integral(sigma: sp.Expr, tau: sp.Expr, mean: Mean, *, stable: bool = False) -> sp.Expr:
    """Return the expectation as an integral over whitened variables x, y; ``stable``: defined for q11 = 0 too."""
    x, y = sp.symbols("x y", real=True)
    rest, scale = (_REST, _SCALE) if stable else (DETERMINANT / q11, sp.sqrt(q11))
    u = mean[0] + sp.sqrt(q11) * x
    v = mean[1] + c / scale * x + sp.sqrt(rest) * y
    weight = sp.exp(-(x**2 + y**2) / 2) / (2 * sp.pi)
    return sp.Integral(sigma.subs(z, u) * tau.subs(z, v) * weight, (x, -sp.oo, sp.oo), (y, -sp.oo, sp.oo))


def _lemmas(sigma: sp.Expr, tau: sp.Expr, value: Expectation) -> tuple[str, ...]:
    """Return the lemmas behind a closed form, each proved once per process before anything is built on it."""
    monomials = [m for expr in (sigma, tau) for m in normal_form(expr)]
    used = [lemmas.stein()]
    if any(m.alpha != 0 or m.beta != 0 for m in monomials):
        used.append(lemmas.tilt())
    if value.exact.has(sp.asin, BivariateNormal):
        used.append(lemmas.price())
    return tuple(formula.name for formula in used)


def _steps(bracket: Any, sigma: sp.Expr, tau: sp.Expr, mean: Mean, value: Expectation) -> tuple[Step, ...]:
    exact = value.exact
    forms = {"sigma": sigma} if sigma == tau else {"sigma": sigma, "tau": tau}
    alphas = [m.alpha for expr in (sigma, tau) for m in normal_form(expr)]
    inside = lemmas.inside(max(alphas, default=0))
    plain = value.carried.subs({det: DETERMINANT, gap: q11 + q22 - 2 * c}, simultaneous=True)
    for function in (ExpDifference, NormalCdf, NormalOrthant):
        plain = plain.replace(function, lambda *args, f=function: f(*args).doit())
    return (
        *(one for label, expr in forms.items() for one in _normal_form_steps(expr, label)),
        definition(
            bracket, exact, "tilt, Stein's lemma on every power, the base pairs (its slope in c and its start follow)"
        ),
        step(sp.diff(exact, c), _price(sigma, tau, mean), "Price: d/dc E[sigma tau] = E[sigma' tau']", where=inside),
        step(
            exact.subs(c, 0),
            average(normal_form(sigma), mean[0], q11) * average(normal_form(tau), mean[1], q22),
            "at c = 0 the expectation factorises",
            where={s: v for s, v in inside.items() if s != c},
        ),
        step(exact, plain, "floating-point form: atan2 instead of asin, compensated determinant", where=inside),
    )


def _normal_form_steps(expr: sp.Expr, label: str) -> Iterator[Step]:
    """Yield the proof that ``expr`` equals its normal form, interval by interval between the kinks."""
    terms = normal_form(expr)
    places, x = kinks(terms), sp.Symbol("x", positive=True)
    if not places:
        yield step(expr, rebuilt(terms), f"normal form of {label}")
        return
    between = [(low + high * x) / (1 + x) for low, high in pairwise(places)]
    for point in (places[0] - x, *between, places[-1] + x):
        yield step(expr.subs(z, point), rebuilt(terms).subs(z, point), f"normal form of {label} at z = {point}")


def _price(sigma: sp.Expr, tau: sp.Expr, mean: Mean) -> sp.Expr:
    """Return E[σ'τ'] with the delta functions that jumps of σ and τ leave in σ' and τ'."""
    slopes = [normal_form(derivative(expr)) for expr in (sigma, tau)]
    edges = [jumps(normal_form(expr)) for expr in (sigma, tau)]
    total = _unsorted(slopes[0], slopes[1], mean)
    variances = (q11, q22)
    for own in (0, 1):
        for place, height in edges[own]:
            shift = place - mean[own]
            density = sp.exp(-(shift**2) / (2 * variances[own])) / sp.sqrt(2 * sp.pi * variances[own])
            centre = mean[1 - own] + c * shift / variances[own]
            total += height * density * average(slopes[1 - own], centre, DETERMINANT / variances[own])
    for place, height in edges[0]:
        for other, depth in edges[1]:
            x, y = place - mean[0], other - mean[1]
            square = (q22 * x**2 - 2 * c * x * y + q11 * y**2) / DETERMINANT
            total += height * depth * sp.exp(-square / 2) / (2 * sp.pi * sp.sqrt(DETERMINANT))
    return total


@cache
def second_moment(sigma: Any) -> Formula:
    """Return E[σ(z)²] for z ~ N(0, q): the pair form at c = q11 = q22, as a formula of (q,).

    >>> second_moment("relu").expr
    q/2
    """
    known = activation(sigma)
    common = {
        "name": f"second_moment.{known.name}", "lhs": sp.Symbol(r"\mathrm{E}[\sigma(z)^2]"), "args": (q,),
        "domain": "q >= 0", "validity": "exact",
    }  # fmt: skip
    bracket = sp.Function("E")(known.expr**2)
    x = sp.Symbol("x", real=True)
    weight = sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)
    integral = sp.Integral(known.expr.subs(z, sp.sqrt(q) * x) ** 2 * weight, (x, -sp.oo, sp.oo))
    # Zero as well: for large q the integrand switches there within 1/√q, which the rule resolves at the end of a panel.
    ends = (sp.Integer(0), *(place for place in places(known.expr) if place != 0))
    breaks = (tuple(place / sp.sqrt(sp.Max(q, sp.Rational(1, 10**290))) for place in ends),)
    try:
        value = expectation(known.expr, known.expr)
    except NoClosedForm as reason:
        why = str(reason).removeprefix("sigma: ")
        undone = (definition(bracket, integral, f"no closed form: {why}"),)
        return Formula(
            **common, expr=integral, derived_from=("definition",), steps=undone, closed_form=False, breaks=breaks
        )
    exact, numerical, steps = _equal_points(known.expr, value)
    return Formula(
        **common,
        expr=exact,
        derived_from=_lemmas(known.expr, known.expr, value),
        steps=(definition(bracket, exact, "u = v: the pair form at c = q11 = q22"), *steps),
        numerical=numerical,
        closed_form="special" if exact.has(BivariateNormal) else True,
        integral=integral if value.special else None,
        breaks=breaks if value.special else (),
        requires=tuple(entry.subs({q11: q, c: q, q22: q}) for entry in _requires(known.expr, known.expr)[-1:]),
    )


def _equal_points(sigma: sp.Expr, value: Expectation) -> tuple[sp.Expr, sp.Expr, tuple[Step, ...]]:
    """Return E[σ²] exactly and for floating point, with the steps behind it."""
    if not value.special:
        exact = diagonal(value.exact)
        return exact, diagonal(value.carried), tuple(_stein_in_one_variable(sigma, exact))
    # P(u > s, v > t) loses its density at u = v, but there two steps are one: θ(u + s)θ(u + t) = θ(u + min(s, t)).
    inside, pairs = squared(normal_form(sigma))
    single = _expectation(inside, _ONE, _CENTRED)
    parts = (
        atom._replace(factor=weight * atom.factor)
        for left, right, weight in pairs
        for atom in pair.atoms(left, right, _CENTRED)
    )
    both = Expectation(*collect(parts))
    positive = sp.Symbol("q", positive=True)
    where = {positive: lemmas.inside(max(m.alpha for m in inside))[q11].subs(q11, positive)} if inside else None
    start = diagonal(single.exact).subs(q, positive)
    found = [step(start, average(inside, sp.Integer(0), positive), "Stein's lemma in one variable", where=where)]
    numerical = diagonal(single.carried)
    if not pairs:
        numerical, forms = near_and_far(start, positive, [abs(place) for place in kinks(inside) if place != 0])
        numerical = numerical.subs(positive, q)
        found += [step(start, form.doit(), "floating-point form", where=where) for form in forms]
    return diagonal(single.exact + both.exact), numerical + diagonal(both.carried), tuple(found)


def diagonal(expr: sp.Expr) -> sp.Expr:
    """Return the expression at c = q11 = q22 = q, D = δ = 0."""
    positive = sp.Symbol("q", positive=True)
    value = expr.subs({det: 0, gap: 0}).subs({q11: positive, q22: positive, c: positive}, simultaneous=True)
    return value.subs(positive, q)


def _stein_in_one_variable(sigma: sp.Expr, value: sp.Expr) -> Iterator[Step]:
    """Yield a second route to E[σ²] where σ² itself is in the span: Stein's lemma in one variable."""
    try:
        terms = normal_form(sp.expand(sigma**2))
    except NoClosedForm:
        return
    positive = sp.Symbol("q", positive=True)
    top = max(m.alpha for m in terms)
    where = {positive: positive / (1 + positive) / (4 * top)} if top > 0 else None
    yield step(
        value.subs(q, positive), average(terms, sp.Integer(0), positive), "Stein's lemma in one variable", where=where
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    **{f"expectation.{name}": partial(gaussian_expectation, name) for name in CATALOGUE},
    "expectation.relu_derivative": lambda: gaussian_expectation(activation("relu").derivative),
}
