"""What does perturbation theory say of a designed theory? Correlators order by order in the interaction, and 1/N of the network.

Every connected diagram with local vertices (``design.two_point``, ``design.four_point``).  A network of finite width is a
Gaussian field whose covariance K_h fluctuates from one hidden layer to the next; ``design.width`` says what that adds at 1/N.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fieldflow import inputs
from fieldflow.cosnet import CosNet
from fieldflow.designed import NODES, DesignedTheory
from fieldflow.errors import NoClosedForm
from fieldflow.inputs import Array
from fieldflow.local_rules import LocalTheory
from fieldflow.unit_law import unit_law

MAX_ORDER = 4
WIDTH_ORDER = 3
"""Orders of the interaction that carry their 1/N."""

_STEP = 1e-3
"""Along a fluctuation of the covariance: central differences are right to its square, relative to a term of order 1/N."""

Terms = dict[int, list[Array]]


@dataclass(frozen=True, eq=False)
class Perturbation:
    """Connected correlators of ½φK⁻¹φ + coupling·∫_box V(φ), order by order in the coupling.

    Equation (44) of arXiv:2405.17538; formulas ``design.two_point``, ``design.four_point``, ``design.width``.

    Parameters
    ----------
    net : CosNet
    interaction : SymPy expression
        V(φ): a polynomial in one symbol, bounded below.
    points : array_like (p, d)
    box : float
        Half width of the box.
    order : int
        Highest number of vertices, 1 to 4.
    nodes : int
        Gauss-Legendre nodes along each axis.
    finite_width : bool
        Add the corrections of order 1/N of the network's width to the first two orders (and to order 0); d = 1, even V.

    Raises
    ------
    BadInput, NoClosedForm

    >>> import sympy as sp
    >>> net = CosNet(d=1, radius=4.0, mass=1.0, width=300)
    >>> theory = Perturbation(net, sp.Symbol("phi") ** 4, [[0.0], [0.5]], box=1.0)
    >>> theory.two_point(0.1).round(4).tolist()
    [[0.1597, 0.1243], [0.1243, 0.1604]]
    """

    net: CosNet
    interaction: Any
    points: Any
    box: float
    order: int = 2
    nodes: int = NODES
    finite_width: bool = False

    def __post_init__(self) -> None:
        inputs.integer("order", self.order, minimum=1, maximum=MAX_ORDER)
        inputs.flag("finite_width", self.finite_width)
        theory = self.theory
        if self.finite_width and (theory.net.d != 1 or theory.net.regulator != "ball" or not theory.even):
            raise NoClosedForm('finite_width: expected d = 1, regulator = "ball" and an even interaction')

    @cached_property
    def theory(self) -> DesignedTheory:
        """The theory."""
        return DesignedTheory(self.net, self.interaction, self.points, self.box, self.nodes)

    def terms(self, legs: int) -> Array:
        """Return the coefficients of coupling^0, coupling^1, …, shape (order + 1, *(p,)·legs); legs = 1 to 4."""
        legs = inputs.integer("legs", legs, minimum=1, maximum=4)
        if legs not in self._found:
            self._found[legs] = np.array([self._local.term(legs, k) for k in range(self.order + 1)])
        if not self.finite_width or legs % 2:
            return self._found[legs].copy()
        total = self._found[legs].copy()
        for k, correction in enumerate(self._corrections[legs][: self.order + 1]):
            total[k] += correction
        return total

    def correlator(self, legs: int, coupling: Any = 1.0, order: int | None = None) -> Array:
        """Return the sum up to ``order`` (default: all) at a coupling, or at an array of them (leading axis)."""
        grid = inputs.real_array("coupling", coupling)
        top = self.order if order is None else inputs.integer("order", order, maximum=self.order)
        terms = self.terms(legs)[: top + 1]
        powers = grid.reshape(-1, 1) ** np.arange(top + 1)
        return np.tensordot(powers, terms, axes=(1, 0)).reshape(grid.shape + terms.shape[1:])

    def two_point(self, coupling: Any = 1.0, order: int | None = None) -> Array:
        """Return the connected two-point function, ([couplings,] p, p)."""
        return self.correlator(2, coupling, order)

    def four_point(self, coupling: Any = 1.0, order: int | None = None) -> Array:
        """Return the connected four-point function, ([couplings,] p, p, p, p)."""
        return self.correlator(4, coupling, order)

    @cached_property
    def _found(self) -> dict[int, Array]:
        return {}

    @cached_property
    def _local(self) -> LocalTheory:
        theory = self.theory
        given = {r: value for r, value in enumerate(theory.coefficients) if r and value}
        return LocalTheory(theory.propagator, theory.quadrature[1], given)

    @cached_property
    def _corrections(self) -> Terms:
        """What order 1/N adds, by legs and order of the coupling."""
        weights, features = unit_law(self.net, self.theory.columns)
        top = min(WIDTH_ORDER, self.order) + 1
        size = len(self.theory.points)
        total: Terms = {legs: [np.zeros((size,) * legs) for _ in range(top)] for legs in (2, 4)}
        centre = self._series(self._local, top)
        for weight, feature in zip(weights / float(self.net.width or 1), features, strict=True):
            share = np.outer(feature, feature) - self.theory.propagator
            slope, bend = self._derivatives(centre, share, top)
            for legs, k in ((legs, k) for legs in (2, 4) for k in range(top)):
                total[legs][k] += 0.5 * weight * bend[legs][k]
                for i in range(k + 1):
                    total[legs][k] += weight * slope[legs][i] * float(slope[0][k - i])
                    if legs == 4:
                        total[4][k] += weight * _pairings(slope[2][i], slope[2][k - i])
        return total

    def _derivatives(self, centre: Terms, share: Array, top: int) -> tuple[Terms, Terms]:
        """Return first and second derivatives of every term along one fluctuation of the covariance."""
        ahead = self._series(self._local.moved(_STEP * share), top)
        behind = self._series(self._local.moved(-_STEP * share), top)
        slope = {
            legs: [(a - b) / (2.0 * _STEP) for a, b in zip(ahead[legs], behind[legs], strict=True)] for legs in centre
        }
        bend = {
            legs: [(a - 2.0 * c + b) / _STEP**2
                   for a, c, b in zip(ahead[legs], centre[legs], behind[legs], strict=True)]
            for legs in centre
        }  # fmt: skip
        return slope, bend

    @staticmethod
    def _series(local: LocalTheory, top: int) -> Terms:
        """Return ln Z/Z_0, two- and four-point function, order by order."""
        return {legs: [local.term(legs, k) for k in range(top)] for legs in (0, 2, 4)}


def _pairings(first: Array, second: Array) -> Array:
    """Return Σ over the three pairings of first[a, b]·second[c, d] (either may come first: ½ of both orders)."""
    product = 0.5 * (np.einsum("ab,cd->abcd", first, second) + np.einsum("ab,cd->abcd", second, first))
    total: Array = product + product.transpose(0, 2, 1, 3) + product.transpose(0, 2, 3, 1)
    return total
