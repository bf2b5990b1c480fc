"""Which theory was designed? A cosine network, a polynomial interaction over a box, and the points that are looked at.

O(φ) = ∫_box V(φ(x)) d^dx by Gauss-Legendre quadrature: the nodes define the theory, for samples and diagrams alike.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from fieldflow import inputs
from fieldflow.cosnet import CosNet
from fieldflow.errors import BadInput
from fieldflow.inputs import Array
from fieldflow.numeric.design import LocalInteraction

MAX_NODES = 4096
MAX_DEGREE = 12
NODES = 16
"""Nodes along each axis, by default."""


def potential(interaction: Any) -> tuple[float, ...]:
    """Return the coefficients (c_0, c_1, …) of a polynomial in one symbol that is bounded below.

    Raises
    ------
    BadInput
        If it is no real polynomial, too high a one, or unbounded below.

    >>> phi = sp.Symbol("phi", real=True)
    >>> potential(phi**4 / 8 - phi**2)
    (0.0, 0.0, -1.0, 0.0, 0.125)
    """
    if isinstance(interaction, (int, float)) and not isinstance(interaction, bool):
        interaction = sp.Float(inputs.real("interaction", interaction))
    if not isinstance(interaction, sp.Expr) or len(interaction.free_symbols) > 1:
        raise BadInput(f"interaction: expected a SymPy polynomial in one symbol, got {interaction!r}")
    symbol = next(iter(interaction.free_symbols), sp.Symbol("phi", real=True))
    poly = sp.Poly(interaction, symbol) if interaction.is_polynomial(symbol) else None
    if poly is None or not all(value.is_real for value in poly.all_coeffs()):
        raise BadInput(f"interaction: expected a polynomial with real coefficients, got {interaction}")
    found = tuple(float(value) for value in reversed(poly.all_coeffs()))
    degree = len(found) - 1
    if degree > MAX_DEGREE:
        raise BadInput(f"interaction: expected a degree of at most {MAX_DEGREE}, got {degree}")
    if degree > 0 and (degree % 2 or found[-1] < 0.0):
        raise BadInput(f"interaction: potential unbounded below: {interaction} (the leading power is odd or negative)")
    if not np.all(np.isfinite(found)):
        raise BadInput(f"interaction: expected finite coefficients, got {interaction}")
    return found


def box_nodes(box: float, nodes: int, d: int) -> tuple[Array, Array]:
    """Return Gauss-Legendre nodes (nodes^d, d) and weights of the box [-box, box]^d.

    >>> x, w = box_nodes(2.0, 3, 2)
    >>> x.shape, round(float(w @ (x[:, 0] ** 2 * x[:, 1] ** 4)), 10)
    ((9, 2), 68.2666666667)
    """
    x, w = np.polynomial.legendre.leggauss(nodes)
    grids = np.meshgrid(*[box * x] * d, indexing="ij")
    weights = np.ones(1)
    for _ in range(d):
        weights = np.outer(weights, box * w).reshape(-1)
    return np.stack([grid.reshape(-1) for grid in grids], axis=1), weights


@dataclass(frozen=True, eq=False)
class DesignedTheory:
    """The reweighted law π(θ)e^{-O(φ_θ)} of equation (44) of arXiv:2405.17538, before anything is computed.

    Parameters
    ----------
    net : CosNet
        With a width, Gaussian read-out and alpha = -1.
    interaction : SymPy expression
        V(φ), a polynomial in one symbol, bounded below.
    points : array_like (p, d)
        Inside the box.
    box : float
        Half width of the box [-box, box]^d.
    nodes : int
        Quadrature nodes along each axis.

    Raises
    ------
    BadInput
    """

    net: CosNet
    interaction: Any
    points: Any
    box: float
    nodes: int = NODES

    def __post_init__(self) -> None:
        if not isinstance(self.net, CosNet):
            raise BadInput(f"net: expected a fieldflow.CosNet, got {type(self.net).__name__}")
        if self.net.readout != "gaussian" or self.net.alpha != -1:
            raise BadInput('net: expected readout = "gaussian" and alpha = -1')
        inputs.integer("width", self.net.width, minimum=1)
        set_ = object.__setattr__
        set_(self, "points", inputs.points("points", self.points, self.net.d))
        set_(self, "box", inputs.real("box", self.box, minimum=0.0, strict=True))
        reach = float(np.max(np.abs(self.points)))
        if reach > self.box:
            raise BadInput(f"box: expected at least {reach:g}, the largest coordinate of points, got {self.box:g}")
        inputs.integer("nodes", self.nodes, minimum=1, maximum=MAX_NODES)
        if self.nodes**self.net.d > MAX_NODES:
            raise BadInput(f"nodes: expected at most {MAX_NODES} in all, got {self.nodes}**{self.net.d}")
        self.coefficients  # noqa: B018  # refuses what is no potential

    @cached_property
    def coefficients(self) -> tuple[float, ...]:
        """Coefficients (c_0, c_1, …) of V."""
        return potential(self.interaction)

    @property
    def even(self) -> bool:
        """Whether V(-φ) = V(φ), so that odd correlators vanish."""
        return not any(self.coefficients[1::2])

    @cached_property
    def quadrature(self) -> tuple[Array, Array]:
        """Nodes (m, d) and weights (m,) of the box."""
        return box_nodes(self.box, self.nodes, self.net.d)

    @cached_property
    def columns(self) -> Array:
        """Points, then nodes, as columns (d, p + m)."""
        return np.ascontiguousarray(np.concatenate([self.points, self.quadrature[0]]).T)

    @cached_property
    def propagator(self) -> Array:
        """Free two-point function (p + m, p + m) of points, then nodes."""
        x = self.columns.T
        return self.net.propagator(np.linalg.norm(x[:, None] - x, axis=2))

    def compiled(self) -> LocalInteraction:
        """Return the interaction as the compiled code takes it."""
        return LocalInteraction(self.quadrature[1], np.array(self.coefficients))

    @property
    def conventions(self) -> dict[str, str]:
        """What factors are where, in words."""
        return {
            **{name: self.net.conventions[name] for name in ("network", "fourier_transform")},
            "action": "S = ½φK⁻¹φ + ∫_box V(φ), V as given: no 1/4!",
            "box": f"[-{self.box:g}, {self.box:g}]^{self.net.d}, {self.nodes} Gauss-Legendre nodes along each axis, which define O",
            "weights": "e^{-O(φ_θ)} over parameters of the free network",
        }
