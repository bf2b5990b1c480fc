"""Is each coarse-grained network the linear RG map of the trained one, plus noise? Exactly, at any width, member by member.

Given its hidden layer f_Λ - P̂f_T ~ N(0, Q̂) with the member's own kernels, whatever the read-out was trained on: formulas
``brg.projector`` and ``brg.covariance_resample | prune`` at Σ = 0.
"""

import numpy as np
from numpy.typing import NDArray

from fieldflow.checks.leg import Leg, Outputs
from fieldflow.checks.record import EXACT, Check, Family, Source, row
from fieldflow.formulas import compiled, derive
from fieldflow.inputs import Array
from fieldflow.numeric.quadrature import root
from fieldflow.numeric.statistics import chi2_p, ks_p, normality_shift, whiten
from fieldflow.workers import in_blocks

_OTHER = {"resample": "prune", "prune": "resample"}


def arrow(leg: Leg, mode: str, sampled: Outputs) -> Family:
    """Return the family of whitened residuals, one cut-off per member in turn, so that all components are independent."""
    source = Source(
        f"{leg.label}/arrow-{mode}", EXACT, "2405.17538 figs. 1, 2", derive(f"brg.covariance_{mode}").digest
    )

    def work(first: int, count: int, stop: NDArray[np.uint8]) -> list[tuple[Array, Array, Array]]:
        chosen = range(first, first + count)
        return [_components(leg, mode, sampled, position) for position in chosen if not stop[0]]

    found = [entry for part in in_blocks(work, len(sampled.used), threads=leg.threads) for entry in part]
    right, swapped, unmoved = (np.concatenate(column) for column in zip(*found, strict=True))
    controls = {
        f"noise of {_OTHER[mode]}": normality_shift(swapped),
        "P = 1": normality_shift(unmoved),
    }
    chi2, dof = float(right @ right), len(right)
    rows = _rows(leg, source, [entry[0] for entry in found], [entry[1] for entry in found])
    return Family(source.family, EXACT, True, chi2, dof, chi2_p(chi2, dof), controls, rows, ks_p_value=ks_p(right))


def place_of(leg: Leg, position: int) -> int:
    """Return which cut-off of the grid (never 0) the member at ``position`` is examined at."""
    return 1 + position % (len(leg.grid) - 1)


def _components(leg: Leg, mode: str, sampled: Outputs, position: int) -> tuple[Array, Array, Array]:
    """Return the whitened residual of one member, and the same with the other mode's noise and with P = 1."""
    features, diagonal = leg.features(leg.width, leg.seed, int(sampled.used[position]))
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
    trained, coarse = sampled.values[position, 0], sampled.values[position, place]
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
