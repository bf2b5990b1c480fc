"""Does a measurement agree with a prediction? Pull, p-value and power; too little power is not a pass."""

from dataclasses import dataclass
from typing import NamedTuple

from fieldflow import inputs
from fieldflow.errors import BadInput
from fieldflow.numeric.statistics import normal_p
from fieldflow.prediction import Measurement, Prediction

AGREES, DISAGREES, UNDERPOWERED = "agrees", "disagrees", "underpowered"

POWER = 8.0
"""Standard errors by which a negative control must be shifted, or the check could not have failed."""


class Standing(NamedTuple):
    """How the joint statement of a family stands after some of the members; no verdict yet."""

    family: str
    chi2: float
    dof: int
    p_value: float
    status: str

    def __str__(self) -> str:
        return (
            f"{self.family} so far: χ²/dof = {self.chi2 / max(self.dof, 1):.4f}, p = {self.p_value:.2g}, {self.status}"
        )


@dataclass(frozen=True)
class Verdict:
    """Outcome of one comparison: pull and p-value (None for exact comparisons), control pull and status."""

    pull: float | None
    p_value: float
    negative_control_pull: float | None
    status: str


def pull_of(prediction: float, measurement: float, std_error: float) -> float | None:
    """Return (measurement - prediction)/std_error, or None when the error is zero."""
    return None if std_error == 0.0 else (measurement - prediction) / std_error


def verify(prediction: Prediction, measurement: Measurement, *, alpha: float = 1e-4) -> Verdict:
    """Return the verdict on one measurement.

    Parameters
    ----------
    prediction : Prediction
    measurement : Measurement
    alpha : float
        Disagreement below this two-sided p-value.

    Returns
    -------
    Verdict
        "underpowered" when the negative control lies within 8 standard errors of the prediction, so that the check
        could hardly have failed; without a scale to be wrong by (a predicted zero), power is not judged.

    Raises
    ------
    BadInput
        If the conventions differ or an argument is of the wrong type.

    >>> from fieldflow.formulas import derive
    >>> p = Prediction(derive("expectation.relu"), {"q11": 1, "c": 1, "q22": 1})
    >>> verify(p, Measurement(0.51, 0.01, n=100)).status
    'agrees'
    """
    if not isinstance(prediction, Prediction) or not isinstance(measurement, Measurement):
        raise BadInput("verify: expected a Prediction and a Measurement, in this order")
    alpha = inputs.real("alpha", alpha, minimum=0.0, maximum=1.0, strict=True)
    if measurement.convention is not None and not prediction.convention.compatible(measurement.convention):
        raise BadInput("convention: prediction and measurement hold under different conventions")
    error = measurement.std_error
    pull = pull_of(prediction.value, measurement.value, error)
    if pull is None:
        same = prediction.value == measurement.value
        return Verdict(None, 1.0 if same else 0.0, None, AGREES if same else DISAGREES)
    control = 0.5 * prediction.value if prediction.control is None else prediction.control
    shift = None if control == prediction.value else (prediction.value - control) / error
    p_value = normal_p(pull)
    powered = shift is None or abs(shift) >= POWER
    status = DISAGREES if p_value < alpha else (AGREES if powered else UNDERPOWERED)
    return Verdict(pull, p_value, shift, status)
