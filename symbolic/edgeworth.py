"""Which density belongs to given connected correlators? The Edgeworth series (39), (40), ordered by powers of 1/N.

p = exp(Σ_{n>=3} P_n) p_0 with P_n = (-1)^n/n! G_c^{(n)}·∂^n.  A connected correlator of a network of N independent neurons
is of order N^{1-n/2}, so products of few low ones count as much as single high ones: at 1/N² P_4²/2 stands beside P_6.
The Gram-Charlier series, cut at a fixed number n of derivatives, keeps one and drops the other.  "half order" j below
stands for N^{-j/2}.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.errors import BadInput
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.reference import Reference

IID, TRAINED = "iid", "trained"
COUNTINGS = (IID, TRAINED)
HIGHEST = 8
"""Largest half order that is derived: 1/N⁴."""

phi = sp.Symbol("phi", real=True)
mu = sp.Symbol("mu", real=True)
G = sp.Symbol("G", positive=True)

_u, _t, _small = sp.Symbol("u", real=True), sp.Symbol("t", real=True), sp.Symbol("x", positive=True)
_SOURCE = (Reference("howard2024bayesian", "Eqs. (39), (40)"),)
_COUNTED = {
    IID: "kappa_n of order N^(1-n/2): independent neurons",
    TRAINED: "kappa_n of order N^(1-ceil(n/2)): trained or renormalised ensembles",
}


def half_order(n: int, counting: str = IID) -> int:
    """Return j of the order N^{-j/2} of the n-th cumulant.

    >>> [half_order(n) for n in (3, 4, 6)], [half_order(n, "trained") for n in (3, 4, 5)]
    ([1, 2, 4], [2, 2, 4])
    """
    return n - 2 if counting == IID else 2 * ((n + 1) // 2 - 1)


def needed(half_orders: int, odd: bool = False, counting: str = IID) -> tuple[int, ...]:
    """Return which cumulants beyond the second enter up to N^{-half_orders/2}.

    >>> needed(4), needed(4, odd=True)
    ((4, 6), (3, 4, 5, 6))
    """
    every = range(3 if odd else 4, half_orders + 3, 1 if odd else 2)
    return tuple(n for n in every if half_order(n, counting) <= half_orders)


def operator(n: int) -> sp.Symbol:
    """Return P_n, which stands for (-1)^n/n! G_c^{(n)}·∂^n; these commute."""
    return sp.Symbol(f"P_{n}", real=True)


def cumulant(n: int) -> sp.Symbol:
    """Return κ_n of the field at one point."""
    return sp.Symbol(f"kappa_{n}", real=True)


def _checked(half_orders: int, counting: str) -> None:
    if not 0 <= half_orders <= HIGHEST:
        raise BadInput(f"order: expected 0, 1/2, …, {HIGHEST // 2}, got {half_orders}/2")
    if counting not in COUNTINGS:
        raise BadInput(f"counting: expected one of {', '.join(COUNTINGS)}, got {counting!r}")


def _validity(half_orders: int) -> str:
    return f"order 1/N^{sp.Rational(half_orders, 2)}"


@cache
def groups(half_orders: int, odd: bool = False, counting: str = IID) -> tuple[sp.Expr, ...]:
    """Return E_0, …, E_h: what exp(Σ_n P_n) holds at each half order, as polynomials in P_n.

    ε dE/dε = (ε dP/dε) E for the generating function E = exp(Σ_n ε^{j_n} P_n).
    """
    _checked(half_orders, counting)
    graded: dict[int, sp.Expr] = {}
    for n in needed(half_orders, odd, counting):
        j = half_order(n, counting)
        graded[j] = graded.get(j, sp.Integer(0)) + operator(n)
    found: list[sp.Expr] = [sp.Integer(1)]
    for k in range(1, half_orders + 1):
        total = sum((j * part * found[k - j] for j, part in graded.items() if j <= k), sp.Integer(0))
        found.append(sp.expand(total / k))
    return tuple(found)


def hermite(n: int) -> sp.Expr:
    """Return (-∂)^n p_0/p_0 = He_n(u/√G)/G^{n/2} of u = φ - μ, by He_{n+1} = z He_n - He_n'.

    >>> hermite(2)
    -1/G + u**2/G**2
    """
    return _hermites(n)[n]


@cache
def _hermites(top: int) -> tuple[sp.Expr, ...]:
    found: list[sp.Expr] = [sp.Integer(1)]
    for _ in range(top):
        found.append(sp.expand(_u / G * found[-1] - sp.diff(found[-1], _u)))
    return tuple(found)


@cache
def coefficients(half_orders: int, odd: bool, counting: str) -> tuple[dict[int, sp.Expr], ...]:
    """Return, at each half order, c_n of Σ_n c_n (-∂)^n p_0 at one point: P_n → κ_n t^n/n!, sorted by powers of t."""
    values = {operator(n): cumulant(n) * _t**n / sp.factorial(n) for n in needed(half_orders, odd, counting)}
    found = []
    for group in groups(half_orders, odd, counting):
        terms = sp.Poly(group.subs(values), _t).terms()
        found.append({power: sp.expand(value) for (power,), value in sorted(terms)})
    return tuple(found)


def _ratios(half_orders: int, odd: bool, counting: str, shift: int = 0) -> list[sp.Expr]:
    """Return what p/p_0 (shift 0) or its integral (shift 1) holds at each half order, in u = φ - μ."""
    return [
        sum((value * hermite(n - shift) for n, value in group.items()), sp.Integer(0))
        for group in coefficients(half_orders, odd, counting)[shift:]
    ]


@cache
def logarithms(half_orders: int, odd: bool = False, counting: str = IID) -> tuple[tuple[sp.Symbol, ...], sp.Expr]:
    """Return q_j and the part up to half order h of ln(1 + Σ_j ε^j q_j): j l_j = j q_j - Σ_{i<j} i l_i q_{j-i}."""
    present = [j for j, group in enumerate(groups(half_orders, odd, counting)) if j and group != 0]
    q = {j: sp.Symbol(f"q_{j}", real=True) for j in present}
    found: dict[int, sp.Expr] = {}
    for j in range(1, half_orders + 1):
        lower = sum((i * found[i] * q.get(j - i, sp.Integer(0)) for i in range(1, j)), sp.Integer(0))
        found[j] = sp.expand(q.get(j, sp.Integer(0)) - lower / j)
    return tuple(q.values()), sum(found.values(), sp.Integer(0))


def _direct(half_orders: int, odd: bool, counting: str) -> sp.Expr:
    """Return the coefficient of ε^h of exp(Σ ε^j P_n), by multiplying out the exponential series."""
    exponent = sum(
        (_small ** half_order(n, counting) * operator(n) for n in needed(half_orders, odd, counting)), sp.Integer(0)
    )
    total, power = sp.Integer(0), sp.Integer(1)
    for k in range(half_orders + 1):
        total += sp.expand(power).coeff(_small, half_orders) / sp.factorial(k)
        power = power * exponent
    return sp.expand(total)


@cache
def group(half_orders: int = 4, odd: bool = True, counting: str = IID) -> Formula:
    """Return what (40) holds at one order, at any number of points: a polynomial in commuting operators P_n."""
    found = groups(half_orders, odd, counting)
    expr = found[-1]
    return Formula(
        name="edgeworth.group",
        lhs=sp.Symbol(rf"[\exp \sum_n P_n]_{{N^{{-{sp.Rational(half_orders, 2)}}}}}"),
        expr=expr,
        args=tuple(sorted(expr.free_symbols, key=lambda symbol: int(str(symbol)[2:]))),
        domain=f"P_n = (-1)^n/n! G_c^(n) d^n, summed over points; acts on p_0; {_COUNTED[counting]}",
        validity=_validity(half_orders),
        references=_SOURCE,
        derived_from=("erratum.eq39",),
        steps=(step(expr, _direct(half_orders, odd, counting), "x dE/dx = (x dP/dx) E agrees with the series multiplied out"),),
    )  # fmt: skip


def _average(expr: sp.Expr) -> sp.Expr:
    """Return ∫ p_0 expr du, a polynomial in u, by E u^{2k} = (2k-1)!! G^k."""
    terms = sp.Poly(sp.expand(expr), _u).terms()
    moments = (value * sp.factorial2(n - 1) * G ** (n // 2) for (n,), value in terms if n % 2 == 0)
    return sp.expand(sum(moments, sp.Integer(0)))


def _gaussian(u: sp.Expr) -> sp.Expr:
    return sp.exp(-(u**2) / (2 * G)) / sp.sqrt(2 * sp.pi * G)


def _bell_steps(half_orders: int, odd: bool, counting: str) -> list[Step]:
    """Return that c_n is a complete Bell polynomial while all of it is within the order, and what is there beyond."""
    total: dict[int, sp.Expr] = {}
    for part in coefficients(half_orders, odd, counting):
        for n, value in part.items():
            total[n] = total.get(n, sp.Integer(0)) + value
    last = half_orders + 2 if counting == IID else 2 * (half_orders // 2) + 2
    steps = []
    for n in (n for n in sorted(total) if 3 <= n <= last):
        arguments = [cumulant(i) if i >= 3 and (odd or i % 2 == 0) else sp.Integer(0) for i in range(1, n + 1)]
        bell = sum((sp.bell(n, k, arguments[: n - k + 1]) for k in range(1, n + 1)), sp.Integer(0))
        steps.append(
            step(total[n], sp.expand(bell / sp.factorial(n)),
                 f"c_{n} is the complete Bell polynomial B_{n}(0, 0, kappa_3, ...) over {n}!")
        )  # fmt: skip
    top = max(total)
    if top > last:
        # The cumulant with most derivatives per order.
        size = 3 if odd and counting == IID else 4
        power = top // size
        steps.append(
            step(total[top], (cumulant(size) / sp.factorial(size)) ** power / sp.factorial(power),
                 f"n = {top}: of the same order; a Gram-Charlier series cut at n = {last} lacks it")
        )  # fmt: skip
    return steps


def _moment_steps(ratio: sp.Expr, half_orders: int, odd: bool) -> list[Step]:
    """Return that the series has the mass, mean, variance and fourth moment that it should have."""
    steps = [
        step(_average(ratio), sp.Integer(1), "mass 1: Hermite polynomials are orthogonal to constants"),
        step(_average(ratio * _u), sp.Integer(0), "the mean stays mu"),
        step(_average(ratio * _u**2), G, "the variance stays G"),
    ]
    if half_orders >= 2:
        fourth = cumulant(4) + 3 * G**2
        steps.append(step(_average(ratio * _u**4), fourth, "fourth moment kappa_4 + 3 G^2"))
    if half_orders >= 4:
        sixth = cumulant(6) + 15 * cumulant(4) * G + 15 * G**3 + (10 * cumulant(3) ** 2 if odd else 0)
        steps.append(step(_average(ratio * _u**6), sixth, "sixth moment by the moment-cumulant formula"))
    return steps


def _hermite_step(n: int) -> Step:
    weight = sp.exp(-(_u**2) / (2 * G))
    return step(sp.expand((-1) ** n * sp.diff(weight, _u, n) / weight), hermite(n),
                f"{n} derivatives of the Gaussian: the Hermite polynomial He_{n} of (phi - mu)/sqrt(G), over G^{n}/2")  # fmt: skip


def _formula(name: str, lhs: str, expr: sp.Expr, half_orders: int, odd: bool, counting: str, steps: list[Step],
             after: tuple[str, ...]) -> Formula:  # fmt: skip
    return Formula(
        name=f"edgeworth.{name}",
        lhs=sp.Symbol(lhs),
        expr=expr.subs(_u, phi - mu),
        args=(phi, mu, G, *(cumulant(n) for n in needed(half_orders, odd, counting))),
        domain=f"one point, mean mu, variance G{'' if odd else ', even law'}; {_COUNTED[counting]}",
        validity=_validity(half_orders),
        references=_SOURCE,
        derived_from=after,
        steps=tuple(steps),
    )


@cache
def density(half_orders: int = 4, odd: bool = False, counting: str = IID) -> Formula:
    """Return p(φ) at one point to N^{-half_orders/2}; it integrates to 1 and can be negative."""
    ratio = sum(_ratios(half_orders, odd, counting), sp.Integer(0))
    top = max(n for part in coefficients(half_orders, odd, counting) for n in part)
    steps = [
        definition(sp.Symbol(r"p(\phi)/p_0(\phi)"),
                   sp.Symbol(r"\sum_n \frac{1}{n!} B_n(0, 0, \kappa_3, \ldots)\, G^{-n/2} \mathrm{He}_n"),
                   "(40) with complete Bell polynomials, then sorted by powers of N"),
        *_bell_steps(half_orders, odd, counting),
        _hermite_step(top),
        *_moment_steps(ratio, half_orders, odd),
    ]  # fmt: skip
    return _formula("density", r"p(\phi)", _gaussian(_u) * ratio, half_orders, odd, counting, steps,
                    ("edgeworth.group", "erratum.eq39"))  # fmt: skip


@cache
def log_density(half_orders: int = 4, odd: bool = False, counting: str = IID) -> Formula:
    """Return ln p(φ) at one point to N^{-half_orders/2}: minus the action, constants included."""
    ratios = _ratios(half_orders, odd, counting)
    symbols, series = logarithms(half_orders, odd, counting)
    found = sp.expand(series.subs({symbol: ratios[int(str(symbol)[2:])] for symbol in symbols}))
    free = -(_u**2) / (2 * G) - sp.log(2 * sp.pi * G) / 2
    steps = [definition(sp.Symbol(r"\ln p"), sp.Symbol(r"\ln p_0 + \ln(1 + \sum_j q_j)"), "q_j: the parts of p/p_0")]
    steps += [
        step(found.coeff(_u, n), sp.Integer(0), f"no phi^{n}: products of separate diagrams cancel in the logarithm")
        for n in ((half_orders + 3, half_orders + 4) if counting == IID else ())
    ]
    if half_orders >= 2:
        first = sum((cumulant(n) * hermite(n) / sp.factorial(n) for n in (3, 4) if odd or n == 4), sp.Integer(0))
        if odd and counting == IID:
            first += cumulant(3) ** 2 * (hermite(6) - hermite(3) ** 2) / 72
        low = logarithms(2, odd, counting)[1].subs({sp.Symbol(f"q_{j}", real=True): ratios[j] for j in (1, 2)})
        steps.append(step(low, first, "to order 1/N, cumulant by cumulant"))
    return _formula("log_density", r"\ln p(\phi)", free + found, half_orders, odd, counting, steps,
                    ("edgeworth.density", "edgeworth.logarithm"))  # fmt: skip


@cache
def logarithm(half_orders: int = 4, odd: bool = True, counting: str = IID) -> Formula:
    """Return ln(p/p_0) to N^{-half_orders/2} in the parts q_j of p/p_0, at any number of points."""
    symbols, expr = logarithms(half_orders, odd, counting)
    series = {symbol: symbol * _small ** int(str(symbol)[2:]) for symbol in symbols}
    graded = expr.subs(series, simultaneous=True)
    power, total = sp.Integer(1), sp.Integer(0)
    for k in range(half_orders + 1):
        total += power / sp.factorial(k)
        power = _cut(power * graded, half_orders)
    wanted = 1 + sum(series.values(), sp.Integer(0))
    return Formula(
        name="edgeworth.logarithm",
        lhs=sp.Symbol(r"\ln(p/p_0)"),
        expr=expr,
        args=symbols,
        domain=f"q_j: the part of p/p_0 of order N^(-j/2); {_COUNTED[counting]}",
        validity=_validity(half_orders),
        derived_from=("edgeworth.group",),
        steps=(step(_cut(total, half_orders), wanted, "its exponential is 1 + sum q_j up to the order, x = N^(-1/2)"),),
    )


def _cut(expr: sp.Expr, half_orders: int) -> sp.Expr:
    """Return the expression without powers of ε above ``half_orders``."""
    terms = sp.Poly(sp.expand(expr), _small).terms()
    return sum((value * _small**power for (power,), value in terms if power <= half_orders), sp.Integer(0))


@cache
def distribution(half_orders: int = 4, odd: bool = False, counting: str = IID) -> Formula:
    """Return P(f <= φ) at one point to N^{-half_orders/2}: each (-∂)^n p_0 integrates to minus (-∂)^{n-1} p_0."""
    inner = sum(_ratios(half_orders, odd, counting, shift=1), sp.Integer(0))
    expr = (1 + sp.erf(_u / sp.sqrt(2 * G))) / 2 - _gaussian(_u) * inner
    slope = sp.expand(sp.diff(inner, _u) - _u / G * inner)
    ratio = sum(_ratios(half_orders, odd, counting), sp.Integer(0))
    steps = [
        step(sp.diff((1 + sp.erf(_u / sp.sqrt(2 * G))) / 2, _u), _gaussian(_u), "the Gaussian part"),
        step(1 - slope, ratio, "the slope of the distribution is the density, over p_0"),
    ]
    return _formula("distribution", r"P(f \leq \phi)", expr, half_orders, odd, counting, steps, ("edgeworth.density",))


FORMULAS: dict[str, Callable[[], Formula]] = {
    "edgeworth.group": group,
    "edgeworth.logarithm": logarithm,
    "edgeworth.density": density,
    "edgeworth.density_skew": lambda: density(3, odd=True),
    "edgeworth.log_density": log_density,
    "edgeworth.distribution": distribution,
}
