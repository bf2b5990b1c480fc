"""What is written down about a comparison? One row per cell, one joint verdict per family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fieldflow.numeric.statistics import chi2_p, holm, normal_p
from fieldflow.verdict import AGREES, DISAGREES, POWER, UNDERPOWERED, Standing, pull_of

EXACT, ASYMPTOTIC, LITERATURE = "exact", "asymptotic", "literature"


@dataclass(frozen=True)
class Check:
    """One comparison; ``status`` is final only after ``judge``."""

    name: str
    family: str
    claim: str
    equation: str
    formula_digest: str | None
    cutoff: float | None
    input: tuple[float, ...] | None
    width: int | None
    prediction: float | None
    prediction_std_error: float
    measurement: float
    std_error: float
    n: int
    pull: float | None
    p_value: float | None
    negative_control_pull: float | None
    status: str


@dataclass(frozen=True)
class Source:
    """What the rows of one family have in common."""

    family: str
    claim: str
    equation: str
    formula_digest: str | None = None


def row(
    source: Source,
    name: str,
    prediction: float | None,
    measurement: float,
    std_error: float,
    n: int,
    *,
    prediction_std_error: float = 0.0,
    control: float | None = None,
    p_value: float | None = None,
    cutoff: float | None = None,
    point: Sequence[float] | None = None,
    width: int | None = None,
) -> Check:
    """Return one row; the pull uses both errors, rows without any error are compared exactly."""
    total = float(np.hypot(std_error, prediction_std_error))
    pull = None if prediction is None else pull_of(prediction, measurement, total)
    if prediction is None:
        p_value = None
    elif pull is None:
        p_value = 1.0 if prediction == measurement else 0.0
    elif p_value is None:
        p_value = normal_p(pull)
    shift = None
    if control is not None and total > 0.0 and control != prediction:
        shift = (measurement - control) / total
    place = None if point is None else tuple(float(value) for value in point)
    return Check(
        name,
        source.family,
        source.claim,
        source.equation,
        source.formula_digest,
        None if cutoff is None else float(cutoff),
        place,
        width,
        None if prediction is None else float(prediction),
        float(prediction_std_error),
        float(measurement),
        float(std_error),
        int(n),
        None if pull is None else float(pull),
        None if p_value is None else float(p_value),
        None if shift is None else float(shift),
        AGREES,
    )


@dataclass(frozen=True)
class Family:
    """A joint verdict: χ² (or Hotelling's T²) of whitened components, further p-values, and the controls' shifts.

    ``gates`` says whether a disagreement decides the exit code; ``controls`` maps each negative control to the number
    of standard errors by which it moves the joint statistic.
    """

    name: str
    claim: str
    gates: bool
    chi2: float
    dof: int
    p_value: float
    controls: Mapping[str, float]
    checks: tuple[Check, ...]
    ks_p_value: float | None = None
    holm_min_p: float = field(default=1.0)
    status: str = AGREES

    @property
    def joint_p(self) -> float:
        """The smallest of the family's joint p-values, corrected for their number."""
        values = [self.p_value, self.holm_min_p] + ([] if self.ks_p_value is None else [self.ks_p_value])
        return min(1.0, len(values) * min(values))

    @property
    def powered(self) -> bool:
        """Whether every control moves the joint statistic by at least ``POWER`` standard errors."""
        return all(abs(shift) >= POWER for shift in self.controls.values())


def standing(
    family: str, chi2: float, dof: int, alpha: float, p_value: float | None = None, powered: bool = True
) -> Standing:
    """Return how a χ² stands so far; ``p_value`` is that of χ² unless it is given.

    >>> standing("paper/conditional-law", 104.0, 100, 1e-4).status
    'agrees'
    """
    p_value = chi2_p(chi2, dof) if p_value is None else p_value
    return Standing(family, chi2, dof, p_value, _status(p_value < alpha, powered))


def judge(families: Sequence[Family], alpha: float) -> tuple[Family, ...]:
    """Return the families with the status of every row and of every joint verdict (Holm over rows and over families)."""
    adjusted = []
    for family in families:
        judged = [check for check in family.checks if check.p_value is not None]
        p_values = holm(np.array([check.p_value for check in judged])) if judged else np.ones(1)
        by_row = iter(p_values)
        rows = []
        for check in family.checks:
            bad = check.p_value is not None and next(by_row) < alpha
            rows.append(replace(check, status=_status(bad, family.powered)))
        adjusted.append(replace(family, checks=tuple(rows), holm_min_p=float(np.min(p_values))))
    joint = holm(np.array([family.joint_p for family in adjusted])) if adjusted else np.empty(0)
    return tuple(
        replace(family, status=_status(bool(p < alpha), family.powered))
        for family, p in zip(adjusted, joint, strict=True)
    )


def _status(bad: bool, powered: bool) -> str:
    if bad:
        return DISAGREES
    return AGREES if powered else UNDERPOWERED
