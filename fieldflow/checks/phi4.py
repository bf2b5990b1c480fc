"""Does the reweighted cosine network hold φ⁴ theory? Free propagator, Schwinger-Dyson, perturbation theory, and a Markov chain.

Estimates at all couplings come from the same networks, so joint statements use the covariance of group means of influence values
(Hotelling's T²).  What perturbation theory leaves out - the next order, and 1/N² - enters the covariance as one more direction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fieldflow.checks.record import ASYMPTOTIC, EXACT, LITERATURE, Check, Family, Source, row
from fieldflow.formulas import derive
from fieldflow.hamiltonian import Chains
from fieldflow.inputs import Array
from fieldflow.numeric.importance import group_means
from fieldflow.numeric.statistics import chi2_shift, hotelling
from fieldflow.perturbation import Perturbation
from fieldflow.reweighting import USABLE, Reweighted

GROUPS = 400
"""Groups of members (or batches of chains) behind a covariance, at most."""

RESOLVED = 1e-2
"""Directions of the cells' correlation matrix below this eigenvalue are not judged: cells of nearby points and couplings on the
same networks differ there by less than what products of errors, of order 1/members, are worth."""

_NEXT = 1.5
"""Ratios of successive coefficients grow: the first one left out is bounded by this times the last ratio."""


@dataclass(frozen=True)
class Comparison:
    """One joint comparison: cells with names, values, influence means per group, predictions and their controls."""

    names: Sequence[str]
    values: Array
    groups: Array
    predicted: Array
    controls: Mapping[str, Array]
    uncertain: Array
    """What the prediction leaves out, an amplitude per cell, taken as one standard error of one direction."""

    def family(self, source: Source, members: int, *, gates: bool = True) -> Family:
        """Return the family, not yet judged."""
        count = len(self.groups)
        covariance = np.cov(self.groups, rowvar=False).reshape(len(self.values), -1) / count
        whole = covariance + np.outer(self.uncertain, self.uncertain)
        statistic, rank, p_value = hotelling(
            self.values - self.predicted, whole, count, tolerance=RESOLVED, bounds=bool(np.any(self.uncertain))
        )
        shifts = {
            name: chi2_shift(*hotelling(self.values - wrong, whole, count, tolerance=RESOLVED)[:2])
            for name, wrong in self.controls.items()
        }
        errors, first = np.sqrt(np.diag(covariance)), next(iter(self.controls.values()))
        rows = tuple(
            row(source, name, float(self.predicted[i]), float(self.values[i]), float(errors[i]), members,
                prediction_std_error=abs(float(self.uncertain[i])), control=float(first[i]))
            for i, name in enumerate(self.names)
        )  # fmt: skip
        return Family(source.family, source.claim, gates, statistic, rank, p_value, shifts, rows)


@dataclass(frozen=True)
class Phi4Case:
    """A sampled theory with its perturbation theory, and the couplings at which it is looked at."""

    label: str
    free: Reweighted
    series: Perturbation
    limit: Perturbation
    """The same at infinite width."""
    weak: tuple[float, ...]
    sweep: tuple[float, ...]

    @property
    def size(self) -> int:
        """Number of points."""
        return len(self.free.theory.points)

    @property
    def pairs(self) -> np.ndarray:
        """The first point with every other."""
        return np.array([(0, j) for j in range(self.size)], dtype=np.int64)

    @property
    def quadruples(self) -> np.ndarray:
        """All at the first point, two there and two at the last, all at the last."""
        last = self.size - 1
        return np.array([(0, 0, 0, 0), (0, 0, last, last), (last,) * 4], dtype=np.int64)

    @cached_property
    def sampled(self) -> dict[float, "Sampled"]:
        """What was found at each coupling."""
        return {value: Sampled.of(self, value) for value in sorted({*self.weak, *self.sweep})}

    @property
    def groups(self) -> int:
        """Number of groups of members."""
        return min(GROUPS, self.free.members // 8)

    def unusable(self, couplings: Sequence[float]) -> list[float]:
        """Return the couplings at which the weights are not to be trusted."""
        return [value for value in couplings if self.sampled[value].status != USABLE]

    def left_out(self, legs: int, cells: np.ndarray, coupling: float) -> Array:
        """Return an amplitude for the next order and for 1/N² of the orders kept, at cells (k, legs)."""
        at = tuple(cells.T)
        whole, limit = (part.terms(legs)[(slice(None), *at)] for part in (self.series, self.limit))
        top = self.series.order
        following = _NEXT * whole[top] ** 2 / np.abs(whole[top - 1]) * coupling ** (top + 1)
        squared = (whole - limit)[1:] ** 2 / np.abs(limit[1:])
        powers = coupling ** np.arange(1, top + 1)
        return np.asarray(np.hypot(following, powers @ squared))


@dataclass(frozen=True)
class Sampled:
    """Estimates at one coupling with group means of their influence values; the Schwinger-Dyson cells have mean zero."""

    coupling: float
    status: str
    effective_size: float
    pareto_k: float
    two: Array
    two_groups: Array
    four: Array
    four_groups: Array
    dyson: Array
    dyson_groups: Array
    dyson_control: Array

    @classmethod
    def of(cls, case: Phi4Case, coupling: float) -> "Sampled":
        """Return the estimates of a case at a coupling."""
        theory = case.free.at(coupling)
        two, two_influence = theory.two_point_samples(case.pairs)
        four, four_influence = theory.four_point_samples(case.quadruples)
        dyson = theory.schwinger_dyson_samples()
        wrong = theory.schwinger_dyson_samples(factor=0.25).mean(axis=0)
        count = max(2, case.groups)
        return cls(
            coupling, theory.status, theory.effective_size, theory.pareto_k,
            two, group_means(two_influence, count), four, group_means(four_influence, count),
            dyson.mean(axis=0), group_means(dyson, count), wrong,
        )  # fmt: skip

    def errors(self, groups: Array) -> Array:
        """Return standard errors (cells,) from group means."""
        return np.asarray(groups.std(axis=0, ddof=1) / np.sqrt(len(groups)))


def free_propagator(case: Phi4Case) -> Family:
    """Return the two-point function without interaction against the propagator: exact at any width."""
    source = Source(f"{case.label}/free", EXACT, "Eq. (44), O = 0", derive("cosnet.propagator_d1").digest)
    fields, pairs = case.free.sample.fields, case.pairs
    products = fields[:, pairs[:, 0]] * fields[:, pairs[:, 1]]
    predicted = case.free.theory.propagator[0, : case.size]
    return Comparison(
        [f"G(x_1, x_{j + 1})" for j in range(case.size)], products.mean(axis=0), group_means(products, case.groups),
        predicted, {"without the half of the phase average": 2.0 * predicted}, np.zeros(case.size),
    ).family(source, case.free.members)  # fmt: skip


def schwinger_dyson(case: Phi4Case) -> Family:
    """Return the Schwinger-Dyson equation at every usable coupling of the sweep: exact at any width and coupling."""
    source = Source(f"{case.label}/schwinger-dyson", EXACT, "Eq. (44)", derive("design.schwinger_dyson").digest)
    found = [case.sampled[value] for value in case.sweep if case.sampled[value].status == USABLE]
    names = [f"Schwinger-Dyson, x_{j + 1}, coupling {entry.coupling:g}" for entry in found for j in range(case.size)]
    values = np.concatenate([entry.dyson for entry in found])
    zeros = np.zeros(len(values))
    # A factor 4 missing in dV/dφ moves the measured side; here the prediction moves the other way.
    wrong = values - np.concatenate([entry.dyson_control for entry in found])
    groups = np.concatenate([entry.dyson_groups for entry in found], axis=1)
    return Comparison(names, values, groups, zeros, {"dV/dphi without its factor 4": wrong}, zeros).family(
        source, case.free.members
    )


def two_point(case: Phi4Case) -> Family:
    """Return the two-point function at weak coupling against perturbation theory."""
    source = Source(f"{case.label}/two-point", ASYMPTOTIC, "Eq. (44)", derive("design.two_point").digest)
    found, cells = [case.sampled[value] for value in case.weak], case.pairs
    predicted = np.concatenate([case.series.two_point(value)[0] for value in case.weak])
    first = np.concatenate([value * case.series.terms(2)[1][0] for value in case.weak])
    return Comparison(
        [f"G(x_1, x_{j + 1}), coupling {value:g}" for value in case.weak for j in range(case.size)],
        np.concatenate([entry.two for entry in found]),
        np.concatenate([entry.two_groups for entry in found], axis=1),
        predicted,
        {"4! in place of 12 in the first order": predicted + first},
        np.concatenate([case.left_out(2, cells, value) for value in case.weak]),
    ).family(source, case.free.members)


def four_point(case: Phi4Case) -> Family:
    """Return the connected four-point function at weak coupling against perturbation theory."""
    source = Source(f"{case.label}/four-point", ASYMPTOTIC, "Eq. (44)", derive("design.four_point").digest)
    found, cells = [case.sampled[value] for value in case.weak], case.quadruples
    at = tuple(cells.T)
    predicted = np.concatenate([case.series.four_point(value)[at] for value in case.weak])
    divided = np.concatenate([case.series.four_point(value / 24.0)[at] for value in case.weak])
    labels = ["".join(str(index + 1) for index in cell) for cell in cells]
    return Comparison(
        [f"G({label}), coupling {value:g}" for value in case.weak for label in labels],
        np.concatenate([entry.four for entry in found]),
        np.concatenate([entry.four_groups for entry in found], axis=1),
        predicted,
        {"interaction over 4!": divided},
        np.concatenate([case.left_out(4, cells, value) for value in case.weak]),
    ).family(source, case.free.members)


def orders(case: Phi4Case) -> Family:
    """Return the power of the coupling that is left when order 0, and order 1, is taken away: 1 and 2 at zero coupling."""
    source = Source(f"{case.label}/orders", ASYMPTOTIC, "Eq. (44)", derive("design.two_point").digest)
    low, high = case.weak[-1], 2.0 * case.weak[-1]
    pair = [case.sampled[low], case.sampled[high]]
    values, groups, predicted, uncertain = [], [], [], []
    for order in (0, 1):
        base = [float(case.series.two_point(value, order)[0, 0]) for value in (low, high)]
        rest = np.array([float(entry.two[0]) - start for entry, start in zip(pair, base, strict=True)])
        truth = np.array(
            [float(case.series.two_point(value)[0, 0]) - start for value, start in zip((low, high), base, strict=True)]
        )
        values.append(np.log2(np.abs(rest[1] / rest[0])))
        predicted.append(np.log2(truth[1] / truth[0]))
        parts = [entry.two_groups[:, 0] / truth[i] for i, entry in enumerate(pair)]
        groups.append((parts[1] - parts[0]) / np.log(2.0))
        left = [
            float(case.left_out(2, case.pairs[:1], value)[0]) / abs(truth[i]) for i, value in enumerate((low, high))
        ]
        uncertain.append(np.hypot(*left) / np.log(2.0))
    exact = np.array(predicted)
    return Comparison(
        ["power of the coupling in G - G_0", "power of the coupling in G - G_0 - G_1"], np.array(values), np.array(groups).T,
        exact, {"first-order coefficient wrong": exact - np.array([0.0, 1.0])}, np.array(uncertain),
    ).family(source, case.free.members)  # fmt: skip


def markov_chain(case: Phi4Case, chains: Chains, coupling: float) -> Family:
    """Return draws of a Markov chain over the parameters against the reweighted ensemble at the same coupling."""
    source = Source(f"{case.label}/markov-chain", ASYMPTOTIC, "Eq. (44)")
    cells = case.pairs
    products = chains.fields[:, :, cells[:, 0]] * chains.fields[:, :, cells[:, 1]]
    batches = max(2, min(100 // len(products), products.shape[1] // 10))
    groups = np.concatenate([group_means(chain, batches) for chain in products])
    entry = case.free.at(coupling)
    value, influence = entry.two_point_samples(cells)
    reweighted = Comparison(
        [f"G(x_1, x_{j + 1}), coupling {coupling:g}" for j in range(case.size)], products.mean(axis=(0, 1)), groups, value,
        {"no interaction": case.free.theory.propagator[0, : case.size]},
        influence.std(axis=0) / np.sqrt(len(influence)),
    )  # fmt: skip
    found = reweighted.family(source, products.shape[0] * products.shape[1])
    if chains.status == entry.status == USABLE:
        return found
    return Family(
        source.family,
        ASYMPTOTIC,
        False,
        0.0,
        0,
        1.0,
        {"chains or weights not usable": 0.0},
        _unjudged(found.checks, source),
    )


def _unjudged(checks: Sequence[Check], source: Source) -> tuple[Check, ...]:
    """Return rows that show what was measured and claim nothing."""
    return tuple(row(source, check.name, None, check.measurement, check.std_error, check.n) for check in checks)


def unusable(case: Phi4Case, couplings: Sequence[float]) -> Family:
    """Return the couplings whose weights are not to be trusted: shown as underpowered, never used."""
    source = Source(f"{case.label}/unusable-weights", LITERATURE, "Eq. (44)")
    rows = tuple(
        row(source, f"effective members, coupling {value:g}", None, case.sampled[value].effective_size, 0.0, case.free.members)
        for value in couplings
    )  # fmt: skip
    return Family(source.family, LITERATURE, False, 0.0, 0, 1.0, {"effective members": 0.0}, rows)


def too_few(case: Phi4Case) -> tuple[Family, ...]:
    """Return the exact family as underpowered: so few networks say nothing."""
    source = Source(f"{case.label}/free", EXACT, "Eq. (44), O = 0", derive("cosnet.propagator_d1").digest)
    found = row(source, "members", None, float(case.free.members), 0.0, case.free.members)
    return (Family(source.family, EXACT, True, 0.0, 0, 1.0, {"members": 0.0}, (found,)),)
