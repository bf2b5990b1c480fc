"""What is E of one pair of monomials? The tilted Gaussian law, and the few base numbers that Stein's lemma leaves.

Everything is written with D = q11 q22 - c² as a symbol.  Each base number comes in two forms, the exact one and one for
floating point: asin(x/√(PQ)) against atan2(x, √(PQ - x²)), where PQ - x² is a sum of positive terms in D.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import sympy as sp

from fieldflow.symbolic import stein
from fieldflow.symbolic.errors import NoClosedForm
from fieldflow.symbolic.normal_form import Gate, Monomial
from fieldflow.symbolic.special import BivariateNormal, Dawson, NormalCdf, NormalOrthant
from fieldflow.symbolic.symbols import c, q11, q22

det = sp.Symbol("D", nonnegative=True)
"""q11 q22 - c²."""

gap = sp.Symbol("delta", nonnegative=True)
"""q11 + q22 - 2c, the variance of u - v."""

DETERMINANT = q11 * q22 - c**2


class Atom(NamedTuple):
    """factor·exact/√root; ``stable_root`` and ``stable`` are equal to root and exact and better in floating point."""

    factor: sp.Expr
    root: sp.Expr
    stable_root: sp.Expr
    exact: sp.Expr
    stable: sp.Expr


Part = tuple[sp.Expr, sp.Expr, sp.Expr]
"""(coefficient, exact factor, floating-point factor)."""


@dataclass(frozen=True)
class Tilted:
    """The law of (u, v) under the weight exp(α₁u² + β₁u + α₂v² + β₂v): N(mean, cov/delta)·exp(log_weight)/√delta."""

    delta: sp.Expr
    cov: tuple[sp.Expr, sp.Expr, sp.Expr]  # times delta
    mean: tuple[sp.Expr, sp.Expr]
    log_weight: sp.Expr
    alphas: tuple[sp.Expr, sp.Expr]


def tilt(left: Monomial, right: Monomial, mean: tuple[sp.Expr, sp.Expr]) -> Tilted:
    """Complete the square in the exponent of the Gaussian density times the two exponentials."""
    (a, b), (m1, m2) = (left.alpha, right.alpha), mean
    delta = 1 - 2 * a * q11 - 2 * b * q22 + 4 * a * b * det
    cov = (q11 - 2 * b * det, c, q22 - 2 * a * det)
    push = (left.beta + 2 * a * m1, right.beta + 2 * b * m2)
    constant = a * m1**2 + left.beta * m1 + b * m2**2 + right.beta * m2
    square = (push[0] ** 2 * cov[0] + 2 * push[0] * push[1] * cov[1] + push[1] ** 2 * cov[2]) / (2 * delta)
    shifted = (
        m1 + (cov[0] * push[0] + cov[1] * push[1]) / delta,
        m2 + (cov[1] * push[0] + cov[2] * push[1]) / delta,
    )
    return Tilted(delta, cov, shifted, sp.expand(constant) + square, (a, b))


def orthant(x: sp.Expr, scale: sp.Expr, rest: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Return the angle A in P(s₁ > 0, s₂ > 0) = 1/4 + A/2π, exactly and for floating point: Price's theorem.

    ``x`` is the covariance, ``scale`` the product of the standard deviations, ``rest`` = scale² - x².  The primitive is
    checked in ``lemmas.price``.
    """
    return sp.asin(x / scale), sp.atan2(x, sp.sqrt(rest))


def atoms(left: Monomial, right: Monomial, mean: tuple[sp.Expr, sp.Expr]) -> Iterator[Atom]:
    """Yield the parts whose sum is E[left(u) right(v)] for (u, v) ~ N(mean, [[q11, c], [c, q22]])."""
    law = tilt(left, right, mean)
    gates = {number: gate for number, gate in ((1, left.gate), (2, right.gate)) if gate is not None}
    own = {number: gate.slope * law.mean[number - 1] + gate.offset for number, gate in gates.items()}
    centred = all(sp.expand(value) == 0 for value in (*law.mean, *own.values()))
    base = _Base(law, gates, own, centred)
    values = base.substitution()
    for (done, left_over), coefficient in stein.pieces(left.power, right.power, tuple(gates), centred).items():
        number = coefficient.xreplace(values)
        for atom in base.factors(done, left_over):
            yield atom._replace(factor=atom.factor * number)


class _Base:
    """The numbers density(s_A = 0)·P(s_B > 0 | s_A = 0) of one tilted pair, times its weight."""

    def __init__(self, law: Tilted, gates: dict[int, Gate], own: dict[int, sp.Expr], centred: bool) -> None:
        self.law, self.gates, self.own, self.centred = law, gates, own, centred
        delta, sides = law.delta, (law.cov[0], law.cov[2])
        self.variance = {  # of s, times delta
            number: sp.expand(gate.noise * delta + gate.slope**2 * sides[number - 1]) for number, gate in gates.items()
        }
        if len(gates) == 2:
            one, two = gates[1], gates[2]
            self.cross = one.slope * two.slope * c  # Cov(s₁, s₂), times delta
            self.joint = sp.expand(  # Var(s₁)Var(s₂) - Cov², times delta: positive term by term
                one.noise * two.noise * delta
                + one.noise * two.slope**2 * sides[1]
                + two.noise * one.slope**2 * sides[0]
                + one.slope**2 * two.slope**2 * det
            )
        if any(value.has(sp.I) for value in own.values()) and (len(gates) > 1 or any(map(_complex, own.values()))):
            raise NoClosedForm("sigma: a gate under an oscillating weight has a closed form only alone and centred")

    def substitution(self) -> dict[sp.Symbol, Any]:
        """Return what the symbols of ``stein.pieces`` stand for."""
        law, delta = self.law, self.law.delta
        values: dict[sp.Symbol, Any] = {
            stein.mean_u: law.mean[0], stein.mean_v: law.mean[1],
            stein.s11: law.cov[0] / delta, stein.s12: law.cov[1] / delta, stein.s22: law.cov[2] / delta,
        }  # fmt: skip
        names = {1: (stein.slope_1, stein.gate_1, stein.mean_1), 2: (stein.slope_2, stein.gate_2, stein.mean_2)}
        for number, gate in self.gates.items():
            slope, variance, own = names[number]
            values |= {slope: gate.slope, variance: self.variance[number] / delta, own: self.own[number]}
        if len(self.gates) == 2:
            values[stein.joint] = self.joint / delta
        return values

    def factors(self, done: tuple[int, ...], left: tuple[int, ...]) -> Iterator[Atom]:
        """Yield weight·density(s_done = 0)·P(s_left > 0 | s_done = 0)."""
        exponent = self.law.log_weight - self._distance(done)
        if done == (1, 2):
            root, number = self.joint, 1 / (2 * sp.pi)
        elif done:
            root, number = self.variance[done[0]], 1 / sp.sqrt(2 * sp.pi)
        else:
            root, number = self.law.delta, sp.Integer(1)
        if not done and left and any(value.has(sp.I) for value in self.own.values()):
            parts = self._oscillating(left[0], exponent)
        else:
            parts = ((exponent, *part) for part in self._probability(done, left))
        for power, factor, exact, stable in parts:
            for unit, weight in _weights(power):
                content, inner = _primitive(root)
                yield Atom(
                    number * factor * unit / sp.sqrt(content), inner, root / content, weight * exact, weight * stable
                )

    def _distance(self, done: tuple[int, ...]) -> sp.Expr:
        """Return minus the exponent of the density of s_done at zero."""
        if self.centred or not done:
            return sp.Integer(0)
        delta, own = self.law.delta, self.own
        if len(done) == 1:
            return own[done[0]] ** 2 * delta / (2 * self.variance[done[0]])
        square = own[1] ** 2 * self.variance[2] - 2 * own[1] * own[2] * self.cross + own[2] ** 2 * self.variance[1]
        return square / (2 * self.joint)

    def _probability(self, done: tuple[int, ...], left: tuple[int, ...]) -> Iterator[Part]:
        """Yield P(s_left > 0 | s_done = 0)."""
        one = sp.Integer(1)
        if not left:
            yield one, one, one
        elif len(left) == 2:
            yield from self._both()
        elif self.centred:
            yield sp.Rational(1, 2), one, one
        else:
            number = left[0]
            if done:
                own = self.own[number] - self.cross * self.own[done[0]] / self.variance[done[0]]
                variance = self.joint / self.variance[done[0]]
            else:
                own, variance = self.own[number], self.variance[number] / self.law.delta
            yield from _normal_probability(own, variance)

    def _both(self) -> Iterator[Part]:
        one = sp.Integer(1)
        first, second = _sqrt(self.variance[1]), _sqrt(self.variance[2])
        if self.centred:
            exact, stable = orthant(self.cross, first * second, self.joint * self.law.delta)
            sign, exact = exact.as_coeff_Mul()
            yield sp.Rational(1, 4), one, one
            yield sign / (2 * sp.pi), exact, sign * stable
            return
        h, k = (_exactly(self.own[g]) * _sqrt(self.law.delta) / root for g, root in ((1, first), (2, second)))
        both = BivariateNormal(h, k, self.cross / (first * second))
        yield one, both, NormalOrthant(*both.args, *(self._conditional(g) for g in (1, 2)))

    def _conditional(self, given: int) -> sp.Expr:
        """Return (mean of the other gate)/(its deviation), given that gate ``given`` is zero: what Owen's T needs."""
        other = 3 - given
        mean = self.own[other] - self.cross * self.own[given] / self.variance[given]
        top, bottom = sp.fraction(_exactly(mean))
        spread = sp.sqrt(self.joint / _exactly(self.variance[given]))
        return with_determinant(top) / bottom / spread

    def _oscillating(self, number: int, exponent: sp.Expr) -> Iterator[tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr]]:
        """Yield weight·P(s > 0) for an imaginary mean ih of s: erf(iy) = 2i/√π·e^{y²}·Dawson(y)."""
        one = sp.Integer(1)
        yield exponent, sp.Rational(1, 2), one, one
        height = sp.expand(self.own[number] / sp.I)
        square = height**2 * self.law.delta / (2 * self.variance[number])
        sign, height = height.as_coeff_Mul()
        value = Dawson(abs(sign) * height * _sqrt(self.law.delta) / (sp.sqrt(2) * _sqrt(self.variance[number])))
        yield exponent + square, sp.I * sp.sign(sign) / sp.sqrt(sp.pi), value, value


def _complex(value: sp.Expr) -> bool:
    return bool(sp.expand(value / sp.I).has(sp.I))


def _normal_probability(mean: sp.Expr, variance: sp.Expr) -> Iterator[Part]:
    """Yield P(s > 0) = (1 + erf(mean/√(2 variance)))/2; in floating point Φ, which keeps small probabilities."""
    ratio = _exactly(mean) / _sqrt(variance)
    yield sp.Rational(1, 2), 1 + sp.erf(ratio / sp.sqrt(2)), 2 * NormalCdf(ratio)


def _weights(exponent: sp.Expr) -> Iterator[tuple[sp.Expr, sp.Expr]]:
    """Yield exp(exponent) as (coefficient, factor), a complex one as its cosine and sine."""
    real, phase = sp.expand(exponent), sp.Integer(0)
    if exponent.has(sp.I):
        real, phase = real.as_real_imag()
    weight = sp.exp(_exactly(real))
    if phase == 0:
        yield sp.Integer(1), weight
        return
    for unit, wave in ((sp.Integer(1), sp.cos(_exactly(phase))), (sp.I, sp.sin(_exactly(phase)))):
        sign, wave = wave.as_coeff_Mul()
        yield unit * sign, weight * wave


def _exactly(value: sp.Expr) -> sp.Expr:
    """Return a rational function without D, in one form."""
    value = sp.cancel(value.subs(det, DETERMINANT))
    return sp.expand(value) if value.is_polynomial() else sp.factor(value)


def _primitive(square: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    content, inner = sp.expand(square.subs(det, DETERMINANT)).as_content_primitive()
    return content, inner


def _sqrt(square: sp.Expr) -> sp.Expr:
    """Return √square as a function of (q11, c, q22), denominators and rational factors taken out."""
    top, bottom = sp.fraction(sp.cancel(square.subs(det, DETERMINANT)))
    parts = [_primitive(part) for part in (top, bottom)]
    roots = [sp.sqrt(content) * sp.sqrt(inner) for content, inner in parts]
    return roots[0] / roots[1]


def with_determinant(polynomial: sp.Expr) -> sp.Expr:
    """Return the polynomial, or its form in D if that has fewer negative coefficients or fewer terms."""
    even = sp.Poly(sp.expand(polynomial), c)
    if any(power % 2 for (power,) in even.monoms()):
        return polynomial
    other = sp.expand(sum(value * (q11 * q22 - det) ** (power // 2) for (power,), value in even.terms()))
    return min((polynomial, other), key=_roughness)


def _roughness(polynomial: sp.Expr) -> tuple[int, int]:
    terms = sp.Add.make_args(polynomial)
    return sum(1 for term in terms if term.could_extract_minus_sign()), len(terms)
