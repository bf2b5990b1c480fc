"""What are the connected functions of a network of N independent units? Exact cumulants at any width.

f(x) = Σ_i w_i h_i(x), w_i and h_i drawn independently for each unit: cumulants of independent units add, so
G_c^{(n)} = N κ_n[w h], and κ_n of one unit follows from its moments E[w^b]⟨h…h⟩ by a sum over set partitions.  Odd ones
vanish if w is even.  A random scale s shared by all units (w_i = √s g_i) breaks the independence; the law of total
cumulance then sums over partitions once more.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import combinations

import sympy as sp

from fieldflow.symbolic.finite_width import N
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.partitions import Type, count, set_partitions, sum_symbol, types
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import sigma_w

_t = sp.Symbol("t", real=True)
READOUTS: dict[str, sp.Expr] = {"gaussian": sp.exp(_t**2 / 2), "signs": sp.cosh(_t), "fixed": sp.exp(_t)}
"""E[e^{tw}] of a read-out weight in units of its root mean square: N(0, 1), ±1 with equal odds, always 1."""

_SOURCE = Reference("howard2024bayesian", "Eq. (43)")
_UNITS = "one hidden layer of N independent units; H_42: sum over the splits of the points into blocks of 4 and 2 of <hhhh><hh>"
_SHARED = "read-out weights sqrt(s) g_i with one s > 0 per network, m_j = E s^j; G_22: sum over pairings, at s = 1"


def scale_moments(order: int) -> tuple[sp.Symbol, ...]:
    """Return the symbols m_1 … m_order of E[s^j]."""
    return tuple(sp.Symbol(f"m_{j}", positive=True) for j in range(1, order + 1))


def readout_moment(readout: str, power: int) -> sp.Expr:
    """Return E[w^power] in units of the root mean square.

    >>> [readout_moment("gaussian", k) for k in range(1, 9)]
    [0, 1, 0, 3, 0, 15, 0, 105]
    """
    return sp.diff(READOUTS[readout], _t, power).subs(_t, 0)


def moebius(blocks: int) -> sp.Expr:
    """Return the weight (-1)^{k-1}(k-1)! of a partition into k blocks: k!·[X^k] ln(1 + X)."""
    x = sp.Symbol("X")
    return sp.diff(sp.log(1 + x), x, blocks).subs(x, 0)


def _coefficients(n: int, readout: str) -> dict[Type, sp.Expr]:
    found = {kind: moebius(len(kind)) * sp.prod([readout_moment(readout, size) for size in kind]) for kind in types(n)}
    return {kind: value for kind, value in found.items() if value != 0}


def _together(total: sp.Expr, letter: str, values: dict[int, sp.Expr], n: int) -> sp.Expr:
    """Return the sums over types where all points coincide: count·Π of one-point values."""
    replaced = {sum_symbol(letter, kind): count(kind) * sp.prod([values[b] for b in kind]) for kind in types(n)}
    return sp.expand(total.xreplace(replaced))


def _logarithm(moments: dict[int, sp.Expr], n: int) -> sp.Expr:
    """Return n!·[t^n] ln(1 + Σ M_b t^b/b!), the cumulant of one variable, by the power series of the logarithm."""
    inside = sum((moments[b] * _t**b / sp.factorial(b) for b in range(1, n + 1)), sp.Integer(0))
    total, power = sp.Integer(0), sp.Integer(1)
    for k in range(1, n + 1):
        power = _truncated(power * inside, n)
        total += sp.Rational((-1) ** (k - 1), k) * power
    return sp.expand(sp.factorial(n) * sp.expand(total).coeff(_t, n))


def _truncated(series: sp.Expr, order: int) -> sp.Expr:
    terms = sp.Poly(series, _t).terms()
    return sum((value * _t**power for (power,), value in terms if power <= order), sp.Integer(0))


def _name(prefix: str, readout: str, n: int) -> str:
    return f"cumulants.{prefix}{n}" + ("" if readout == "gaussian" else f"_{readout}")


@cache
def connected(n: int, readout: str = "gaussian") -> Formula:
    """Return G_c^{(n)} at n points as a formula of the sums over types, σ_w (its variance is σ_w²/N) and N.

    >>> connected(4).expr
    sigma_w**4*(-H_22 + 3*H_4)/N
    """
    unit = _coefficients(n, readout)
    bracket = sum((value * sum_symbol("H", kind) for kind, value in unit.items()), sp.Integer(0))
    expr = sigma_w**n * N ** (1 - sp.Rational(n, 2)) * bracket
    lhs = sp.Symbol(rf"G_c^{{({n})}}")
    h = dict(enumerate(sp.symbols(f"h_1:{n + 1}", real=True), start=1))
    moments = {b: readout_moment(readout, b) * h[b] for b in h}
    one = sp.Symbol(rf"\kappa_{{{n}}}[w h/\sigma_w]")
    return Formula(
        name=_name("G", readout, n), lhs=lhs, expr=expr,
        args=(*(sum_symbol("H", kind) for kind in unit), sigma_w, N), domain=_UNITS, validity="exact at any width",
        references=(_SOURCE,), derived_from=("cumulants of independent variables add", "ln of the moment generating function"),
        steps=(
            definition(one, bracket, "one unit, w of unit variance: sum over set partitions, weight (-1)^(k-1) (k-1)!"),
            step(_logarithm(moments, n), _together(bracket, "H", h, n), "all points coincide: the series of ln E exp(t w h)"),
            *_distinct(n, readout, bracket),
            step(N * (sigma_w / sp.sqrt(N)) ** n * bracket, expr, "N independent units of read-out variance sigma_w^2/N"),
        ),
    )  # fmt: skip


def _distinct(n: int, readout: str, bracket: sp.Expr) -> tuple[Step, ...]:
    """Return the check at different points where SymPy can differentiate the logarithm: n <= 4."""
    if not 2 <= n <= 4:
        return ()
    at = sp.symbols(f"t_1:{n + 1}", real=True)
    generating = sp.Integer(1)
    for size in range(1, n + 1):
        for chosen in combinations(range(n), size):
            generating += readout_moment(readout, size) * _average(chosen) * sp.prod([at[i] for i in chosen])
    slope = sp.diff(sp.log(generating), *at).subs(dict.fromkeys(at, 0))
    sums = {
        sum_symbol("H", kind): sp.Add(*(sp.prod([_average(block) for block in split]) for split in splits))
        for kind, splits in set_partitions(n).items()
    }
    return (step(slope, bracket.xreplace(sums), "different points: the derivative of ln E exp(sum t_i w h_i)"),)


def _average(points: tuple[int, ...]) -> sp.Symbol:
    return sp.Symbol(rf"\langle {' '.join(f'h_{{{i + 1}}}' for i in points)} \rangle")


@cache
def moment(n: int, *, even: bool = True) -> Formula:
    """Return the full n-point function E[f…f] as the sum over all partitions into connected ones.

    >>> moment(4).expr
    G_22 + G_4
    """
    kinds = types(n, even=even)
    expr = sp.Add(*(sum_symbol("G", kind) for kind in kinds))
    cumulants = {b: sp.Symbol(f"kappa_{b}", real=True) for b in range(1, n + 1)}
    if even:
        cumulants |= {b: sp.Integer(0) for b in cumulants if b % 2}
    exponent = sum((value * _t**b / sp.factorial(b) for b, value in cumulants.items()), sp.Integer(0))
    series, power = sp.Integer(0), sp.Integer(1)
    for k in range(1, n + 1):
        power = _truncated(power * exponent, n)
        series += power / sp.factorial(k)
    value = sp.expand(sp.factorial(n) * sp.expand(series).coeff(_t, n))
    return Formula(
        name=f"cumulants.moment{n}" + ("" if even else "_general"), lhs=sp.Symbol(rf"G^{{({n})}}"), expr=expr,
        args=tuple(sum_symbol("G", kind) for kind in kinds), validity="exact",
        domain="any law; G_22: sum over the pairings of products of connected functions"
        + (", odd ones vanish" if even else ""),
        derived_from=("exp of the cumulant generating function",),
        steps=(step(value, _together(expr, "G", cumulants, n), "all points coincide: the series of exp(sum kappa_b t^b/b!)"),),
    )  # fmt: skip


def _joint_scale_cumulant(powers: tuple[int, ...], m: tuple[sp.Symbol, ...]) -> sp.Expr:
    """Return the joint cumulant of s^a, s^b, … in the moments of s."""
    return sp.Add(
        *(
            moebius(len(split)) * sp.prod([m[sum(powers[i] for i in block) - 1] for block in split])
            for splits in set_partitions(len(powers)).values()
            for split in splits
        )
    )


@cache
def common_scale(n: int) -> Formula:
    """Return G_c^{(n)} of read-outs that share one random scale, in connected functions at s = 1 and moments of s.

    >>> common_scale(4).expr
    G_22*(-m_1**2 + m_2) + G_4*m_2
    """
    m = scale_moments(n // 2)
    kinds = types(n, even=True)
    weights = {kind: _joint_scale_cumulant(tuple(size // 2 for size in kind), m) for kind in kinds}
    expr = sum((weights[kind] * sum_symbol("G", kind) for kind in kinds), sp.Integer(0))
    s = sp.Symbol("s", positive=True)
    unit = {b: sp.Symbol(f"kappa_{b}", real=True) if b % 2 == 0 else sp.Integer(0) for b in range(1, n + 1)}
    averaged: dict[int, sp.Expr] = {}
    for b in unit:
        given = sp.expand(
            _together(moment(b, even=False).expr, "G", {j: s ** sp.Rational(j, 2) * unit[j] for j in unit}, b)
        )
        averaged[b] = sum((given.coeff(s, j) * m[j - 1] for j in range(1, n // 2 + 1)), sp.Integer(0))
    return Formula(
        name=f"cumulants.common_scale{n}", lhs=sp.Symbol(rf"G_c^{{({n})}}"), expr=expr,
        args=(*(sum_symbol("G", kind) for kind in kinds), *m), domain=_SHARED, validity="exact at any width",
        derived_from=(f"cumulants.moment{n}", "law of total cumulance"),
        steps=(
            step(_logarithm(averaged, n), _together(expr, "G", unit, n),
                 "all points coincide: average the moments given s over s, then the series of the logarithm"),
        ),
    )  # fmt: skip


_EVEN = (2, 4, 6, 8)


def _named(
    build: Callable[..., Formula], prefix: str, suffix: str, orders: Sequence[int], *more: str
) -> dict[str, Callable[[], Formula]]:
    return {f"cumulants.{prefix}{n}{suffix}": partial(build, n, *more) for n in orders}


FORMULAS: dict[str, Callable[[], Formula]] = {
    **_named(connected, "G", "", _EVEN),
    **_named(connected, "G", "_signs", _EVEN[1:], "signs"),
    **_named(connected, "G", "_fixed", (2, 3, 4, 5, 6), "fixed"),
    **_named(moment, "moment", "", _EVEN[1:]),
    **_named(common_scale, "common_scale", "", _EVEN[1:]),
}
