"""What does a formula predict, and what was measured? Two records that know their provenance."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fieldflow import inputs
from fieldflow.compile import compile_formula
from fieldflow.errors import BadInput
from fieldflow.symbolic.convention import Convention
from fieldflow.symbolic.formula import Formula


@dataclass(frozen=True)
class Prediction:
    """The value of a formula at given parameters.

    Parameters
    ----------
    formula : Formula
    values : mapping of argument name to number
        Every argument of the formula, by name.
    control : float, optional
        What a wrong theory (the negative control) would predict; by default half the value, the missing factor ½.

    Raises
    ------
    BadInput
        If an argument is missing or unknown.

    >>> from fieldflow.formulas import derive
    >>> round(Prediction(derive("expectation.relu"), {"q11": 1, "c": 0, "q22": 1}).value, 6)
    0.159155
    """

    formula: Formula
    values: Mapping[str, Any]
    control: float | None = None
    value: float = field(init=False)

    def __post_init__(self) -> None:
        names = [str(argument) for argument in self.formula.args]
        if set(self.values) != set(names):
            raise BadInput(
                f"values: {self.formula.name} takes {', '.join(names)}; got {', '.join(map(str, self.values))}"
            )
        result = compile_formula(self.formula)(*(self.values[name] for name in names))
        object.__setattr__(self, "value", inputs.real("prediction", result))
        if self.control is not None:
            inputs.real("control", self.control)

    @property
    def convention(self) -> Convention:
        """The convention the formula holds under."""
        return self.formula.convention


@dataclass(frozen=True)
class Measurement:
    """A sampled number with its standard error; it cannot exist without one.

    Parameters
    ----------
    value, std_error : float
        std_error >= 0; zero means the number is exact and is compared exactly.
    n : int
        Independent samples behind it.
    seed : int, optional
    estimator : str
        How it was obtained.
    convention : Convention, optional
        Compared with the prediction's when given.
    """

    value: float
    std_error: float
    n: int
    seed: int | None = None
    estimator: str = "mean"
    convention: Convention | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", inputs.real("value", self.value))
        object.__setattr__(self, "std_error", inputs.real("std_error", self.std_error, minimum=0.0))
        inputs.integer("n", self.n, minimum=1)
