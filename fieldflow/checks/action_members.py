"""What do the members of an ensemble say about its action along both flows? Their own Gaussian laws, turned into couplings.

Given its hidden layer a trained member is a Gaussian field on the mesh.  The moments of these fields are averaged over
members, cumulants and couplings follow (``couplings``), and blocks of members left out in turn tell the errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from fieldflow.action import couplings
from fieldflow.checks.case import Progress
from fieldflow.checks.finite_width import grams
from fieldflow.checks.network_leg import NetworkLeg
from fieldflow.ensemble import Ensemble
from fieldflow.errors import BadInput
from fieldflow.finite_width import FiniteWidth, Kernels
from fieldflow.flow import training_matrix
from fieldflow.flow_action import LEGS
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork
from fieldflow.numeric.field_moments import cumulants, gaussian_moments, tuples
from fieldflow.numeric.jackknife import leave_one_out, pseudo_values
from fieldflow.numeric.symmetric import entries, packed, sorted_tuples, unpacked
from fieldflow.processes import Stop
from fieldflow.rows import until_told

QUADRATIC = "quadratic"
QUANTITIES = (*(f"g{r}" for r in LEGS), QUADRATIC)
"""What is compared: the couplings, and what the quadratic form Δ + 2g_2 gains over Σ^{-1}."""


class Stage(NamedTuple):
    """A place on the two flows: training time T, and the cut-off Λ of what was trained so long."""

    steps: float
    cutoff: float


class Given(NamedTuple):
    """Of each member at each stage on the mesh: mean (members, stages, m) and covariance (…, m, m), and their linear parts."""

    mean: Array
    covariance: Array
    mean_line: Array
    covariance_line: Array


class Limit(NamedTuple):
    """μ (stages, m) and Σ (stages, m, m) at infinite width."""

    mean: Array
    covariance: Array


@dataclass(frozen=True)
class Flows:
    """One network along both flows: a leg per training time, of which the last one has all cut-offs in its grid."""

    legs: tuple[NetworkLeg, ...]

    @property
    def alone(self) -> "Flows":
        """The same flows as they may go to another process: without their keeper."""
        return Flows(tuple(leg.alone for leg in self.legs))

    @property
    def last(self) -> NetworkLeg:
        """The leg that is trained longest, from which coarse-graining starts."""
        return self.legs[-1]

    @property
    def points(self) -> Array:
        """The mesh of the action, (m, d_in)."""
        return self.last.mesh[self.last.stated]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Every stage, along training and then along the shell."""
        return tuple(Stage(float(leg.trained.steps), float(cutoff)) for leg in self.legs for cutoff in leg.grid)

    @property
    def training(self) -> slice:
        """The stages without a cut-off."""
        return slice(0, len(self.legs))

    @property
    def shell(self) -> slice:
        """The stages with one."""
        return slice(len(self.legs), None)

    def laws(self, samples: int, kind: type[FiniteWidth] = FiniteWidth) -> list[FiniteWidth]:
        """Return the law to order 1/N at each training time."""
        return [kind(leg.shell, samples=samples, seed=leg.seed) for leg in self.legs]

    def limit(self) -> Limit:
        """Return the Gaussian law of infinite width at each stage."""
        means = [leg.shell.mean(self.points, leg.grid) for leg in self.legs]
        covariances = [leg.shell.covariance(self.points, cutoff=leg.grid) for leg in self.legs]
        return Limit(np.concatenate(means), np.concatenate(covariances))


class _Width(NamedTuple):
    """The flows of networks of one width and one seed, and what each law is expanded about."""

    flows: Flows
    laws: Sequence[FiniteWidth]
    kernels: Sequence[Kernels]
    width: int
    seed: int


def given_hidden(
    flows: Flows, laws: Sequence[FiniteWidth], width: int, seed: int, members: int, pass_: str, progress: Progress
) -> Given:
    """Return the exact law of each member of one width given its hidden layer, at every stage; ``pass_`` names the shards."""
    leg = flows.last
    kernels = [law.kernels(flows.points, own.grid) for law, own in zip(laws, flows.legs, strict=True)]
    return leg.keeper.gather(
        leg.label,
        pass_,
        Given,
        members,
        partial(_work, _Width(flows.alone, laws, kernels, width, seed)),
        threads=leg.threads,
        progress=lambda done: progress("scan", done),
    )


def _work(given: _Width) -> BlockWork[Given]:
    flows, laws, kernels, width, seed = given
    leg = flows.last

    def work(first: int, count: int, stop: Stop) -> Given:
        members = until_told(range(first, first + count), stop)
        own = [grams(leg, leg.grid, width, seed, index) for index in members]
        whole, stiff = np.array([entry[0] for entry in own]), np.swapaxes(np.array([entry[1] for entry in own]), 0, 1)
        columns: list[list[Array]] = [[], [], [], []]
        for own_leg, law, kernel in zip(flows.legs, laws, kernels, strict=True):
            # The grids of all legs begin with Λ = 0, and only that of the last goes on.
            part = stiff[: len(own_leg.grid)]
            for column, value in zip(columns, _law(own_leg, whole, part), strict=False):
                column.append(value)
            slopes = law.slopes(kernel, whole, part)
            columns[2].append(np.stack([slope.mean for slope in slopes], axis=1))
            columns[3].append(np.stack([slope.covariance for slope in slopes], axis=1))
        return Given(*(np.concatenate(column, axis=1) for column in columns))

    return work


class Untrained(NamedTuple):
    """Functions on the mesh, (members, m)."""

    values: Array


def untrained(flows: Flows, members: int, seed: int) -> Array:
    """Return untrained functions (members, m) on the mesh, of networks that no other pass draws."""
    leg = flows.last
    return leg.keeper.gather(
        leg.label,
        "sample_initial",
        Untrained,
        members,
        partial(_initial, Ensemble(leg.net, members, seed), flows.points),
        threads=leg.threads,
        progress=lambda _: None,
    ).values


def _initial(ensemble: Ensemble, points: Array) -> BlockWork[Untrained]:
    return ensemble.block_work(points, lambda block: Untrained(block.outputs[:, 0, :, 0]))


def _law(leg: NetworkLeg, whole: Array, stiff: Array) -> tuple[Array, Array]:
    """Return mean (members, cutoffs, m) and covariance (members, cutoffs, m, m) by ``shell.mean``, ``shell.covariance``."""
    rule, n = leg.trained, len(leg.trained.x)
    gram = np.ascontiguousarray(whole[:, :n, :n])
    matrix = np.array(
        [
            training_matrix(entry, method=rule.method, learning_rate=rule.learning_rate, steps=rule.steps, d_out=1)
            for entry in gram
        ]
    )
    if not np.all(np.isfinite(matrix)):
        raise BadInput(f"training.learning_rate: {leg.label}: training diverged: lower it")
    name = "shell.covariance" if leg.shell.mode == "resample" else "shell.covariance_prune"
    means, covariances = [], []
    for part in stiff:
        response = np.ascontiguousarray(part[:, :n, n:])
        prior = np.ascontiguousarray((whole if leg.shell.mode == "resample" else part)[:, n:, n:])
        means.append(compiled("shell.mean")(response, matrix, rule.y)[..., 0])
        covariances.append(compiled(name)(prior, response, response, matrix, gram))
    return np.stack(means, axis=1), np.stack(covariances, axis=1)


def measured(given: Given, limit: Limit, width: int, blocks: int) -> Array:
    """Return N times the pseudo-values (blocks, stages, components) of the couplings and of the quadratic form.

    What of a member's mean and covariance is linear in the deviation of its kernels averages to zero exactly, and is
    subtracted from the two-point function; cumulants above it come from products, of which nothing is subtracted.
    """
    members, stages, m = given.mean.shape
    flat = (members * stages, m)
    moments = gaussian_moments(
        (given.mean - limit.mean).reshape(flat), (given.covariance - limit.covariance).reshape(*flat, m)
    )
    first, second = sorted_tuples(m, 2).T
    lines = given.covariance_line[..., first, second]
    values = np.concatenate([moments.reshape(members, stages, -1), lines], axis=2)
    return width * jackknifed(values, limit.covariance, blocks)


def sampled(values: Array, limit: Array, blocks: int) -> Array:
    """Return the same pseudo-values (blocks, 1, components), not multiplied by N, from functions (members, m) on the mesh."""
    centred = values - values.mean(axis=0)
    moments = gaussian_moments(centred, np.zeros((*centred.shape, centred.shape[1])))
    # Nothing is known of the two-point function but the samples: the fixed part is zero, and so is the linear one.
    lines = np.zeros((len(values), entries(values.shape[1], 2)))
    whole = np.concatenate([moments, lines], axis=1)[:, None]
    return jackknifed(whole, np.zeros((1, *limit.shape)), blocks, reference=limit[None])


def jackknifed(values: Array, fixed: Array, blocks: int, reference: Array | None = None) -> Array:
    """Return pseudo-values (blocks, stages, components) of the action from moments and linear parts (members, stages, …).

    ``fixed`` (stages, m, m) is the part of the covariance that was left out of the moments; Σ is ``reference``, or that.
    """
    size = len(values) // blocks
    averages = values[: size * blocks].reshape(blocks, size, *values.shape[1:]).mean(axis=1)
    sigma = fixed if reference is None else reference

    def action(average: Array) -> Array:
        return np.array([_components(*entry) for entry in zip(average, fixed, sigma, strict=True)])

    whole = action(averages.mean(axis=0))
    return pseudo_values(whole, np.array([action(average) for average in leave_one_out(averages)]))


def _components(average: Array, fixed: Array, sigma: Array) -> Array:
    """Return g_1 … g_4 and the gain of the quadratic form, packed one after the other, of one stage."""
    m = len(sigma)
    split = len(tuples(m))
    _, second, third, fourth = cumulants(average[:split], m)
    covariance = fixed + unpacked(second - average[split:], m, 2)
    found = couplings(
        {2: covariance, 3: unpacked(third, m, 3), 4: unpacked(fourth, m, 4)}, counting="trained"
    )  # fmt: skip
    gain = np.linalg.inv(covariance) + 2.0 * found[2] - np.linalg.inv(sigma)
    return np.concatenate([packed(found[r]) for r in LEGS] + [packed(gain)])


def places(size: int) -> dict[str, slice]:
    """Return where the components of each quantity are.

    >>> places(2)["g2"]
    slice(2, 5, None)
    """
    ends = np.cumsum([0, *(entries(size, r) for r in LEGS), entries(size, 2)])
    return {name: slice(int(a), int(b)) for name, a, b in zip(QUANTITIES, ends[:-1], ends[1:], strict=True)}
