"""What is E[σ(u)τ(v)] for Gaussian (u, v)? Derived by Stein's lemma down to one pair, and Price's theorem for that.

σ and τ are sums of z^n and z^n·θ(z).  Stein, E[uF] = q11 E[∂_u F] + c E[∂_v F], removes the powers; a derivative of the
step leaves a delta function, that is a conditioned one-dimensional half moment; E[θ(u)θ(v)] follows from Price,
∂_c E[θθ] = E[δδ], integrated from c = 0 where the expectation factorises.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import sympy as sp

from fieldflow.symbolic.activations import CATALOGUE, activation, canonical, derivative
from fieldflow.symbolic.errors import NoClosedForm
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.special import DifferenceOfProducts
from fieldflow.symbolic.symbols import c, q, q11, q22, z

Terms = dict[tuple[int, int], sp.Expr]
"""Coefficients of z^n (key (n, 0)) and of z^n θ(z) (key (n, 1))."""

_DET = sp.Symbol("D", positive=True)  # q11 q22 - c², kept as one symbol so that square roots combine
_ANGLE = sp.Symbol("A", real=True)  # asin of the correlation

_INSIDE = {c: sp.sqrt(q11 * q22) * c / sp.sqrt(1 + c**2)}
"""Where identities are certified: |c| < √(q11 q22)."""


def normal_form(expr: sp.Expr) -> Terms:
    """Return the coefficients of ``expr`` in z^n and z^n θ(z).

    Raises
    ------
    NoClosedForm
        If the expression is not in their span.

    >>> normal_form(sp.Abs(z)) == {(1, 0): -1, (1, 1): 2}
    True
    """
    theta = sp.Symbol("theta")
    half = {
        sp.Max: lambda *parts: _maximum(parts, theta),
        sp.Min: lambda *parts: -_maximum([-part for part in parts], theta),
        sp.Abs: lambda part: _maximum([part, -part], theta),
        sp.sign: lambda part: 2 * _step_of(part, theta) - 1,
        sp.Heaviside: lambda part, *_: _step_of(part, theta),
    }
    replaced = canonical(expr)
    for function, rule in half.items():
        replaced = replaced.replace(function, rule)
    try:
        polynomial = sp.Poly(sp.expand(replaced), z, theta)
    except sp.PolynomialError as error:
        raise _unsupported(expr) from error
    terms: Terms = {}
    for (power, steps), coefficient in polynomial.terms():
        if not coefficient.is_number:
            raise _unsupported(expr)
        key = (int(power), min(int(steps), 1))
        terms[key] = terms.get(key, sp.Integer(0)) + coefficient
    return {key: value for key, value in terms.items() if value != 0}


def _unsupported(expr: sp.Expr) -> NoClosedForm:
    return NoClosedForm(
        f"sigma: no closed form is derived for {expr}; supported: sums of z**n and z**n*Heaviside(z), written with Max, "
        "Min, Abs, sign, Heaviside"
    )


def _slope(expr: sp.Expr) -> sp.Expr:
    """Return a for an argument a·z, the only kink that is supported."""
    ratio = sp.expand(expr) / z
    if not ratio.is_number or ratio == 0:
        raise _unsupported(expr)
    return ratio


def _step_of(argument: sp.Expr, theta: sp.Symbol) -> sp.Expr:
    return theta if _slope(argument) > 0 else 1 - theta


def _maximum(parts: Any, theta: sp.Symbol) -> sp.Expr:
    first, *others = parts
    for other in others:
        difference = sp.expand(first - other)
        if difference != 0:
            first = other + difference * _step_of(difference, theta)
    return sp.expand(first)


def half_moment(power: int, steps: int, variance: sp.Expr) -> sp.Expr:
    """Return E[v^n θ(v)^steps] for v ~ N(0, variance), by Stein's lemma in one dimension."""
    if power == 0:
        return sp.Rational(1, 2) if steps else sp.Integer(1)
    # E[v·F] = s² E[F'] with F = v^{n-1} θ: the delta function survives only for n = 1.
    result = variance * (power - 1) * half_moment(power - 2, steps, variance) if power > 1 else sp.Integer(0)
    if power == 1 and steps:
        result += variance / sp.sqrt(2 * sp.pi * variance)
    return result


def stein(first: tuple[int, int], second: tuple[int, int], left: sp.Symbol, right: sp.Symbol) -> sp.Expr:
    """Return E[u^n θ(u)^s · v^m θ(v)^t] with E[u²] = left, E[v²] = right: Stein's lemma on u, or on v if n = 0."""
    (power, steps), (other_power, other_steps) = first, second
    if power == 0 and other_power == 0:
        return (
            step_pair() if steps and other_steps else half_moment(0, steps, left) * half_moment(0, other_steps, right)
        )
    if power == 0:
        return stein(second, first, right, left)
    by_u = sp.Integer(0)
    if power > 1:
        by_u = (power - 1) * stein((power - 2, steps), second, left, right)
    elif steps:
        by_u = half_moment(other_power, other_steps, _DET / left) / sp.sqrt(2 * sp.pi * left)
    by_v = sp.Integer(0)
    if other_power > 0:
        by_v = other_power * stein((power - 1, steps), (other_power - 1, other_steps), left, right)
    elif other_steps:
        by_v = half_moment(power - 1, steps, _DET / right) / sp.sqrt(2 * sp.pi * right)
    return left * by_u + c * by_v


def step_pair() -> sp.Expr:
    """Return E[θ(u)θ(v)] = 1/4 + A/2π by Price's theorem; the primitive A = asin is checked in ``price_steps``."""
    return sp.Rational(1, 4) + _ANGLE / (2 * sp.pi)


def _angle() -> sp.Expr:
    return sp.asin(c / sp.sqrt(q11 * q22))


@cache
def price_steps() -> tuple[Step, ...]:
    """Return the proof of the base pair: its derivative is E[δ(u)δ(v)], its value at c = 0 is 1/2·1/2."""
    pair = step_pair().subs(_ANGLE, _angle())
    density = 1 / (2 * sp.pi * sp.sqrt(q11 * q22 - c**2))
    return (
        step(sp.diff(pair, c), density, "Price: d/dc E[theta theta] = E[delta delta]", where=_INSIDE),
        step(pair.subs(c, 0), sp.Rational(1, 2) ** 2, "at c = 0 the expectation factorises"),
    )


def _readable(raw: sp.Expr) -> sp.Expr:
    """Return the result collected on the angle and on √D, with rational coefficients cancelled."""
    parts = sp.collect(sp.expand(raw), [_ANGLE, sp.sqrt(_DET)], evaluate=False)
    total = sp.Integer(0)
    for atom, coefficient in parts.items():
        odd = sp.sqrt(_DET) if atom.has(_DET) else sp.Integer(1)
        rest = sp.cancel(sp.expand(atom * coefficient / odd).subs(_DET, q11 * q22 - c**2))
        total += odd * (sp.factor(rest) if odd != 1 else sp.expand(rest))
    return sp.collect(sp.expand(total), [_ANGLE, sp.sqrt(_DET)], sp.factor)


@cache
def _pair(sigma: sp.Expr, tau: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Return E[σ(u)τ(v)] exactly and in its floating-point form."""
    first, second = normal_form(sigma), normal_form(tau)
    raw = sp.Integer(0)
    for left, alpha in first.items():
        for right, beta in second.items():
            raw += alpha * beta * stein(left, right, q11, q22)
    readable = _readable(raw)
    exact = readable.subs({_ANGLE: _angle(), _DET: q11 * q22 - c**2})
    root = sp.sqrt(sp.Max(0, DifferenceOfProducts(q11, q22, c, c)))
    numerical = readable.subs({sp.sqrt(_DET): root, _ANGLE: sp.atan2(c, root)})
    return exact, numerical.subs(_DET, root**2)


def expectation_value(sigma: sp.Expr, tau: sp.Expr) -> sp.Expr:
    """Return E[σ(u)τ(v)] as an expression of (q11, c, q22)."""
    return _pair(canonical(sigma), canonical(tau))[0]


def gaussian_expectation(
    sigma: Any, tau: Any = None, *, mean: tuple[Any, Any] = (0, 0), tolerance: float = 1e-10
) -> Formula:
    """Return E[σ(u)τ(v)] for (u, v) ~ N(0, [[q11, c], [c, q22]]) as a formula of (q11, c, q22).

    Stein's lemma and Price's theorem; for the rectifiers this is the arc-cosine family of Cho and Saul (2009).

    Parameters
    ----------
    sigma, tau : SymPy expression in one symbol, or catalogue name
        Sums of z^n and z^n θ(z); ``tau`` = None means ``sigma``.
    mean : pair
        Only (0, 0).
    tolerance : float
        Accuracy of forms that need quadrature; those derived here are exact.

    Raises
    ------
    NoClosedForm
        Outside the span, or with a mean.

    >>> gaussian_expectation(sp.Max(z, 0)).expr.subs({q11: 1, q22: 1, c: 0})
    1/(2*pi)
    """
    if tuple(sp.sympify(entry) for entry in mean) != (0, 0):
        raise NoClosedForm(f"mean: only (0, 0) is supported, got {mean!r}")
    first = activation(sigma)
    second = first if tau is None else activation(tau)
    return _derive(first.expr, second.expr, first.name if first == second else f"{first.name}, {second.name}")


@cache
def _derive(sigma: sp.Expr, tau: sp.Expr, name: str) -> Formula:
    exact, numerical = _pair(sigma, tau)
    bracket = sp.Function("E")(sigma.subs(z, sp.Symbol("u")) * tau.subs(z, sp.Symbol("v")))
    steps = (
        *(step(expr.subs(z, sign * sp.Symbol("x", positive=True)), _rebuilt(expr).subs(z, sign * sp.Symbol("x", positive=True)),
               f"normal form of {label}, z {'>' if sign > 0 else '<'} 0")
          for label, expr in (("sigma", sigma), ("tau", tau)) for sign in (1, -1)),
        *(price_steps() if exact.has(sp.asin) else ()),
        definition(bracket, exact, "Stein's lemma on every power (its slope in c and its start follow)"),
        step(sp.diff(exact, c), expectation_value(derivative(sigma), derivative(tau)) + _jump_terms(sigma, tau),
             "Price: d/dc E[sigma tau] = E[sigma' tau']", where=_INSIDE),
        step(exact.subs(c, 0), _mean(sigma, q11) * _mean(tau, q22), "at c = 0 the expectation factorises"),
        step(exact, numerical.replace(DifferenceOfProducts, lambda a, b, x, y: a * b - x * y),
             "floating-point form: atan2 instead of asin, compensated determinant", where=_INSIDE),
    )  # fmt: skip
    return Formula(
        name=f"expectation.{name}",
        lhs=sp.Symbol(r"\mathrm{E}[\sigma(u)\,\tau(v)]"),
        expr=exact,
        args=(q11, c, q22),
        domain="q11, q22 >= 0, |c| <= sqrt(q11 q22)",
        validity="exact",
        references=(
            Reference("stein1981estimation", "Lemma 1"),
            Reference("price1958useful", "theorem"),
            Reference("cho2009kernel", "Sec. 2.1"),
        ),
        derived_from=("Stein's lemma", "Price's theorem"),
        steps=steps,
        numerical=numerical,
    )


def _rebuilt(expr: sp.Expr) -> sp.Expr:
    """Return the expression that the normal form stands for."""
    return sum(
        (
            value * z**power * sp.Heaviside(z, sp.Rational(1, 2)) ** steps
            for (power, steps), value in normal_form(expr).items()
        ),
        sp.Integer(0),
    )


def _jump_terms(sigma: sp.Expr, tau: sp.Expr) -> sp.Expr:
    """Return what jumps of σ and τ add to E[σ'τ'] beyond the derivatives almost everywhere."""
    jumps = [normal_form(expr).get((0, 1), sp.Integer(0)) for expr in (sigma, tau)]
    slopes = [normal_form(derivative(expr)) for expr in (sigma, tau)]
    both = jumps[0] * jumps[1] / (2 * sp.pi * sp.sqrt(q11 * q22 - c**2))
    det = q11 * q22 - c**2
    left = sum((value * half_moment(*key, det / q11) for key, value in slopes[1].items()), sp.Integer(0))
    right = sum((value * half_moment(*key, det / q22) for key, value in slopes[0].items()), sp.Integer(0))
    return both + jumps[0] * left / sp.sqrt(2 * sp.pi * q11) + jumps[1] * right / sp.sqrt(2 * sp.pi * q22)


def _mean(expr: sp.Expr, variance: sp.Expr) -> sp.Expr:
    return sum((value * half_moment(*key, variance) for key, value in normal_form(expr).items()), sp.Integer(0))


@cache
def second_moment(sigma: Any) -> Formula:
    """Return E[σ(z)²] for z ~ N(0, q), by Stein's lemma in one dimension, as a formula of (q,).

    >>> second_moment("relu").expr
    q/2
    """
    known = activation(sigma)
    terms = normal_form(known.expr)
    value = sp.Integer(0)
    for (power, steps), alpha in terms.items():
        for (other, other_steps), beta in terms.items():
            value += alpha * beta * half_moment(power + other, max(steps, other_steps), q)
    value = sp.expand(value)
    positive = sp.Symbol("q", positive=True)
    diagonal = expectation_value(known.expr, known.expr).subs({q11: positive, q22: positive, c: positive})
    return Formula(
        name=f"second_moment.{known.name}",
        lhs=sp.Symbol(r"\mathrm{E}[\sigma(z)^2]"),
        expr=value,
        args=(q,),
        domain="q >= 0",
        validity="exact",
        references=(Reference("stein1981estimation", "Lemma 1"),),
        derived_from=("Stein's lemma",),
        steps=(step(value.subs(q, positive), diagonal, "the pair form at c = q11 = q22"),),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    **{f"expectation.{name}": partial(gaussian_expectation, name) for name in CATALOGUE},
    "expectation.relu_derivative": lambda: gaussian_expectation(activation("relu").derivative),
}
