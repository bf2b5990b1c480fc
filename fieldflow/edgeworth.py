"""Which density do given connected correlators have? The Edgeworth series of a network's outputs at one or more points.

Equations (39), (40) of arXiv:2405.17538 with complete Bell polynomials, ordered by powers of 1/N: formulas ``edgeworth.*``.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy as sp
from scipy import linalg, signal

from fieldflow import inputs, memory
from fieldflow.compile import compile_formula
from fieldflow.errors import BadInput, NotPositiveDefinite
from fieldflow.formulas import deriving
from fieldflow.inputs import Array
from fieldflow.numeric.symmetric import entries, packed, sorted_tuples
from fieldflow.symbolic import edgeworth as series
from fieldflow.symbolic.formula import Formula

_FORMULAS = {
    "density": series.density,
    "log_density": series.log_density,
    "distribution": series.distribution,
    "group": series.group,
    "logarithm": series.logarithm,
}
_SYMMETRIC = 1e-10
_SINGULAR = 1e13
_FARTHEST = 1e6
"""Standard deviations at which polynomials of degree 24 are still far from overflow."""


class Edgeworth:
    """Edgeworth series of a density with the given cumulants (immutable).

    p = p_0·(1 + Σ_j q_j), q_j of order N^{-j/2}.  Unlike a Gram-Charlier series, which is cut at a number of derivatives,
    it holds at each order all products of cumulants of that order: at 1/N², κ_6 and κ_4² (eight derivatives).  It is an
    asymptotic series: where corrections exceed 1, in the tails above all, the density can be negative, and is returned so.

    Parameters
    ----------
    cumulants : mapping of n to number or array (m,)·n
        2: the covariance (at one point: the variance); 3, 4, …: fully symmetric connected correlators; 1: the mean,
        0 by default.  Without a key that is odd and above 1 the law is taken as even.  Those that the order does not need
        are not used.
    order : int or float
        Highest power of 1/N: 0 (Gaussian), 1, …, 4; half-integer steps with odd cumulants.
    counting : {"iid", "trained"}
        κ_n ~ N^{1-n/2} (independent neurons) or N^{1-⌈n/2⌉} (trained or renormalised ensembles).

    Raises
    ------
    BadInput
        For a cumulant that the order needs and that is missing, is not symmetric or has another shape; it is named.
    NotPositiveDefinite
        For a singular covariance (repeated points, say).

    >>> law = Edgeworth({2: 1.0, 4: 0.3}, order=1)
    >>> law.density([0.0]).round(6).tolist()  # (1 + 0.3·3/24)/√(2π)
    [0.413903]
    """

    def __init__(self, cumulants: Mapping[int, Any], order: Any = 2, *, counting: str = series.IID) -> None:
        if not isinstance(cumulants, Mapping):
            raise BadInput(f"cumulants: expected a mapping of n to the n-th cumulant, got {type(cumulants).__name__}")
        for n in cumulants:
            inputs.integer("cumulants: key", n, minimum=1, maximum=100)
        self.counting = inputs.choice("counting", counting, series.COUNTINGS)
        self.odd = any(n % 2 and n > 1 for n in cumulants)
        self.half_orders = _half_orders(order, self.odd)
        if 2 not in cumulants:
            raise BadInput("cumulants: the 2nd (the covariance) is missing")
        wanted = series.needed(self.half_orders, self.odd, self.counting)
        for n in wanted:
            if n not in cumulants:
                raise BadInput(
                    f"cumulants: order {self.order:g} needs the {n}{'rd' if n == 3 else 'th'}, which is missing"
                )
        covariance = _tensor(2, cumulants[2], None)
        self.points = len(covariance)
        # An order holds at most so many derivatives: all κ_3 (half an order each) or all κ_4.
        degree = (3 if self.odd else 2) * self.half_orders
        size = 8.0 * (self.half_orders + 3) * float(degree + 1) ** self.points
        memory.require(int(min(size, 2.0**62)), "cumulants: the series in all points")
        self.mean = _tensor(1, cumulants.get(1, np.zeros(self.points)), self.points)
        tensors = {n: _tensor(n, cumulants[n], self.points) for n in sorted(cumulants) if n > 2}
        self.covariance = covariance
        self._root = _root(covariance)
        white = {n: self._whitened(tensors[n]) for n in wanted}
        with deriving():
            groups = series.groups(self.half_orders, self.odd, self.counting)
        vertices = {series.operator(n): _polynomial(tensor) for n, tensor in white.items()}
        self._coefficients = tuple(_evaluated(group, vertices, self.points) for group in groups)
        self._values = {n: float(tensors[n].reshape(-1)[0]) for n in wanted}

    @property
    def order(self) -> float:
        """Highest power of 1/N."""
        return self.half_orders / 2

    def _whitened(self, tensor: Array) -> Array:
        """Return the cumulants of L^{-1}(φ - μ), where the covariance is L Lᵀ: there Hermite polynomials factorise."""
        inverse = linalg.solve_triangular(self._root, np.eye(self.points), lower=True)
        for _ in range(tensor.ndim):
            tensor = np.tensordot(tensor, inverse, axes=(0, 1))  # the new axis comes last: a full turn in the end
        return tensor

    def _white(self, x: Any) -> Array:
        """Return L^{-1}(x - μ), (k, m)."""
        array = inputs.real_array("x", x)
        if self.points == 1 and array.ndim == 1:
            array = array[:, None]
        if array.ndim != 2 or array.shape[1] != self.points:
            wanted = "(k,) or (k, 1)" if self.points == 1 else f"(k, {self.points})"
            raise BadInput(f"x: expected shape {wanted}, got {array.shape}")
        found: Array = linalg.solve_triangular(self._root, (array - self.mean).T, lower=True).T
        if np.any(np.abs(found) > _FARTHEST):
            raise BadInput(f"x: expected points within {_FARTHEST:g} standard deviations of the mean")
        return np.ascontiguousarray(found)

    def terms(self, x: Any) -> Array:
        """Return the parts q_j of p/p_0 at x, shape (2·order + 1, k): entry j is of order N^{-j/2}, entry 0 is 1."""
        white = self._white(x)
        return np.array([_series(part, white) for part in self._coefficients])

    def density(self, x: Any) -> Array:
        """Return p(x), shape (k,), for x (k,) at one point or (k, m); ``edgeworth.density``, ``edgeworth.group``.

        It integrates to 1 at every order and is not always positive.
        """
        found: Array = np.exp(self._free(self._white(x))) * self.terms(x).sum(axis=0)
        return found

    def log_density(self, x: Any) -> Array:
        """Return ln p(x), (k,), itself expanded to the order; ``edgeworth.log_density``, ``edgeworth.logarithm``.

        It exists where the density of the same order is negative; the two differ by the first omitted order.
        """
        free = self._free(self._white(x))
        if self.half_orders == 0:
            return free
        with deriving():
            formula = series.logarithm(self.half_orders, self.odd, self.counting)
        terms = self.terms(x)
        if not formula.args:
            return free
        found: Array = compile_formula(formula)(*(terms[int(str(argument)[2:])] for argument in formula.args))
        return free + found

    def action(self, x: Any) -> Array:
        """Return S(x), (k,), of p ∝ e^{-S}, with S = 0 at the mean: what ``couplings`` expand in powers of x - mean."""
        found: Array = self.log_density(self.mean[None, :])[0] - self.log_density(x)
        return found

    def cdf(self, x: Any) -> Array:
        """Return P(f <= x), (k,), at one point; ``edgeworth.distribution``."""
        if self.points != 1:
            raise BadInput(f"cdf: expected cumulants at one point, got {self.points} points")
        found: Array = self._compiled("distribution")(self._white(x)[:, 0])
        return found

    def _compiled(self, kind: str) -> Any:
        """Return a one-point formula as a function of the standardised field."""
        scale = float(self._root[0, 0])
        values = [self._values[n] / scale**n for n in sorted(self._values)]
        evaluate = compile_formula(self.formula(kind))
        return lambda z: evaluate(z, 0.0, 1.0, *values)

    def formula(self, kind: str = "density") -> Formula:
        """Return the formula behind the numbers, with its derivation.

        ``kind``: "density", "log_density" or "distribution" at one point; at any number, "group" (what the last order adds,
        in operators P_n) and "logarithm".

        >>> Edgeworth({2: 1.0, 4: 0.3, 6: 0.1}).formula("group").latex()
        '[\\\\exp \\\\sum_n P_n]_{N^{-2}} = \\\\frac{P_{4}^{2}}{2} + P_{6}'
        """
        kind = inputs.choice("kind", kind, tuple(_FORMULAS))
        if self.points != 1 and kind not in ("group", "logarithm"):
            raise BadInput(f'kind: at {self.points} points expected "group" or "logarithm", got "{kind}"')
        with deriving():
            return _FORMULAS[kind](self.half_orders, self.odd, self.counting)

    def _free(self, white: Array) -> Array:
        """Return ln p_0."""
        scale = float(np.sum(np.log(np.diag(self._root))))
        found: Array = -0.5 * np.sum(white**2, axis=1) - 0.5 * self.points * math.log(2.0 * math.pi) - scale
        return found


def _half_orders(order: Any, odd: bool) -> int:
    """Return twice the order; BadInput, with the orders there are, for another."""
    steps = range(0, series.HIGHEST + 1, 1 if odd else 2)
    try:
        number = inputs.real("order", order)
    except BadInput:
        number = math.nan
    if 2 * number not in steps:
        accepted = ", ".join(f"{half / 2:g}" for half in steps)
        hint = "" if odd else "; half-integers with odd cumulants only"
        raise BadInput(f"order: expected one of {accepted}, got {order!r}{hint}")
    return int(2 * number)


def _tensor(n: int, value: Any, points: int | None) -> Array:
    """Return the n-th cumulant as a symmetric tensor (m,)·n; a number is one point."""
    array = inputs.real_array(f"cumulants[{n}]", value)
    if array.ndim == 0:
        array = array.reshape((1,) * n)
    size = len(array) if points is None else points
    if array.shape != (size,) * n or size == 0:
        raise BadInput(
            f"cumulants[{n}]: expected shape {(size,) * n}{' or a number' if size == 1 else ''}, got {array.shape}"
        )
    scale = float(np.max(np.abs(array)))
    for axis in range(n - 1):
        if np.max(np.abs(array - np.swapaxes(array, axis, axis + 1))) > _SYMMETRIC * scale:
            raise BadInput(f"cumulants[{n}]: expected a tensor symmetric in all its {n} indices")
    return array


def _root(covariance: Array) -> Array:
    """Return the Cholesky factor, or say how singular the covariance is and between which points."""
    values = linalg.eigvalsh(covariance)
    if values[0] < -values[-1] / _SINGULAR:
        raise NotPositiveDefinite(
            f"cumulants[2]: expected a positive definite covariance, its smallest eigenvalue is {values[0]:.3g}"
        )
    if values[0] <= 0.0 or values[-1] > _SINGULAR * values[0]:
        condition = values[-1] / values[0] if values[0] > 0.0 else math.inf
        message = f"cumulants[2]: expected a positive definite covariance, its condition number is {condition:.1e}"
        spread = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        for i, j in itertools.combinations(range(len(covariance)), 2):
            if abs(covariance[i, j]) >= (1.0 - 1e-12) * spread[i] * spread[j]:
                raise NotPositiveDefinite(f"{message}; points {i} and {j} are fully correlated (a repeated point?)")
        raise NotPositiveDefinite(message)
    found: Array = linalg.cholesky(covariance, lower=True)
    return found


def _polynomial(tensor: Array) -> Array:
    """Return G^{(n)}·tⁿ/n! as coefficients of t_1^{a_1} … t_m^{a_m}, an array of n + 1 entries along each axis."""
    n, size = tensor.ndim, len(tensor)
    found = np.zeros((n + 1,) * size)
    powers = np.zeros((entries(size, n), size), dtype=np.int64)
    for indices in sorted_tuples(size, n).T:
        powers[np.arange(len(powers)), indices] += 1
    factorials = np.array([math.factorial(k) for k in range(n + 1)], dtype=np.float64)
    found[tuple(powers.T)] = packed(tensor) / np.prod(factorials[powers], axis=1)
    return found


def _evaluated(group: sp.Expr, vertices: Mapping[sp.Symbol, Array], points: int) -> Array:
    """Return a polynomial in the operators P_n as a polynomial in t."""
    symbols = tuple(vertices)
    terms = sp.Poly(group, *symbols).terms() if symbols else [((), group)]
    products = []
    for powers, factor in terms:
        product = np.full((1,) * points, float(factor))
        for symbol, power in zip(symbols, powers, strict=True):
            for _ in range(power):
                product = signal.convolve(product, vertices[symbol], method="direct")
        products.append(product)
    size = max(len(product) for product in products)
    return sum((np.pad(product, (0, size - len(product))) for product in products), np.zeros((size,) * points))


def _series(coefficients: Array, white: Array) -> Array:
    """Return Σ c_a He_{a_1}(z_1) … He_{a_m}(z_m) at each row of ``white`` (k, m)."""
    top = len(coefficients) - 1
    hermite = np.empty((top + 1, *white.shape))
    hermite[0] = 1.0
    for n in range(top):
        hermite[n + 1] = white * hermite[n] - (n * hermite[n - 1] if n else 0.0)
    found = np.tensordot(hermite[:, :, 0].T, coefficients, axes=(1, 0))
    for axis in range(1, white.shape[1]):
        found = np.einsum("ki...,ik->k...", found, hermite[:, :, axis])
    return found
