"""Which effective field theory do networks at initialisation have? Correlators, couplings and β functions of NN-QFT.

One hidden layer, f = W¹σ(W⁰x + b⁰) + b¹ of Halverson, Maiti and Stoner (arXiv:2008.08601), with the exact correlators of any
width beside the perturbation theory of S = S_GP + ∫_{[-L,L]^d} [λf⁴ + κf⁶].
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.polynomial.legendre import leggauss

from fieldflow import inputs
from fieldflow.cumulants import connected
from fieldflow.errors import BadInput, InaccurateResult
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.kernels import nngp
from fieldflow.network import MLP
from fieldflow.numeric.symmetric import packed, sorted_tuples, unpacked

ACTIVATIONS = ("relu", "erf", "gauss")
"""ReLU without biases, Erf and Gauss with σ_b = 1: the three networks of the slides."""

INPUTS = {
    "relu": (0.2, 0.4, 0.6, 0.8, 1.0, 1.2),
    "erf": (-1.0, -0.6, -0.2, 0.2, 0.6, 1.0),
    "gauss": (-0.01, -0.006, -0.002, 0.002, 0.006, 0.01),
}
"""The six inputs in d = 1."""

_NODES = {1: (16, 32, 64, 128), 2: (12, 24, 48, 96), 3: (6, 12, 24, 48)}
"""Gauss-Legendre nodes per panel and axis, raised until the integral settles."""

_ACCURACY = {1: 1e-10, 2: 1e-8, 3: 1e-6}
"""Relative to the largest tuple; where y is opposite to an input, a ReLU kernel has a kink in its third derivative."""


_SLAB = 2**17
"""Points of the box at which the kernel is taken at a time."""


@dataclass(frozen=True)
class NNQFT:
    """One of the three networks at initialisation, at its inputs.

    Parameters
    ----------
    activation : {"relu", "erf", "gauss"}
        "gauss" is exp(Wx + b)/√exp[2(σ_b² + σ_W²x²/d)].
    points : array_like (m, d), optional
        Inputs; those of the slides (d = 1) by default.
    sigma_w : float
        σ_W of both layers.
    sigma_b : float, optional
        σ_b of both biases; 0 for "relu", 1 otherwise by default.

    Raises
    ------
    BadInput

    >>> theory = NNQFT("relu")
    >>> theory.deviation(4, width=10)[:2].round(12).tolist()  # 5/N for every 4-tuple
    [0.5, 0.5]
    >>> round(float(theory.coupling(width=10, box=2.0)[0]), 10)  # -12.5/(N L^5)
    -0.0390625
    """

    activation: str
    points: Any = None
    sigma_w: float = 1.0
    sigma_b: float | None = None

    def __post_init__(self) -> None:
        inputs.choice("activation", self.activation, ACTIVATIONS)
        given = np.array(INPUTS[self.activation])[:, None] if self.points is None else self.points
        array = inputs.real_array("points", given)
        if array.ndim != 2 or array.size == 0 or array.shape[1] > len(_NODES):
            raise BadInput(f"points: expected shape (m, d) with d = 1, 2 or 3, got {array.shape}")
        array = np.array(array)
        array.setflags(write=False)
        object.__setattr__(self, "points", array)
        inputs.real("sigma_w", self.sigma_w, minimum=0.0, strict=True)
        bias = (0.0 if self.activation == "relu" else 1.0) if self.sigma_b is None else self.sigma_b
        object.__setattr__(self, "sigma_b", inputs.real("sigma_b", bias, minimum=0.0))

    @property
    def d(self) -> int:
        """Input dimension."""
        return int(self.points.shape[1])

    def network(self, width: int) -> MLP:
        """Return the network of width N; "gauss" is "exp" with ``scale`` (x) in front of the hidden units."""
        name = "exp" if self.activation == "gauss" else self.activation
        return MLP(self.d, widths=(width,), activation=name, sigma_w=self.sigma_w, sigma_b=self.sigma_b)

    def scale(self, x: Array) -> Array:
        """Return the factor of each point that the Gauss-net's activation has beside exp(z); 1 for the others."""
        if self.activation != "gauss":
            return np.ones(len(x))
        bias = float(self.sigma_b or 0.0)
        found: Array = np.exp(-(bias**2) - self.sigma_w**2 * np.sum(x**2, axis=1) / self.d)
        return found

    def kernel(self, x: Array, y: Array) -> Array:
        """Return K_W(x, y) = K - σ_b² at infinite width, (n1, n2), which is that of any width."""
        if self.activation == "gauss":
            distance = np.sum((x[:, None] - y) ** 2, axis=2)
            found: Array = compiled("nngp.gaussnet")(distance, self.d, self.sigma_w)
            return found
        net = self.network(1)
        return nngp(net, x, y) - net.sigma_b[-1] ** 2

    def propagator(self) -> Array:
        """Return K at the points, (m, m), the read-out bias included."""
        return self.kernel(self.points, self.points) + float(self.sigma_b or 0.0) ** 2

    def connected(self, n: int, width: int) -> Array:
        """Return G_c^{(n)} of all sorted n-tuples at width N, (tuples,), n = 1 … 8: exact, N^{1-n/2} times that of one unit.

        It vanishes for odd n.
        """
        width, n = inputs.integer("width", width, minimum=1), _legs(n)
        if n not in self._units:
            factor = self.scale(self.points)
            self._units[n] = packed(connected(self.network(1), self.points, n, normalisation=factor))
        return self._units[n] * float(width) ** (1 - n // 2)

    @cached_property
    def _units(self) -> dict[int, Array]:
        return {}

    def exact(self, n: int, width: int) -> Array:
        """Return E[f(x_1)…f(x_n)] of all sorted n-tuples at width N, (tuples,), n = 4 or 6: exact."""
        n = _four_or_six(n)
        fourth = self.connected(4, width)
        if n == 4:
            return self.gaussian(4) + fourth
        return self.with_connected(fourth) + self.connected(6, width)

    def gaussian(self, n: int) -> Array:
        """Return the Wick sums of K over all sorted n-tuples, (tuples,): the infinitely wide network."""
        return wick_sum(self.propagator(), sorted_tuples(len(self.points), _legs(n)))

    def deviation(self, n: int, width: int) -> Array:
        """Return m_n = (G - G_GP)/G_GP of all sorted n-tuples, (tuples,); BadInput where G_GP vanishes."""
        n = _four_or_six(n)
        limit = self._nonzero("the free n-point function", self.gaussian(n), n)
        return self.exact(n, width) / limit - 1.0

    def vertex(self, n: int, box: float, power: int = 0) -> Array:
        """Return I(L) = ∫_{[-L,L]^d} d^dy ∏ K_W(x_i, y) of all sorted n-tuples, (tuples,); with (|y|/L)^power under it.

        Raises
        ------
        BadInput
            For a box that does not hold the inputs.
        InaccurateResult
            If Gauss-Legendre rules do not settle.
        """
        box = self._box(box)
        points = sorted_tuples(len(self.points), _legs(n))
        rules = _NODES[self.d]
        last = self._vertex(points, box, rules[0], power)
        for nodes in rules[1:]:
            value = self._vertex(points, box, nodes, power)
            if np.max(np.abs(value - last)) <= _ACCURACY[self.d] * np.max(np.abs(value)):
                return value
            last = value
        raise InaccurateResult(f"box: the integral over |y| <= {box:g} did not settle with {rules[-1]} nodes per panel")

    def _box(self, box: Any) -> float:
        half = inputs.real("box", box, minimum=0.0, strict=True)
        largest = float(np.max(np.abs(self.points)))
        if largest > half:
            raise BadInput(f"box: expected at least {largest:g}, the largest input, got {half:g}")
        return half

    def _vertex(self, points: Any, box: float, nodes: int, power: int) -> Array:
        """Return the integrals with one rule, slab by slab of the first axis: in d = 3 the grid has millions of points."""
        first, first_weights = _grid(1, box, nodes, 1.0 / self.sigma_w)
        rest, rest_weights = _grid(self.d - 1, box, nodes, 1.0 / self.sigma_w)
        depth = max(1, _SLAB // len(rest))
        total = np.zeros(len(points))
        for start in range(0, len(first), depth):
            slab, slab_weights = first[start : start + depth], first_weights[start : start + depth]
            y = np.column_stack([np.repeat(slab, len(rest), axis=0), np.tile(rest, (len(slab), 1))])
            weights = np.outer(slab_weights, rest_weights).reshape(-1) * (np.linalg.norm(y, axis=1) / box) ** power
            columns = self.kernel(self.points, y)
            total += np.array([np.prod(columns[index], axis=0) @ weights for index in points])
        return total

    def coupling(self, width: int, box: float) -> Array:
        """Return λ_4 of all sorted 4-tuples at width N in the box, (tuples,): ``nnqft.lambda`` with exact correlators.

        BadInput where the integral over the box vanishes, a pole of λ_4: tuples of ReLU units without biases that no y reaches.
        """
        volume = self._nonzero("the integral over the box", self.vertex(4, box), 4)
        found: Array = compiled("nnqft.lambda")(self.exact(4, width), self.gaussian(4), volume)
        return found

    def _nonzero(self, what: str, values: Array, n: int) -> Array:
        """Return the values of all sorted n-tuples; BadInput naming the first tuple where they vanish."""
        zero = np.flatnonzero(np.abs(values) <= 1e-14 * np.max(np.abs(values)))
        if len(zero):
            tuple_ = sorted_tuples(len(self.points), n)[zero[0]].tolist()
            raise BadInput(f"points: {what} vanishes for the points {tuple_}; expected inputs for which it does not")
        return values

    def sextic(self, width: int, box: float) -> Array:
        """Return κ of all sorted 6-tuples at width N in the box, (tuples,): ``nnqft.kappa`` with λ(x_1 … x_4) as it is."""
        volume = self._nonzero("the integral over the box", self.vertex(6, box), 6)
        found: Array = compiled("nnqft.kappa")(self.exact(6, width), self.six_point(width, box), volume)
        return found

    def beta(self, width: int, box: float) -> Array:
        """Return β = ∂λ/∂ log L of all sorted 4-tuples, (tuples,): ``nnqft.beta`` with the surface of the box exactly."""
        running = self.box_slope(box) / self._nonzero("the integral over the box", self.vertex(4, box), 4)
        found: Array = compiled("nnqft.beta")(self.coupling(width, box), running)
        return found

    def box_slope(self, box: float) -> Array:
        """Return ∂I/∂ log L of all sorted 4-tuples: L times the integral over the 2d faces of the box."""
        box = self._box(box)
        points = sorted_tuples(len(self.points), 4)
        y, weights = _grid(self.d - 1, box, _NODES[self.d][1], 1.0 / self.sigma_w)
        total = np.zeros(len(points))
        for axis in range(self.d):
            for side in (-box, box):
                face = np.insert(y, axis, side, axis=1)
                total += box * np.prod(self.kernel(self.points, face)[points], axis=1) @ weights
        return total

    def six_point(self, width: int, box: float, coupling: float | None = None) -> Array:
        """Return the six-point function to first order in λ, (tuples,): (3.19) of arXiv:2008.08601 with κ = 0.

        ``coupling`` None takes each four-point function as it is, which is a coupling of its own for every tuple.
        """
        if coupling is None:
            return self.with_connected(self.connected(4, width))
        return self.with_connected(-24.0 * inputs.real("coupling", coupling) * self.vertex(4, box))

    def with_connected(self, connected: Array, *, bare: bool = True) -> Array:
        """Return Σ_15 KKK + Σ_15 G_c^{(4)}K of all sorted 6-tuples from packed G_c^{(4)}; without ``bare`` the second sum."""
        points, line = sorted_tuples(len(self.points), 6), self.propagator()
        tensor = unpacked(connected, len(self.points), 4)
        total = self.gaussian(6) if bare else np.zeros(len(points))
        for chosen in combinations(range(6), 4):
            rest = [i for i in range(6) if i not in chosen]
            total = total + tensor[tuple(points[:, chosen].T)] * line[tuple(points[:, rest].T)]
        return total


def _legs(n: Any) -> int:
    return inputs.integer("n", n, minimum=1, maximum=8)


def _four_or_six(n: Any) -> int:
    whole = isinstance(n, (int, np.integer)) and not isinstance(n, bool)
    if not whole or n not in (4, 6):
        raise BadInput(f"n: expected 4 or 6, got {n!r}")
    return int(n)


def wick_sum(line: Array, points: Any) -> Array:
    """Return the sum over pairings of the columns of ``points`` (tuples, n) of products of ``line`` (m, m, …), (tuples, …).

    >>> wick_sum(np.eye(1), np.zeros((1, 6), dtype=int)).tolist()
    [15.0]
    """
    if points.shape[1] == 0:
        return np.ones((len(points), *line.shape[2:]))
    total = np.zeros((len(points), *line.shape[2:]))
    for other in range(1, points.shape[1]):
        rest = np.delete(points, [0, other], axis=1)
        total += line[points[:, 0], points[:, other]] * wick_sum(line, rest)
    return total


def _grid(d: int, box: float, nodes: int, scale: float) -> tuple[Array, Array]:
    """Return points (n, d) and weights of Gauss-Legendre panels on [-L, L]^d, split at 0 and where the kernel varies."""
    if d == 0:
        return np.empty((1, 0)), np.ones(1)
    inner = scale * 2.0 ** np.arange(1, 40)
    positive = np.concatenate([[0.0], inner[inner < box], [box]])
    edges = np.unique(np.concatenate([-positive, positive]))
    x, w = leggauss(nodes)
    half, middle = 0.5 * np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
    axis, weight = (middle[:, None] + half[:, None] * x).reshape(-1), (half[:, None] * w).reshape(-1)
    grid = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d)
    weights = np.prod(np.stack(np.meshgrid(*[weight] * d, indexing="ij"), axis=-1), axis=-1).reshape(-1)
    return grid, weights
