"""Which keys does an experiment file have, of which type, and which values go together? One class per table."""

import difflib
from typing import Annotated, Any, Literal

import sympy as sp
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from fieldflow.complaints import FRACTION, LIST, ONE
from fieldflow.errors import BadInput
from fieldflow.expression import parse
from fieldflow.symbolic.activations import CATALOGUE
from fieldflow.symbolic.symbols import z

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Scale = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**64)]
Text = Annotated[str, Field(strict=True)]
Label = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_.-]{1,60}$")]


def _one_or_list(value: Any) -> str:
    return LIST if isinstance(value, list) else ONE


Numbers = Annotated[Annotated[Number, Tag(ONE)] | Annotated[list[Number], Tag(LIST)], Discriminator(_one_or_list)]
Scales = Annotated[Annotated[Scale, Tag(ONE)] | Annotated[list[Scale], Tag(LIST)], Discriminator(_one_or_list)]
Positives = Annotated[Annotated[Positive, Tag(ONE)] | Annotated[list[Positive], Tag(LIST)], Discriminator(_one_or_list)]
Texts = Annotated[Annotated[Text, Tag(ONE)] | Annotated[list[Text], Tag(LIST)], Discriminator(_one_or_list)]
Steps = Annotated[
    Annotated[int, Field(strict=True, ge=0, le=10**12), Tag(ONE)]
    | Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=10**12), Tag(FRACTION)],
    Discriminator(lambda value: FRACTION if isinstance(value, float) else ONE),
]


class Section(BaseModel):
    """A table of the file: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(Section):
    """One network."""

    label: Label = "net"
    d_in: Annotated[int, Field(strict=True, ge=1, le=1000)]
    widths: Annotated[list[Count], Field(min_length=1, max_length=100)]
    activation: Texts
    scaling: Literal["fan_in", "unscaled"] = "fan_in"
    sigma_w: Scales = 1.0
    sigma_b: Scales = 0.0

    @model_validator(mode="after")
    def _one_per_layer(self) -> "Network":
        layers = len(self.widths)
        if isinstance(self.activation, list) and len(self.activation) != layers:
            raise BadInput(f"activation: expected one, or {layers} (one per hidden layer), got {len(self.activation)}")
        for name in ("sigma_w", "sigma_b"):
            value = getattr(self, name)
            if isinstance(value, list) and len(value) != layers + 1:
                raise BadInput(f"{name}: expected a number, or {layers + 1} (input layer first), got {len(value)}")
        self.functions()
        return self

    def functions(self) -> tuple[str | sp.Expr, ...]:
        """Return the activation of each hidden layer: a name of the catalogue, or an expression in ``symbols.z``.

        Raises
        ------
        BadInput
            Naming what is neither.
        """
        given = self.activation if isinstance(self.activation, list) else [self.activation] * len(self.widths)
        return tuple(_activation(text) for text in given)


class DataSection(Section):
    """Target expression and Gaussian inputs, or the user's own files."""

    target: Text | None = None
    input_mean: Numbers = 0.0
    input_std: Positives = 1.0
    train: Count | None = None
    test: Count | None = None
    train_file: Text | None = None
    test_file: Text | None = None
    seed: Seed = 0

    @property
    def from_files(self) -> bool:
        """Whether the points are the user's own."""
        return self.train_file is not None

    @model_validator(mode="after")
    def _one_source(self) -> "DataSection":
        files = (self.train_file, self.test_file)
        if all(name is None for name in files):
            for name in ("target", "train", "test"):
                if getattr(self, name) is None:
                    raise BadInput(f"{name}: this key is required unless train_file and test_file are given")
            return self
        for name, file in zip(("train_file", "test_file"), files, strict=True):
            if not file:
                raise BadInput(f"{name}: expected both train_file and test_file, or neither")
        for name in ("target", "train", "test"):
            if getattr(self, name) is not None:
                raise BadInput(f"{name}: not accepted together with train_file and test_file")
        return self


class TrainingSection(Section):
    """Training of the read-out."""

    method: Literal["sgd", "gd", "gradient_flow"] = "gd"
    learning_rate: Positive
    steps: Steps

    @model_validator(mode="after")
    def _whole_steps(self) -> "TrainingSection":
        if isinstance(self.steps, float) and self.method != "gradient_flow":
            raise BadInput(f'steps: expected an integer unless method = "gradient_flow", got {self.steps}')
        return self


class FisherSection(Section):
    """Where the Fisher diagonal is averaged."""

    inputs: Count | None = None
    law: Literal["gaussian"] | None = None
    noise_variance: Positive = 1.0

    @model_validator(mode="after")
    def _one_law(self) -> "FisherSection":
        if (self.inputs is None) == (self.law is None):
            raise BadInput('inputs: expected exactly one of inputs (a number of Fisher inputs) and law = "gaussian"')
        return self


class ShellSection(Section):
    """Cut-offs and what happens to sloppy weights."""

    cutoffs: Annotated[list[Scale], Field(min_length=2, max_length=1000)]
    mode: Literal["resample", "prune"] = "resample"
    excess: Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _increasing(self) -> "ShellSection":
        for earlier, later in zip(self.cutoffs, self.cutoffs[1:], strict=False):
            if later <= earlier:
                raise BadInput(f"cutoffs: expected strictly increasing numbers >= 0, got {later:g} after {earlier:g}")
        return self


class Judging(Section):
    """When a family of comparisons counts as disagreeing."""

    alpha: Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, lt=0.5)] = 1e-4


class ChecksSection(Judging):
    """What is judged."""

    inputs: Annotated[int, Field(strict=True, ge=1, le=50)] = 5
    widths: Annotated[list[Count], Field(max_length=100)] = []
    scan_members: Annotated[int, Field(strict=True, ge=0, le=10**7)] = 0

    @model_validator(mode="after")
    def _enough_widths(self) -> "ChecksSection":
        if self.widths and (len(self.widths) < 4 or sorted(set(self.widths)) != self.widths):
            raise BadInput(
                f"widths: expected [] or at least 4 increasing widths (the fit has 3 parameters), got {self.widths}"
            )
        if self.widths and self.scan_members < 200:
            raise BadInput(f"scan_members: expected at least 200 with a scan of widths, got {self.scan_members}")
        return self


def _activation(text: str) -> str | sp.Expr:
    if text in CATALOGUE:
        return text
    if text.isidentifier() and text != "z":
        near = difflib.get_close_matches(text, CATALOGUE, n=1, cutoff=0.0)
        names = ", ".join(sorted(CATALOGUE))
        raise BadInput(f"activation: unknown name {text!r}; nearest: {near[0]}; accepted: {names}, an expression in z")
    return parse(text, {"z": z}, key="activation")
