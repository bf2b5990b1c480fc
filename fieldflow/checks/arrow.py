"""Is each coarse-grained network the linear RG map of the trained one, plus noise? Exactly, at any width, member by member.

Given its hidden layer f_Λ - P̂f_T ~ N(0, Q̂) with the member's own kernels, whatever the read-out was trained on: formulas
``brg.projector`` and ``brg.covariance_resample | prune`` at Σ = 0.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.checks.leg import Leg, Outputs
from fieldflow.checks.record import EXACT, Check, Family, Source, row
from fieldflow.formulas import compiled, derive
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork
from fieldflow.numeric.quadrature import root
from fieldflow.numeric.statistics import chi2_p, ks_p, normality_shift, whiten
from fieldflow.processes import Stop
from fieldflow.rows import until_told

_OTHER = {"resample": "prune", "prune": "resample"}


class Residuals(NamedTuple):
    """Of members in turn: numbers of components (members, 3), and these, one member after the other: whitened residuals, the
    same with the other mode's noise, and with P = 1.
    """

    sizes: NDArray[np.int64]
    right: Array
    swapped: Array
    unmoved: Array


@dataclass(frozen=True)
class _Arrows:
    """What is needed of the members used: f_T and f_Λ on the mesh, (used, m), each at its own cut-off."""

    leg: Leg
    mode: str
    used: NDArray[np.int64]
    trained: Array
    coarse: Array


def arrow(leg: Leg, mode: str, sampled: Outputs) -> Family:
    """Return the family of whitened residuals, one cut-off per member in turn, so that all components are independent."""
    source = Source(
        f"{leg.label}/arrow-{mode}", EXACT, "2405.17538 figs. 1, 2", derive(f"brg.covariance_{mode}").digest
    )
    count = len(sampled.used)
    places = [place_of(leg, position) for position in range(count)]
    coarse = sampled.values[np.arange(count), places]
    sizes, right, swapped, unmoved = leg.keeper.gather(
        leg.label,
        f"arrow_{mode}",
        Residuals,
        count,
        partial(_work, _Arrows(leg.alone, mode, sampled.used, sampled.values[:, 0], coarse)),
        threads=leg.threads,
        progress=lambda _: None,
    )
    controls = {
        f"noise of {_OTHER[mode]}": normality_shift(swapped),
        "P = 1": normality_shift(unmoved),
    }
    chi2, dof = float(right @ right), len(right)
    ends = np.cumsum(sizes, axis=0)[:-1]
    rows = _rows(leg, source, np.split(right, ends[:, 0]), np.split(swapped, ends[:, 1]))
    return Family(source.family, EXACT, True, chi2, dof, chi2_p(chi2, dof), controls, rows, ks_p_value=ks_p(right))


def place_of(leg: Leg, position: int) -> int:
    """Return which cut-off of the grid (never 0) the member at ``position`` is examined at."""
    return 1 + position % (len(leg.grid) - 1)


def _work(arrows: _Arrows) -> BlockWork[Residuals]:
    def work(first: int, count: int, stop: Stop) -> Residuals:
        found = [_components(arrows, position) for position in until_told(range(first, first + count), stop)]
        sizes = np.array([[len(part) for part in entry] for entry in found])
        return Residuals(sizes, *(np.concatenate(column) for column in zip(*found, strict=True)))

    return work


def _components(arrows: _Arrows, position: int) -> tuple[Array, Array, Array]:
    """Return the whitened residual of one member, and the same with the other mode's noise and with P = 1."""
    leg, mode = arrows.leg, arrows.mode
    features, diagonal = leg.features(leg.width, leg.seed, int(arrows.used[position]))
    place = place_of(leg, position)
    kept = features * (diagonal >= leg.grid[place])[:, None]
    prior, stiff = features.T @ features, kept.T @ kept
    projector = compiled("brg.projector")(stiff, prior)
    nothing = np.zeros_like(prior)
    noise = {
        "resample": compiled("brg.covariance_resample")(projector, nothing, prior),
        "prune": compiled("brg.covariance_prune")(projector, nothing, prior, stiff),
    }
    loading = {name: root(0.5 * (value + value.T)) for name, value in noise.items()}
    trained, coarse = arrows.trained[position], arrows.coarse[position]
    residual = coarse - projector @ trained
    return (
        whiten(residual, loading[mode]),
        whiten(residual, loading[_OTHER[mode]]),
        whiten(coarse - trained, loading[mode]),
    )


def _rows(leg: Leg, source: Source, right: list[Array], swapped: list[Array]) -> tuple[Check, ...]:
    """Return one row per cut-off: the mean square of the components, 1 if the noise is right."""
    rows = []
    for place, cutoff in enumerate(leg.grid[1:], start=1):
        mine = [i for i in range(len(right)) if place_of(leg, i) == place]
        squares = np.concatenate([right[i] for i in mine]) ** 2
        wrong = float(np.mean(np.concatenate([swapped[i] for i in mine]) ** 2))
        total, n = float(squares.sum()), len(squares)
        rows.append(
            row(source, "squared residual f_Lambda - P f / its variance", 1.0, total / n, float(np.sqrt(2.0 / n)), n,
                control=1.0 if wrong == 0.0 else 1.0 / wrong, p_value=chi2_p(total, n), cutoff=float(cutoff),
                width=leg.width)
        )  # fmt: skip
    return tuple(rows)
