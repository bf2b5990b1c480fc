"""What does an experiment file say? A TOML schema in which every mistake is one line that names the key."""

import difflib
import hashlib
import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from fieldflow.data import FISHER, TEST, TRAIN, Data, file_digest, gaussian_points, population_mean_square
from fieldflow.data import read_points, target_values
from fieldflow.errors import BadInput
from fieldflow.inputs import Array

SHIPPED = ("paper", "paper-text", "shallow-relu")

MEMORY_LIMIT = 8 * 2**30

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Scale = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**64)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(_Section):
    """One network."""

    label: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,40}$")] = "net"
    d_in: Annotated[int, Field(strict=True, ge=1, le=1000)]
    widths: Annotated[list[Count], Field(min_length=1, max_length=100)]
    activation: str | list[str]
    scaling: Literal["fan_in", "unscaled"] = "fan_in"
    sigma_w: Scale | list[Scale] = 1.0
    sigma_b: Scale | list[Scale] = 0.0

    @model_validator(mode="after")
    def _lengths(self) -> "Network":
        layers = len(self.widths)
        if isinstance(self.activation, list) and len(self.activation) != layers:
            raise ValueError(f"activation: expected one, or {layers} (one per hidden layer), got {len(self.activation)}")
        for name in ("sigma_w", "sigma_b"):
            value = getattr(self, name)
            if isinstance(value, list) and len(value) != layers + 1:
                raise ValueError(f"{name}: expected a number or {layers + 1} of them, got {len(value)}")
        return self


class DataSection(_Section):
    """Target expression and Gaussian inputs, or the user's own files."""

    target: str | None = None
    input_mean: Number | list[Number] = 0.0
    input_std: Positive | list[Positive] = 1.0
    train: Count | None = None
    test: Count | None = None
    train_file: str | None = None
    test_file: str | None = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_source(self) -> "DataSection":
        files = (self.train_file, self.test_file)
        if any(files):
            if not all(files):
                raise ValueError("train_file, test_file: expected both or neither")
            for name in ("target", "train", "test"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: not accepted together with train_file and test_file")
        else:
            for name in ("target", "train", "test"):
                if getattr(self, name) is None:
                    raise ValueError(f"{name}: required unless train_file and test_file are given")
        return self


class TrainingSection(_Section):
    """Training of the read-out."""

    method: Literal["gd", "sgd", "gradient_flow"] = "gd"
    learning_rate: Positive
    steps: Annotated[int, Field(strict=True, ge=0, le=10**12)]


class FisherSection(_Section):
    """Where the Fisher diagonal is averaged."""

    inputs: Count | None = None
    law: Literal["gaussian"] | None = None
    noise_variance: Positive = 1.0

    @model_validator(mode="after")
    def _one_law(self) -> "FisherSection":
        if (self.inputs is None) == (self.law is None):
            raise ValueError('inputs, law: expected exactly one of them: a number of inputs, or law = "gaussian"')
        return self


class ShellSection(_Section):
    """Cut-offs and what happens to sloppy weights."""

    cutoffs: Annotated[list[Scale], Field(min_length=2, max_length=1000)]
    mode: Literal["resample", "prune"] = "resample"
    excess: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _increasing(self) -> "ShellSection":
        if any(later <= earlier for earlier, later in zip(self.cutoffs, self.cutoffs[1:], strict=False)):
            raise ValueError("cutoffs: expected non-negative numbers in strictly increasing order")
        return self


class ChecksSection(_Section):
    """What is judged."""

    inputs: Annotated[int, Field(strict=True, ge=1, le=50)] = 5
    alpha: Annotated[float, Field(strict=True, gt=0, lt=0.5)] = 1e-4
    widths: list[Count] = Field(default_factory=list)
    scan_members: Annotated[int, Field(strict=True, ge=0, le=10**7)] = 0

    @model_validator(mode="after")
    def _enough_widths(self) -> "ChecksSection":
        if self.widths and (len(self.widths) < 4 or sorted(set(self.widths)) != self.widths):
            raise ValueError("widths: expected at least 4 widths in strictly increasing order (the fit has 3 parameters)")
        if self.widths and self.scan_members < 200:
            raise ValueError("scan_members: expected at least 200 with a scan of widths")
        return self


class Experiment(_Section):
    """A validated experiment (see the template of ``fieldflow init``)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,60}$")]
    description: str = ""
    seed: Seed = 0
    members: Count = 600
    network: Annotated[list[Network], Field(min_length=1, max_length=20)]
    data: DataSection
    training: TrainingSection
    fisher: FisherSection
    shell: ShellSection
    checks: ChecksSection = ChecksSection()

    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        labels = [network.label for network in self.network]
        if len(set(labels)) != len(labels):
            raise ValueError("network: expected different labels")
        for network in self.network:
            for name in ("input_mean", "input_std"):
                value = getattr(self.data, name)
                if isinstance(value, list) and len(value) != network.d_in:
                    raise ValueError(f"data.{name}: expected a number or {network.d_in} of them, got {len(value)}")
            if self.fisher.law and len(network.widths) > 1:
                raise ValueError('fisher.law: "gaussian" needs one hidden layer; give inputs = a number of Fisher inputs')
            if self.checks.widths and len(network.widths) > 1:
                raise ValueError("checks.widths: a scan of widths needs one hidden layer")
        return self

    def resolved(self) -> dict[str, Any]:
        """Return every key with its value, defaults filled in, files by the digest of their content."""
        values = self.model_dump(mode="json")
        for key in ("train_file", "test_file"):
            if values["data"][key] is not None:
                values["data"][key] = "sha256:" + file_digest(self._folder / values["data"][key])
        return values

    @property
    def digest(self) -> str:
        """SHA-256 of the resolved experiment without its description."""
        values = {key: value for key, value in self.resolved().items() if key != "description"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def input_law(self, network: Network) -> tuple[Array, Array]:
        """Return mean and standard deviation (d_in,) of the Gaussian inputs."""
        shape = (network.d_in,)
        return np.broadcast_to(np.array(self.data.input_mean), shape), np.broadcast_to(np.array(self.data.input_std), shape)

    def datasets(self, network: Network) -> Data:
        """Return training, test and Fisher points of one network; BadInput names what is wrong with them."""
        mean, std = self.input_law(network)
        if self.data.target is None:
            train = read_points(self._folder / str(self.data.train_file), "data.train_file", network.d_in)
            test = read_points(self._folder / str(self.data.test_file), "data.test_file", network.d_in)
        else:
            x_train = gaussian_points(int(self.data.train or 0), mean, std, self.data.seed, TRAIN)
            x_test = gaussian_points(int(self.data.test or 0), mean, std, self.data.seed, TEST)
            train = x_train, target_values(self.data.target, x_train)
            test = x_test, target_values(self.data.target, x_test)
        self._check_memory(network, len(train[0]), len(test[0]))
        fisher = None
        if self.fisher.inputs is not None:
            fisher = gaussian_points(self.fisher.inputs, mean, std, self.data.seed, FISHER)
        return Data(*train, *test, fisher)

    def mean_square_target(self, label: str) -> float | None:
        """Return E y² over the input law of the network called ``label``; None for data from files."""
        network = next(entry for entry in self.network if entry.label == label)
        return None if self.data.target is None else population_mean_square(self.data.target, *self.input_law(network))

    def _check_memory(self, network: Network, train: int, test: int) -> None:
        """Refuse what would not fit: per-thread features and Gram matrix, and what is kept of all members."""
        width = max(network.widths[-1], *self.checks.widths, 1)
        stated = min(self.checks.inputs, test)
        one = 8 * (width * (2 * train + 3 * test + (self.fisher.inputs or 0)) + 6 * train**2)
        cells = (len(self.shell.cutoffs) + 2) * stated
        one += 8 * cells * (3 * width + cells)
        kept = 8 * self.members * (cells * 6 + 8 * len(self.shell.cutoffs))
        needed = 2 * one + kept
        if needed > MEMORY_LIMIT:
            raise BadInput(
                f"network.widths, data.train, data.test, members: this experiment would need about {needed / 2**30:.1f} GB; "
                f"expected at most {MEMORY_LIMIT / 2**30:.0f} GB"
            )


def template(name: str) -> str:
    """Return the commented TOML text of a shipped experiment."""
    if name not in SHIPPED:
        near = difflib.get_close_matches(str(name), SHIPPED, n=1, cutoff=0.0)
        raise BadInput(f"experiment: unknown name {name!r}; nearest: {near[0]}; shipped: {', '.join(SHIPPED)}")
    return resources.files("fieldflow").joinpath("experiments", f"{name}.toml").read_text(encoding="utf-8")


def load_experiment(source: str | Path, *, members: int | None = None, seed: int | None = None) -> Experiment:
    """Return the experiment called, or stored in the TOML file, ``source``.

    Raises
    ------
    BadInput
        One line naming the key and the accepted values.

    >>> load_experiment("paper").network[0].widths
    [10, 10, 2000]
    """
    path = Path(source)
    if path.suffix == ".toml":
        try:
            text, folder = path.read_text(encoding="utf-8"), path.parent
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"experiment: cannot read {path}") from error
    else:
        text, folder = template(str(source)), Path()
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"experiment: {path.name} is not valid TOML: {str(error).splitlines()[0]}") from error
    for key, value in (("members", members), ("seed", seed)):
        if value is not None:
            values[key] = value
    try:
        experiment = Experiment.model_validate(values)
    except ValidationError as error:
        raise BadInput(_one_line(error)) from error
    experiment._folder = folder
    return experiment


def _one_line(error: ValidationError) -> str:
    """Return the first validation error as "key: expected …, got …"."""
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    # Members of a union carry the branch that failed; the key is what the user wrote.
    location = [part for part in location if not part.startswith(("list[", "function-", "constrained-", "float", "str", "int"))]
    key = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in location).lstrip(".")
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        accepted = _accepted_keys(location[:-1])
        near = difflib.get_close_matches(location[-1], accepted, n=1)
        hint = f"; nearest: {near[0]}" if near else ""
        return f"{key}: unknown key{hint}; accepted: {', '.join(accepted)}"
    if first["type"] == "missing":
        return f"{key}: required key is missing"
    if first["type"] == "value_error":
        return f"{key}.{message}" if key and not key.endswith("]") else (f"{key}.{message}" if key else message)
    return f"{key}: {message[0].lower()}{message[1:]}, got {first['input']!r}"


def _accepted_keys(location: list[str]) -> list[str]:
    sections: dict[str, type[BaseModel]] = {
        "network": Network,
        "data": DataSection,
        "training": TrainingSection,
        "fisher": FisherSection,
        "shell": ShellSection,
        "checks": ChecksSection,
    }
    section = sections[location[0]] if location else Experiment
    return sorted(section.model_fields)
