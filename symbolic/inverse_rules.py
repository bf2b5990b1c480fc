"""Which action has these cumulants? Inverse Feynman rules: couplings as sums of connected diagrams, order by order in 1/N.

P[φ] = exp(Σ_{n>=3} (-1)^n/n! G_c^{(n)}·∂^n) e^{-½φΔφ}, equation (40) of arXiv:2405.17538, is a Gaussian integral over a
shift with cumulants G_c^{(n)}; so ln P is a sum of connected diagrams with vertices G_c^{(n)}, external legs Δφ and internal
lines -Δ, each over its symmetry factor (Sec. 3.2 of Demirtas et al., arXiv:2307.03223), and S = -ln P.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from numbers import Integral
from typing import Any

import sympy as sp

from fieldflow.symbolic.contraction import G2, Contraction, cumulant
from fieldflow.symbolic.counting import check, cumulant_order, degrees
from fieldflow.symbolic.errors import BadInput
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.multigraph import Multigraph, connected_graphs
from fieldflow.symbolic.reference import Reference

PAPER = "howard2024bayesian"
INVERSE_RULES = "demirtas2024neural"

field = sp.Symbol("phi", real=True)
_small = sp.Symbol("epsilon", positive=True)


@dataclass(frozen=True)
class Term:
    """One diagram of an action: its graph, the power of 1/N at which it enters, and its weight.

    >>> [(term.graph.degrees, term.weight) for term in action_terms(4, 1)]
    [((4,), -1/24)]
    """

    graph: Multigraph
    order: Fraction

    @property
    def weight(self) -> sp.Rational:
        """-(-1)^{lines}/symmetry factor, the coefficient of the contraction in g_r."""
        return -sp.Rational((-1) ** len(self.graph.edges), self.graph.symmetry_factor)


def vertex_orders(order: int, *, odd: bool, counting: str) -> dict[int, Fraction]:
    """Return the cumulants n >= 3 that enter up to N^{-order}, and at which order each does.

    >>> vertex_orders(2, odd=True, counting="trained")
    {3: Fraction(1, 1), 4: Fraction(1, 1), 5: Fraction(2, 1), 6: Fraction(2, 1)}
    """
    every = range(3, 2 * order + 3) if odd else range(4, 2 * order + 3, 2)
    return {n: power for n in every if (power := cumulant_order(n, counting)) <= order}


def action_terms(legs: int, order: int, *, odd: bool = False, counting: str = "iid") -> tuple[Term, ...]:
    """Return every diagram of g_legs up to N^{-order}, lowest orders and fewest vertices first."""
    return _action_terms(legs, check(order, odd, counting), odd, counting)


@cache
def _action_terms(legs: int, order: int, odd: bool, counting: str) -> tuple[Term, ...]:
    known = vertex_orders(order, odd=odd, counting=counting)
    powers = [Fraction(halves, 2) for halves in range(1, 2 * order + 1)]
    return tuple(
        Term(graph, power)
        for power in powers
        for vertices in sorted(degrees(power, known), key=lambda found: (len(found), found))
        for graph in connected_graphs(legs, vertices)
    )


def largest_legs(order: int) -> int:
    """Return the largest r for which g_r has a diagram at N^{-order}: that of the single vertex G_c^{(r)}."""
    return 2 * order + 2


def checked_legs(legs: object, order: int, *, odd: bool, fewest: int) -> int:
    """Return the number of legs; BadInput unless g_legs can have a diagram at this (checked) order."""
    most = largest_legs(order)
    accepted = f"expected an integer from {fewest} to {most} at order {order}"
    if isinstance(legs, bool) or not isinstance(legs, Integral) or legs < fewest:
        raise BadInput(f"legs: {accepted}, got {legs!r}")
    count = int(legs)
    if count % 2 and not odd:
        raise BadInput(f"legs: g_{count} vanishes without odd cumulants; give odd=True")
    if count > most:
        start = (count + 1) // 2 - 1
        raise BadInput(f"legs: {accepted}, got {count}: diagrams with {count} legs start at order {start}")
    return count


@cache
def one_point_action(order: int, odd: bool, counting: str) -> sp.Expr:
    """Return -ln P + ln P_0 at one mesh point by direct expansion of (40) in 1/N: no diagrams, Hermite polynomials.

    (-∂)^n e^{-φ²/2G} = He_n e^{-φ²/2G}, with He_{n+1} = (φ/G) He_n - He_n'; ε² counts 1/N, so that half-integer powers are whole.
    """
    known, top = vertex_orders(order, odd=odd, counting=counting), 2 * order
    names = [_small, field, _precision, *map(cumulant, known)]
    polynomials, small, phi, precision, *kappa = sp.ring([str(name) for name in names], sp.QQ)
    hermite = [polynomials.one]
    for _ in range(top * max(known)):
        hermite.append(phi * precision * hermite[-1] - hermite[-1].diff(phi))
    # Σ_k (Σ_n ε^… κ_n t^n/n!)^k/k!, a polynomial in t kept as its list of coefficients.
    terms = {n: kappa[i] * small ** int(2 * power) / sp.factorial(n) for i, (n, power) in enumerate(known.items())}
    term, ratio = {0: polynomials.one}, polynomials.zero
    for k in range(1, top + 1):
        term = _times(term, terms, top)
        ratio += sum((value * hermite[n] for n, value in term.items()), polynomials.zero) / sp.factorial(k)
    power, logarithm = polynomials.one, polynomials.zero
    for k in range(1, top + 1):
        power = _truncated(power * ratio, top)
        logarithm += power * sp.QQ((-1) ** (k + 1), k)
    return -logarithm.as_expr(*names).subs(_precision, 1 / G2)


_precision = sp.Symbol("Delta", positive=True)


def _times(left: dict[int, Any], right: dict[int, Any], top: int) -> dict[int, Any]:
    """Return the product of two polynomials in t, without powers of ε above ``top``."""
    found: dict[int, Any] = {}
    for m, a in left.items():
        for n, b in right.items():
            found[m + n] = found.get(m + n, 0) + _truncated(a * b, top)
    return {n: value for n, value in found.items() if value}


def _truncated(poly: Any, top: int) -> Any:
    """Return the terms up to ε^top."""
    return poly.ring.from_dict({powers: value for powers, value in poly.items() if powers[0] <= top})


def coupling_formula(legs: int, order: int, *, odd: bool = False, counting: str = "iid") -> Formula:
    r"""Return g_legs of S = ½φΔφ + Σ_r g_r φ^r (no 1/r!) up to N^{-order}, as a sum of contractions of cumulants.

    Equation (42) of arXiv:2405.17538 by the inverse rules, with g_2 the shift of the quadratic form.  The compiled form
    is that of one mesh point; on a mesh use ``fieldflow.couplings``.

    Parameters
    ----------
    legs : int
        r >= 1; odd r needs ``odd``.
    order : int
        Highest power of 1/N: 1 to 4, with odd cumulants 1 to 3 ("trained") or 2 ("iid").
    odd : bool
        Whether the ensemble has odd cumulants.
    counting : {"iid", "trained"}
        κ_n ~ N^{1-n/2}, or N^{1-⌈n/2⌉}.

    Raises
    ------
    BadInput
        For an order beyond what is offered, or a coupling without a diagram.

    >>> coupling_formula(4, 1).latex()
    'g_{4} = - \\frac{1}{24} \\hat{G}^{(4)}_{1234}'
    """
    order = check(order, odd, counting)
    return _coupling_formula(checked_legs(legs, order, odd=odd, fewest=1), order, odd, counting)


@cache
def _coupling_formula(legs: int, order: int, odd: bool, counting: str) -> Formula:
    terms = action_terms(legs, order, odd=odd, counting=counting)
    expr = sp.Add(*(term.weight * Contraction.of(term.graph, term.order) for term in terms))
    scalar = sp.Add(*(term.weight * Contraction.of(term.graph).doit() for term in terms))
    used = [2, *vertex_orders(order, odd=odd, counting=counting)]
    kind = f", {counting} counting" if odd else ""
    return Formula(
        name=f"action.g{legs}",
        lhs=sp.Symbol(f"g_{legs}"),
        expr=expr,
        args=tuple(cumulant(n) for n in used if cumulant(n) in expr.free_symbols),
        domain="S = phi Delta phi/2 + sum over r of g_r phi^r, no 1/r!; repeated indices are summed over the mesh; Sym is the "
        f"average over distinct permutations of the legs{kind}",
        validity=f"order 1/N^{order}",
        references=(Reference(PAPER, "Eqs. (40), (42), (43)"), Reference(INVERSE_RULES, "Sec. 3.2")),
        steps=_steps(legs, order, odd, counting, scalar),
        numerical=scalar,
    )


def _steps(legs: int, order: int, odd: bool, counting: str, scalar: sp.Expr) -> tuple[Step, ...]:
    expansion = one_point_action(order, odd, counting).subs(_small, 1)
    direct = sp.Poly(expansion, field).coeff_monomial(field**legs)
    powers = range(1 if odd else 2, largest_legs(order) + 1, 1 if odd else 2)
    action = field**2 / (2 * G2) + sp.Add(*(sp.Symbol(f"g_{r}") * field**r for r in powers))
    return (
        definition(sp.Symbol("S"), action,
                   "one mesh point; g_r is minus the sum of connected diagrams with r legs Delta phi in ln P (linked clusters): "
                   "vertices G_n, internal lines -Delta, each over its symmetry factor"),
        step(direct, scalar, f"the coefficient of phi^{legs} without diagrams, (40) expanded in Hermite polynomials, is the sum of "
             "the diagrams"),
    )  # fmt: skip


def _catalogued(legs: int) -> Callable[[], Formula]:
    """Return the builder of ``action.g{legs}``: even ensembles to N^{-2}; g_1 and g_3 of trained ones to 1/N."""
    if legs % 2:
        return partial(coupling_formula, legs, 1, odd=True, counting="trained")
    return partial(coupling_formula, legs, 2)


FORMULAS: dict[str, Callable[[], Formula]] = {f"action.g{legs}": _catalogued(legs) for legs in (1, 2, 3, 4, 6)}
