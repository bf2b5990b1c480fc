"""How is a large sum of fractions brought over one denominator? By sparse polynomials, over the few factors that occur.

Stein's lemma leaves sums of hundreds of fractions whose denominators are powers of a few polynomials (determinants and
variances).  Sums are taken over those powers, and what divides the numerator is divided out once, at the end.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import sympy as sp
from sympy.polys.rings import PolyRing

_SHORT = 150
"""Terms above which a numerator is split only by what is known to occur: a general factorisation can take minutes."""

Powers = dict[Any, int]
"""Power of each irreducible factor of a denominator."""


@dataclass(frozen=True)
class Fraction:
    """constant·numerator/Π factor^power in lowest terms, the polynomials in one ring; ``hints`` may divide the numerator."""

    constant: sp.Expr
    numerator: Any
    denominator: Powers
    hints: tuple[sp.Expr, ...] = ()

    def divided(self, polynomial: sp.Expr) -> "Fraction | None":
        """Return the quotient by a polynomial that divides the numerator, None if it does not."""
        ring = self.numerator.ring
        if not polynomial.free_symbols <= set(ring.symbols):
            return None
        quotient, rest = divmod(self.numerator, ring.from_expr(sp.expand(polynomial)))
        return Fraction(self.constant, quotient, self.denominator, self.hints) if rest == 0 else None

    def factored(self) -> sp.Expr:
        """Return the expression, numerator and denominator in factors."""
        content, factors = self._factors()
        parts = []
        for factor, power in [*factors, *((factor, -power) for factor, power in self.denominator.items())]:
            negative = 2 * sum(coefficient < 0 for coefficient in factor.values()) > len(factor)
            content = -content if negative and power % 2 else content
            parts.append((-factor if negative else factor).as_expr() ** power)
        return sp.Mul(_rational(content), self.constant, *parts)

    def _factors(self) -> tuple[Any, list[tuple[Any, int]]]:
        if len(self.numerator) <= _SHORT:
            content, factors = self.numerator.factor_list()
            return content, list(factors)
        ring, rest, found = self.numerator.ring, self.numerator, []
        known = [ring.from_expr(hint) for hint in self.hints if hint.free_symbols <= set(ring.symbols)]
        for candidate in (*ring.gens, *known):
            power, rest = _divided_out(rest, candidate)
            found += [(candidate, power)] if power else []
        content, rest = rest.primitive()
        return (-content, [*found, (-rest, 1)]) if rest.LC < 0 else (content, [*found, (rest, 1)])


def fraction(total: sp.Expr, hints: Iterable[sp.Expr] = ()) -> Fraction:
    """Return a sum of products of polynomials, their reciprocals and constants as one fraction in lowest terms.

    >>> x, y = sp.symbols("x y")
    >>> fraction(1 / (x + y) - x / (x + y) ** 2 - y / (x**2 + x * y)).factored()
    -y**2/(x*(x + y)**2)
    """
    symbols = sorted(total.free_symbols, key=str) or [sp.Dummy()]  # a ring has at least one generator
    reader = _Reader(symbols, sorted(_constants(total), key=sp.default_sort_key))
    numerator, denominator = reader.read(total)
    constant, numerator, ring = _without_constants(numerator, denominator, symbols)
    left: Powers = {}
    for factor, power in denominator.items():
        inside = factor.set_ring(ring)
        gone, numerator = _divided_out(numerator, inside, power) if numerator else (power, numerator)
        if gone < power:
            left[inside] = power - gone
    return Fraction(constant, numerator, left, tuple(hints))


def _rational(number: Any) -> sp.Rational:
    return sp.Rational(int(number.numerator), int(number.denominator))


def _divided_out(polynomial: Any, factor: Any, most: int = 10**6) -> tuple[int, Any]:
    """Return how often ``factor`` divides (at most ``most`` times), and what is left."""
    power = 0
    while power < most:
        quotient, rest = divmod(polynomial, factor)
        if rest != 0:
            break
        polynomial, power = quotient, power + 1
    return power, polynomial


def _constants(expr: sp.Expr) -> set[sp.Expr]:
    """Return the irrational numbers that ``expr`` is built from, the powers of each as they stand."""
    if expr.is_Rational or expr.is_Symbol:
        return set()
    whole = expr.is_Pow and expr.exp.is_Integer and (expr.exp > 0 or not expr.is_number)
    if expr.is_Add or expr.is_Mul or whole:
        return set().union(*(_constants(part) for part in (expr.args[:1] if expr.is_Pow else expr.args)))
    if not expr.is_number:
        raise ValueError(f"not a rational function: {expr}")
    return {expr}


def _without_constants(numerator: Any, denominator: Powers, symbols: list[sp.Symbol]) -> tuple[sp.Expr, Any, Any]:
    """Return a common constant, the rest of the numerator, and its ring; √2·√2 = 2 and i² = -1 are known to SymPy only."""
    ring, count = numerator.ring, len(symbols)
    if ring.ngens == count:
        return sp.Integer(1), numerator, ring
    value = cache(lambda powers: sp.expand(sp.Mul(*(g**k for g, k in zip(ring.symbols[count:], powers, strict=True)))))
    parts: dict[sp.Expr, dict[Any, Any]] = {}
    for monomial, coefficient in numerator.terms():
        number, constant = value(monomial[count:]).as_coeff_Mul()
        part, key = parts.setdefault(constant, {}), monomial[:count]
        part[key] = part.get(key, ring.domain.zero) + coefficient * ring.domain.from_sympy(number)
    kept = {
        constant: {key: entry for key, entry in part.items() if entry}
        for constant, part in parts.items()
        if any(part.values())
    }
    used = {symbol for factor in denominator for symbol in factor.as_expr().atoms() | factor.as_expr().atoms(sp.Pow)}
    below = [symbol for symbol in ring.symbols[count:] if symbol in used]
    if len(kept) <= 1:
        only = next(iter(kept), sp.Integer(1))
        ring = PolyRing([*symbols, *below], sp.QQ, sp.polys.orderings.lex)
        pad = (0,) * len(below)
        return only, ring.from_dict({(*key, *pad): entry for key, entry in kept.get(only, {}).items()}), ring
    gens = [*below, *sorted((constant for constant in kept if constant not in (1, *below)), key=sp.default_sort_key)]
    ring = PolyRing([*symbols, *gens], sp.QQ, sp.polys.orderings.lex)
    terms = {
        (*key, *(int(gen == constant) for gen in gens)): entry
        for constant, part in kept.items()
        for key, entry in part.items()
    }
    return sp.Integer(1), ring.from_dict(terms), ring


class _Reader:
    """Expressions as (numerator, powers of the denominator's irreducible factors) in one ring."""

    def __init__(self, symbols: list[sp.Symbol], constants: list[sp.Expr]) -> None:
        self.ring = PolyRing([*symbols, *constants], sp.QQ, sp.polys.orderings.lex)
        self.generators = dict(zip(self.ring.symbols, self.ring.gens, strict=True))
        self.known: dict[sp.Expr, tuple[Any, Powers]] = {}
        self.powers: dict[tuple[Any, int], Any] = {}

    def read(self, expr: sp.Expr) -> tuple[Any, Powers]:
        if expr not in self.known:
            self.known[expr] = self._read(expr)
        return self.known[expr]

    def _read(self, expr: sp.Expr) -> tuple[Any, Powers]:
        if expr in self.generators:
            return self.generators[expr], {}
        if expr.is_Rational:
            return self.ring.domain_new(sp.QQ(expr.p, expr.q)) * self.ring.one, {}
        if expr.is_Add:
            return self._sum([self.read(part) for part in expr.args])
        if expr.is_Mul:
            return self._product([self.read(part) for part in expr.args])
        (numerator, denominator), power = self.read(expr.base), int(expr.exp)
        if power > 0:
            return numerator**power, {factor: power * k for factor, k in denominator.items()}
        content, factors = numerator.factor_list()
        top = self.ring.one * (1 / content) ** -power
        for factor, k in denominator.items():
            top *= self._power(factor, -power * k)
        return top, {factor: -power * k for factor, k in factors}

    def _power(self, factor: Any, power: int) -> Any:
        if (factor, power) not in self.powers:
            self.powers[factor, power] = factor**power
        return self.powers[factor, power]

    def _product(self, parts: list[tuple[Any, Powers]]) -> tuple[Any, Powers]:
        numerator = self.ring.one
        denominator: Powers = {}
        for top, bottom in parts:
            numerator *= top
            for factor, power in bottom.items():
                denominator[factor] = denominator.get(factor, 0) + power
        return numerator, denominator

    def _sum(self, parts: list[tuple[Any, Powers]]) -> tuple[Any, Powers]:
        alike: dict[frozenset[tuple[Any, int]], Any] = {}
        for top, bottom in parts:
            key = frozenset(bottom.items())
            alike[key] = alike[key] + top if key in alike else top
        denominator: Powers = {}
        for key in alike:
            for factor, power in key:
                denominator[factor] = max(power, denominator.get(factor, 0))
        numerator = self.ring.zero
        for key, top in alike.items():
            own, missing = dict(key), top
            for factor, power in denominator.items():
                if power > own.get(factor, 0):
                    missing = missing * self._power(factor, power - own.get(factor, 0))
            numerator += missing
        return numerator, denominator
