r"""Which correlators does a designed theory have? φ⁴ in a box around a free field of covariance K, to second order in λ.

S = ½φK^{-1}φ + λ∫_box φ⁴ (no 1/4!), the law of a network whose parameters are reweighted by e^{-O(φ_θ)}: equation (44) of
arXiv:2405.17538.  Diagrams have vertices -4!λ, lines K, and weights legs!/symmetry factor once they are averaged over
the permutations of their legs.  What the finite width of the network adds at 1/N is here, too.
"""

from collections.abc import Callable
from functools import cache
from math import factorial, prod
from typing import Any

import sympy as sp

from fieldflow.symbolic.formula import Formula, definition, step
from fieldflow.symbolic.multigraph import Multigraph, connected_graphs
from fieldflow.symbolic.reference import Reference

PAPER = "howard2024bayesian"
ORDER = 2
"""Number of vertices kept in the catalogued formulas; ``fieldflow.perturbation`` goes further on nodes."""

K = sp.Symbol("K", positive=True)
coupling = sp.Symbol("g_4", nonnegative=True)
"""λ; called as in S = Σ_r g_r φ^r."""
_field, _width = sp.Symbol("phi", real=True), sp.Symbol("N", positive=True)
_DOMAIN = "S = phi K^{-1} phi/2 + g_4 int_box phi^4, no 1/4!; Sym is the average over distinct permutations of the legs"


class LocalContraction(sp.Expr):
    """Lines K between points of the box, which are integrated over it, and external points; averaged over the legs.

    Without a vertex it is the line K(x_1, x_2) itself.
    A number at one point of unit weight, where ``doit`` writes it as a power of K.
    """

    is_commutative = True

    def __new__(cls, graph: sp.Tuple, line: sp.Symbol) -> "LocalContraction":
        found: LocalContraction = super().__new__(cls, sp.sympify(graph), line)
        return found

    @classmethod
    def of(cls, graph: Multigraph) -> "LocalContraction":
        """Return the contraction that a diagram stands for."""
        return cls(sp.sympify((graph.degrees, graph.legs, graph.lines)), K)

    @property
    def graph(self) -> Multigraph:
        """The diagram."""
        degrees, legs, lines = self.args[0]
        whole = [tuple(int(entry) for entry in part) for part in (degrees, legs)]
        return Multigraph(whole[0], whole[1], tuple(tuple(int(entry) for entry in row) for row in lines))

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the value at one point: K per line and per leg."""
        if not self.graph.degrees:
            return self.args[1]
        return self.args[1] ** (len(self.graph.edges) + self.graph.external)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        graph = self.graph
        if not graph.degrees:
            return "K(x_{1},x_{2})" if exp is None else f"K(x_{{1}},x_{{2}})^{{{exp}}}"
        names = ["y", "z", "u", "v"][: len(graph.degrees)]
        outer = [name for name, count in zip(names, graph.legs, strict=True) for _ in range(count)]
        factors = [f"K(x_{{{i}}},{name})" for i, name in enumerate(outer, start=1)]
        size = range(len(names))
        for u in size:
            for v in range(u, len(names)):
                if count := graph.lines[u][v]:
                    factors.append(f"K({names[u]},{names[v]})" + (f"^{{{count}}}" if count > 1 else ""))
        measure = r"\,".join(rf"\mathrm{{d}}{name}" for name in names)
        text = rf"\int {measure}\, {' '.join(factors)}"
        if factorial(graph.external) // prod(map(factorial, graph.legs)) > 1:
            text = rf"\operatorname{{Sym}}\left[{text}\right]"
        return rf"\left({text}\right)" if exp is None else rf"\left({text}\right)^{{{exp}}}"


def _diagrams(legs: int) -> list[tuple[sp.Expr, LocalContraction]]:
    """Return coefficient and contraction of every diagram with at most ``ORDER`` vertices."""
    return [
        (sp.Rational(factorial(legs), graph.symmetry_factor) * (-factorial(4) * coupling) ** count, LocalContraction.of(graph))
        for count in range(1, ORDER + 1)
        for graph in connected_graphs(legs, (4,) * count)
    ]  # fmt: skip


def _moment(power: int) -> sp.Expr:
    """Return Σ_k (-λ)^k/k! E[φ^{power + 4k}], φ ~ N(0, K), up to the order kept."""
    return sum(
        ((-coupling) ** k / sp.factorial(k) * sp.factorial2(power + 4 * k - 1) * K ** sp.Rational(power + 4 * k, 2)
         for k in range(ORDER + 1)),
        sp.Integer(0),
    )  # fmt: skip


def _expanded(expr: sp.Expr) -> sp.Expr:
    """Return the Taylor polynomial in λ up to the order kept."""
    found: sp.Expr = sp.series(expr, coupling, 0, ORDER + 1).removeO()
    return sp.expand(found)


def _correlator(name: str, legs: int, direct: sp.Expr, lhs: str) -> Formula:
    terms = _diagrams(legs)
    bare = LocalContraction.of(Multigraph((), (), ())) if legs == 2 else sp.Integer(0)
    scalar = bare.doit() + sum((value * part.doit() for value, part in terms), sp.Integer(0))
    rule = sp.Symbol(r"\sum \text{connected diagrams}/\text{symmetry factor}")
    return Formula(
        name=name,
        lhs=sp.Symbol(lhs),
        expr=bare + sp.Add(*(value * part for value, part in terms)),
        args=(coupling, K),
        domain=_DOMAIN,
        validity="exact",
        references=(Reference(PAPER, "Eq. (44)"),),
        derived_from=("design.schwinger_dyson",),
        steps=(
            definition(sp.Symbol(lhs) - bare, rule, "Feynman rules: vertices -4! g_4, lines K, vertices integrated over the box"),
            step(_expanded(direct), sp.expand(scalar), "at one point of unit weight: Gaussian moments, without diagrams"),
        ),
        numerical=scalar,
    )  # fmt: skip


@cache
def two_point() -> Formula:
    """Return ⟨φφ⟩ = K - 12λ∫KKK + …, every diagram to second order in λ."""
    return _correlator("design.two_point", 2, _moment(2) / _moment(0), r"G_c^{(2)}(x_1, x_2)")


@cache
def four_point() -> Formula:
    """Return ⟨φφφφ⟩_c = -24λ∫KKKK + …, every diagram to second order in λ."""
    direct = _moment(4) / _moment(0) - 3 * (_moment(2) / _moment(0)) ** 2
    return _correlator("design.four_point", 4, direct, r"G_c^{(4)}(x_1, x_2, x_3, x_4)")


@cache
def schwinger_dyson() -> Formula:
    """Return ⟨φ²⟩ = K - 4λK⟨φ⁴⟩ of one mode: exact at any coupling, and at any width with K the member's own covariance."""
    fourth = sp.Symbol("M_4", positive=True)
    weight = sp.exp(-(_field**2) / (2 * K) - coupling * _field**4)
    total = sp.diff(_field * weight, _field)
    return Formula(
        name="design.schwinger_dyson",
        lhs=sp.Symbol(r"\langle\varphi^2\rangle"),
        expr=K - 4 * coupling * K * fourth,
        args=(K, coupling, fourth),
        domain="one mode; on a mesh K(x, y) - sum over z of K(x, z) <V'(z) phi(y)>",
        validity="exact",
        references=(Reference(PAPER, "Eq. (44)"), Reference("stein1981estimation", "Lemma 1")),
        steps=(
            step(sp.expand(total / weight), 1 - _field**2 / K - 4 * coupling * _field**4,
                 "a total derivative, whose integral vanishes; multiplied by K"),
        ),
    )  # fmt: skip


@cache
def width() -> Formula:
    """Return what a kernel fluctuating around K adds to ⟨A⟩ at 1/N: C(A''/2 + A'B')/N, e^B the weight of the kernel.

    Given the hidden layer the field is Gaussian with a covariance that is an average over N units; A is the correlator and
    B = ln(Z/Z_0) of that Gaussian theory, C the variance of one unit's share (primes: derivatives along it).
    """
    spread, shift = sp.Symbol("C", positive=True), sp.Symbol("delta", real=True)
    a0, a1, a2, b1, b2 = sp.symbols("A A_1 A_2 B_1 B_2", real=True)
    found = spread * (a2 / 2 + a1 * b1) / _width
    correlator = a0 + a1 * shift + a2 * shift**2 / 2
    weight = sp.series(sp.exp(b1 * shift + b2 * shift**2 / 2), shift, 0, 3).removeO()

    def average(expr: sp.Expr) -> sp.Expr:
        # E δ = 0, E δ² = C/N; third cumulants are of order 1/N².
        poly = sp.Poly(sp.expand(expr), shift)
        return poly.coeff_monomial(1) + poly.coeff_monomial(shift**2) * spread / _width

    ratio = average(correlator * weight) / average(weight)
    inverse = sp.Symbol("epsilon", positive=True)
    expanded = sp.series(ratio.subs(_width, 1 / inverse), inverse, 0, 2).removeO()
    squared = sp.series(
        (average(correlator**2 * weight) / average(weight) - ratio**2).subs(_width, 1 / inverse), inverse, 0, 2
    )
    return Formula(
        name="design.width",
        lhs=sp.Symbol(r"\langle A \rangle - A"),
        expr=found,
        args=(a1, a2, b1, spread, _width),
        domain="one unit's share along one direction; summed over the law of a unit; to four-point functions 3 C A'^2/N of the "
        "two-point function is added",
        validity="order 1/N^1",
        derived_from=("cosnet.plane_wave", "design.schwinger_dyson"),
        steps=(
            step(sp.expand(expanded - a0), sp.expand(found.subs(_width, 1 / inverse)), "average of A e^B over that of e^B, to 1/N"),
            step(sp.expand(squared.removeO()), a1**2 * spread * inverse,
                 "variance of the two-point function over hidden layers, to 1/N: three pairings enter the four-point function"),
        ),
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {
    "design.two_point": two_point,
    "design.four_point": four_point,
    "design.schwinger_dyson": schwinger_dyson,
    "design.width": width,
}
