"""Are two expressions equal? Proved, certified to so many digits at so many points, or refuted: never just "no".

``simplify(a - b) == 0`` is False and ``.equals`` None for true identities, so a failed proof is followed by a
high-precision comparison at points of the declared domain.
"""

import hashlib
from dataclasses import dataclass
from itertools import islice
from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy as sp

PROVED, CERTIFIED, REFUTED = "proved", "certified", "refuted"

_POINTS = 6
_DIGITS = 30
_EXPANDED = 400
"""Operations above which a commutative difference is not expanded: rational functions of that size explode."""

_SIMPLIFIED = 120
"""Operations above which a proof by SymPy's simplify is not tried: it can take minutes, as it can with Max."""


_ARITHMETIC_CALLS: dict[Any, Any] = {
    sp.Pow: lambda base, power: mpmath.power(base, int(power) if power == int(mpmath.re(power)) else power),
    sp.exp: mpmath.exp,
    sp.erf: mpmath.erf,
    sp.asin: mpmath.asin,
    sp.atan2: mpmath.atan2,
    sp.sin: mpmath.sin,
    sp.cos: mpmath.cos,
}
_ARITHMETIC = (sp.Add, sp.Mul, *_ARITHMETIC_CALLS)
"""What is evaluated directly; other functions evaluate themselves."""


_LONG_NUMBER = 10**6


@dataclass(frozen=True)
class Comparison:
    """Outcome of a comparison; ``digits`` and ``points`` belong to "certified" and "refuted"."""

    status: str
    digits: int | None = None
    points: int | None = None

    def __str__(self) -> str:
        if self.status == PROVED:
            return PROVED
        return f"{self.status} ({self.digits} digits at {self.points} points)"


def compare(left: sp.Expr, right: sp.Expr, *, where: dict[sp.Symbol, sp.Expr] | None = None) -> Comparison:
    """Return whether left = right on the domain given by the symbols' assumptions.

    Parameters
    ----------
    left, right : SymPy expressions, commutative or not
    where : mapping, optional
        Symbols to be replaced by expressions of other symbols before points are drawn, to stay inside a domain that
        assumptions cannot state (|c| < √(q11 q22), say).

    >>> x = sp.Symbol("x", positive=True)
    >>> compare(sp.sin(x) ** 2 + sp.cos(x) ** 2, sp.Integer(1)).status
    'proved'
    >>> compare(sp.sqrt(x**2 + 2 * x + 1), x + 1).status  # true, but simplify does not see it
    'certified'
    >>> compare(x, x + sp.Rational(1, 10**20)).status
    'refuted'
    """
    difference = left - right
    long = difference.is_commutative and _longer(difference, _EXPANDED)
    if not long:
        difference = sp.expand(difference)
    if difference == 0:
        return Comparison(PROVED)
    if not difference.is_commutative:
        return Comparison(REFUTED, 0, 0)
    difference = _with_named_numbers(difference)
    short = not _longer(difference, _SIMPLIFIED) and not difference.has(sp.Max)
    if short and sp.simplify(sp.powsimp(sp.factor_terms(difference))) == 0:
        return Comparison(PROVED)
    return _certify(left, right, where or {})


def _longer(expr: sp.Expr, operations: int) -> bool:
    """Return whether an expression has more operations than that, without counting far beyond."""
    nodes = sum(1 for _ in islice(sp.preorder_traversal(expr), 6 * operations))
    return nodes >= 6 * operations or bool(sp.count_ops(expr) > operations)


def _with_named_numbers(expr: sp.Expr) -> sp.Expr:
    """Return the expression with symbols for long rationals: e^{ipz/q} with long p, q is a polynomial of that degree to SymPy.

    What holds for every value holds for these.
    """
    names: dict[sp.Expr, sp.Expr] = {}
    for number in expr.atoms(sp.Rational):
        if max(abs(number.p), number.q) > _LONG_NUMBER and abs(number) not in names:
            names[abs(number)] = sp.Dummy(positive=True)
            names[-abs(number)] = -names[abs(number)]
    return expr.xreplace(names)


def _certify(left: sp.Expr, right: sp.Expr, where: dict[sp.Symbol, sp.Expr]) -> Comparison:
    left, right = (side.subs(where, simultaneous=True) for side in (left, right))
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    seed = hashlib.sha256(sp.srepr((left, right)).encode()).digest()
    with mpmath.workdps(_DIGITS + 20):
        for point in range(_POINTS):
            # As floats: rational bases under rational exponents would be expanded into integers of millions of digits.
            values = {symbol: sp.Float(_value(symbol, seed, point, i), 70) for i, symbol in enumerate(symbols)}
            known = {symbol: mpmath.mpf(str(value)) for symbol, value in values.items()}
            if _agree([_value_of(side, known) for side in (left, right)]):
                continue
            # What cancels beyond the working precision needs SymPy's adaptive evaluation.
            if not _agree([complex_value(side, values) for side in (left, right)]):
                return Comparison(REFUTED, _DIGITS, point + 1)
    return Comparison(CERTIFIED, _DIGITS, _POINTS)


def _agree(sides: list[Any]) -> bool:
    scale = max(abs(sides[0]), abs(sides[1]), mpmath.mpf(10) ** -_DIGITS)
    return bool(abs(sides[0] - sides[1]) <= scale * mpmath.mpf(10) ** -_DIGITS)


def _value_of(expr: sp.Expr, known: dict[sp.Basic, Any]) -> Any:
    """Return the value at mpmath's working precision; ``known`` keeps the parts, which large sums share."""
    if expr not in known:
        known[expr] = _computed(expr, known)
    return known[expr]


def _computed(expr: sp.Expr, known: dict[sp.Basic, Any]) -> Any:
    if isinstance(expr, _ARITHMETIC):
        parts = [_value_of(part, known) for part in expr.args]
        if expr.is_Add:
            return mpmath.fsum(parts)
        return mpmath.fprod(parts) if expr.is_Mul else _ARITHMETIC_CALLS[expr.func](*parts)
    if expr.is_Rational:
        return mpmath.mpf(int(expr.p)) / int(expr.q)
    if expr.is_number or not expr.args:
        return complex_value(expr)
    symbols = {symbol: sp.Float(str(known[symbol]), 70) for symbol in expr.free_symbols}
    return complex_value(expr, symbols)


def complex_value(expr: sp.Expr, values: dict[sp.Symbol, sp.Expr] | None = None) -> mpmath.mpc:
    """Return the value of an expression at the working precision of mpmath, symbols replaced by ``values``."""
    number = sp.N(expr.doit(), mpmath.mp.dps, subs=values or {})
    if not number.is_number:
        raise ValueError(f"no value for {expr}")
    real, imaginary = number.as_real_imag()
    return mpmath.mpc(mpmath.mpf(str(real)), mpmath.mpf(str(imaginary)))


def _value(symbol: sp.Symbol, seed: bytes, point: int, index: int) -> sp.Rational:
    """Return a reproducible rational inside the symbol's assumptions."""
    digest = hashlib.sha256(seed + bytes([point, index])).digest()
    unit = sp.Rational(int.from_bytes(digest[:8], "big") | 1, 2**64)
    if symbol.is_integer:
        return sp.Integer(1 + int(unit * 7))
    value = sp.Rational(1, 10) + 2 * unit
    if symbol.is_positive or symbol.is_nonnegative:
        return value
    return value if digest[8] & 1 else -value
