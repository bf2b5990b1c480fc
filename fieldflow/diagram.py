"""What do the diagrams of an action look like? Each with its order, symmetry factor, expression and drawing."""

from dataclasses import dataclass
from fractions import Fraction

import sympy as sp
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, PathPatch
from matplotlib.path import Path

from fieldflow import inputs
from fieldflow.symbolic import counting as orders
from fieldflow.symbolic import inverse_rules
from fieldflow.symbolic.contraction import Contraction
from fieldflow.symbolic.diagram_clutter import BLOB
from fieldflow.symbolic.diagram_layout import layout, tikz
from fieldflow.symbolic.errors import BadInput
from fieldflow.symbolic.inverse_rules import Term
from fieldflow.symbolic.multigraph import Multigraph
from fieldflow.symbolic.printing import latex


@dataclass(frozen=True)
class Diagram:
    """One connected diagram of the action: cumulants joined by two-point functions.

    Attributes
    ----------
    graph : Multigraph
        Vertices, external legs and lines.
    order : int or Fraction
        k where the diagram is of order N^{-k}.
    """

    graph: Multigraph
    order: int | Fraction

    @property
    def symmetry_factor(self) -> int:
        """Relabellings that leave the diagram as it is; the external legs are alike, too."""
        return self.graph.symmetry_factor

    @property
    def expression(self) -> sp.Expr:
        """The term of g_r: weight times contraction, a number at one mesh point (``expression.doit()``)."""
        return self.weight * Contraction.of(self.graph, self.order)

    @property
    def weight(self) -> sp.Rational:
        """-(-1)^{lines}/symmetry factor: the coefficient in g_r."""
        return Term(self.graph, Fraction(self.order)).weight

    def latex(self) -> str:
        """Return the term of g_r as LaTeX."""
        return f"{latex(self.weight)} {latex(Contraction.of(self.graph))}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def tikz(self, *, scale: float = 0.6) -> str:
        """Return the drawing as a ``tikzpicture`` environment, vertices at coordinates; needs the tikz package only."""
        return tikz(self.graph, scale=inputs.real("scale", scale, minimum=0.0, strict=True))

    def draw(self, ax: Axes | None = None) -> Axes:
        """Draw the diagram with matplotlib, on ``ax`` or on a figure of its own (``draw().figure``)."""
        if ax is not None and not isinstance(ax, Axes):
            raise BadInput(f"ax: expected matplotlib axes or None, got {ax!r}")
        if ax is None:
            ax = Figure(figsize=(2.2, 2.2), layout="constrained").add_subplot()
        drawn = layout(self.graph)
        for curve in drawn.lines:
            points = [(point.real, point.imag) for point in curve]
            ax.add_patch(PathPatch(Path(points, [Path.MOVETO, *[Path.CURVE4] * 3]), fill=False, lw=1.2))
        for start, end in drawn.legs:
            ax.plot([start.real, end.real], [start.imag, end.imag], color="black", lw=1.2)
        for place in drawn.vertices:
            ax.add_patch(Circle((place.real, place.imag), BLOB, facecolor="0.8", edgecolor="black", lw=1.2, zorder=3))
        ax.set_aspect("equal")
        ax.axis("off")
        ax.autoscale_view()
        return ax


def diagrams(legs: int, order: int, *, odd: bool = False, counting: str = "iid") -> tuple[Diagram, ...]:
    """Return every connected diagram of g_legs up to N^{-order}, lowest orders first.

    Inverse Feynman rules of equations (40)-(42) of arXiv:2405.17538: vertices G_c^{(n)}, n >= 3, self-lines allowed.

    Parameters
    ----------
    legs : int
        External legs r, 0 (the normalisation) to 2·order + 2: from r = 4 on diagrams start at order r/2 - 1.
    order : int
        Highest power of 1/N: 1 to 4, with odd cumulants 1 to 3 ("trained") or 2 ("iid").
    odd : bool
        Whether odd cumulants enter.
    counting : {"iid", "trained"}
        κ_n ~ N^{1-n/2} (independent neurons), or N^{1-⌈n/2⌉} (trained or renormalised ensembles).

    Raises
    ------
    BadInput
        For an order that is not offered, or so many legs that their diagrams start beyond it (that order is named).

    >>> [(diagram.order, diagram.symmetry_factor) for diagram in diagrams(legs=4, order=2)]
    [(1, 24), (2, 48), (2, 12), (2, 16)]
    """
    inputs.flag("odd", odd)
    order = orders.check(order, odd, counting)
    legs = inverse_rules.checked_legs(legs, order, odd=odd, fewest=0)
    terms = inverse_rules.action_terms(legs, order, odd=odd, counting=counting)
    return tuple(Diagram(term.graph, _whole(term.order)) for term in terms)


def _whole(order: Fraction) -> int | Fraction:
    return int(order) if order.denominator == 1 else order
