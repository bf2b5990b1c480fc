"""Where does perturbation theory fail? The figures and the table of the φ⁴ experiment."""

from collections.abc import Sequence

import numpy as np

from fieldflow.checks.phi4 import Phi4Case
from fieldflow.hamiltonian import Chains
from fieldflow.inputs import Array
from fieldflow.latex import number, with_error
from fieldflow.perturbation import Perturbation
from fieldflow.picture import Line, Mark, Panel, Picture, Points, Tabular
from fieldflow.reweighting import MINIMUM_EFFECTIVE, USABLE

_CURVE = 41
_COUPLING = r"coupling $\lambda$"
_ORDERS = ((1, "control", True), (2, "alternative", True), (3, "predicted", False))
"""Orders drawn, with role and whether dashed."""
_NAMES = {0: "free", 1: "one loop (first order)", 2: "second order", 3: "third order"}


def pictures(case: Phi4Case, shown: Sequence[float], chains: Chains | None, coupling: float) -> list[Picture]:
    """Return the figures; the Markov chains are at ``coupling``."""
    theory = case.free.theory
    return [
        Picture(
            "two-point",
            rf"Two-point function of $\phi^4$ theory in the box $[-{theory.box:g}, {theory.box:g}]$ from {case.free.members} "
            rf"reweighted cosine networks of width {theory.net.width} (points), the free propagator and perturbation theory "
            "at infinite width (lines). Left to right the coupling grows until perturbation theory fails.",
            [_distance_panel(case, value) for value in shown],
            columns=3,
        ),
        Picture(
            "couplings",
            "The coupling swept on the same networks. Points: reweighting, and a chain over the parameters; lines: "
            r"perturbation theory. Below: what is left of $G(0, 0)$ when orders are taken away one by one grows with "
            "one more power each (dashed: the next term alone), and the effective share of the networks; below the dotted line "
            "estimates are underpowered.",
            [*(_strength_panel(case, legs, chains, coupling) for legs in (2, 4)), _remainders(case), _effective(case)],
        ),
    ]  # fmt: skip


def _all(case: Phi4Case) -> list[float]:
    return [value for value in case.sampled if case.sampled[value].status == USABLE]


def _distance_panel(case: Phi4Case, coupling: float) -> Panel:
    theory, entry = case.free.theory, case.sampled[coupling]
    start, stop = theory.points[0, 0], theory.points[:, 0].max()
    fine = np.linspace(start, stop, _CURVE)
    curve = Perturbation(
        theory.net, theory.interaction, fine[:, None], theory.box, order=3, nodes=theory.nodes, finite_width=False
    )
    free = theory.net.propagator(np.abs(fine - start))
    series: list[Line | Points | Mark] = [Line(fine - start, free, _NAMES[0], "limit")]
    for order, role, dashed in _ORDERS:
        series.append(Line(fine - start, curve.two_point(coupling, order)[0], _NAMES[order], role, dashed))
    series.append(Points(theory.points[:, 0] - start, entry.two, entry.errors(entry.two_groups), "reweighted networks"))
    top = float(free[0])
    return Panel(
        series,
        "distance $x$ (input units)",
        r"$G(0, x)$ (output²)",
        rf"$\lambda$ = {coupling:g}",
        ylim=(-0.25 * top, 1.5 * top),
    )


def _strength_panel(case: Phi4Case, legs: int, chains: Chains | None, coupling: float) -> Panel:
    usable = _all(case)
    found = [case.sampled[value] for value in usable]
    values = np.array([(entry.two if legs == 2 else entry.four)[0] for entry in found])
    errors = np.array([entry.errors(entry.two_groups if legs == 2 else entry.four_groups)[0] for entry in found])
    grid = np.geomspace(min(usable), max(usable), 4 * _CURVE)
    series: list[Line | Points | Mark] = [
        Line(grid, case.series.correlator(legs, grid, order).reshape(len(grid), -1)[:, 0], _NAMES[order], role, dashed)
        for order, role, dashed in _ORDERS
    ]
    series.append(Points(usable, values, errors, "reweighted networks"))
    if chains is not None and chains.status == USABLE:
        estimate = chains.two_point() if legs == 2 else chains.four_point()
        place = (0,) * legs
        series.append(
            Points([coupling], [estimate.value[place]], [estimate.std_error[place]], "Markov chain", "alternative", "s")
        )
    terms = case.series.terms(2)[:, 0, 0]
    series.append(Mark(float(abs(terms[1] / terms[2])), "second term as large as the first"))
    free, low = float(case.free.theory.propagator[0, 0]), float(values.min())
    limits = (0.0, 1.4 * free) if legs == 2 else (2.0 * low, -0.8 * low)
    label = r"$G(0, 0)$ (output²)" if legs == 2 else r"$G_c^{(4)}(0, 0, 0, 0)$ (output⁴)"
    return Panel(series, _COUPLING, label, xscale="log", ylim=limits)


def _remainders(case: Phi4Case) -> Panel:
    usable = np.array(_all(case))
    values = np.array([case.sampled[value].two[0] for value in usable])
    errors = np.array([case.sampled[value].errors(case.sampled[value].two_groups)[0] for value in usable])
    terms = case.series.terms(2)[:, 0, 0]
    series: list[Line | Points | Mark] = []
    for (order, role, _), marker in zip(((0, "limit", 0), *_ORDERS[:2]), "o^D", strict=True):
        rest = np.abs(values - case.series.two_point(usable, order)[:, 0, 0])
        seen = rest > 2.0 * errors
        series.append(Points(usable[seen], rest[seen], errors[seen], f"{_NAMES[order]} taken away", role, marker))
        grid = usable[usable <= abs(terms[1] / terms[2])]
        series.append(Line(grid, _next(terms, order, grid), "", "guide", dashed=True))
    return Panel(
        series, _COUPLING, r"what is left of $G(0, 0)$ (output²)", xscale="log", yscale="log", ylim=(1e-5, 3.0),
        xlim=(usable[0] / 1.5, 1.0),
    )  # fmt: skip


def _next(terms: Array, order: int, grid: Array) -> Array:
    return np.asarray(abs(terms[order + 1]) * grid ** (order + 1))


def _effective(case: Phi4Case) -> Panel:
    values = list(case.sampled)
    shares = [case.sampled[value].effective_size / case.free.members for value in values]
    return Panel(
        [Line(values, shares, "", "predicted"), Points(values, shares, None, "effective share of the networks", "predicted"),
         Mark(MINIMUM_EFFECTIVE / case.free.members, "", vertical=False)],
        _COUPLING, r"$(\sum w)^2 / (M \sum w^2)$", xscale="log", yscale="log",
    )  # fmt: skip


def sweep_table(case: Phi4Case) -> Tabular:
    """Return what was found at each coupling, with the weights' diagnostics."""
    rows = []
    for value, entry in case.sampled.items():
        good = entry.status == USABLE
        two, four = (
            with_error(float(found[0]), float(entry.errors(groups)[0])) if good else "--"
            for found, groups in ((entry.two, entry.two_groups), (entry.four, entry.four_groups))
        )
        orders = [number(float(case.series.two_point(value, order)[0, 0])) for order in (1, 2)]
        rows.append(
            [
                number(value, 3),
                number(round(entry.effective_size), 6),
                number(entry.pareto_k, 2),
                entry.status,
                two,
                *orders,
                four,
            ]
        )
    return Tabular(
        "sweep",
        rf"Reweighted networks ($M={case.free.members}$): effective members, Pareto $\hat k$, two- and four-point function at the "
        "first point, and the first two orders of perturbation theory.",
        "rrrlrrrr",
        [
            r"$\lambda$",
            r"$M_{\mathrm{eff}}$",
            r"$\hat k$",
            "status",
            "$G(0,0)$",
            "one loop",
            "second order",
            "$G_c^{(4)}(0,0,0,0)$",
        ],
        rows,
    )
