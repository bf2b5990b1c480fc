"""What does an experiment file say? A TOML schema in which every mistake is one line that names the key."""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from fieldflow import inputs
from fieldflow.complaints import first_complaint
from fieldflow.data import (
    FISHER,
    TEST,
    TRAIN,
    Data,
    file_digest,
    gaussian_points,
    parse_target,
    population_mean_square,
    read_points,
    subset,
    target_values,
)
from fieldflow.errors import BadInput
from fieldflow.inputs import Array
from fieldflow.schema import (
    ChecksSection,
    Count,
    DataSection,
    FisherSection,
    Label,
    Network,
    Section,
    Seed,
    ShellSection,
    Text,
    TrainingSection,
)

SHIPPED = ("paper", "paper-text", "shallow-relu")

MEMORY_LIMIT = 8 * 2**30
"""Bytes that an experiment may need at most."""


class Experiment(Section):
    """A validated experiment (see the template of ``fieldflow init``)."""

    name: Label
    description: Text = ""
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
            raise BadInput(f"network: expected a different label for each, got {', '.join(labels)}")
        if self.data.from_files and self.fisher.law is None:
            for name in sorted({"input_mean", "input_std"} & self.data.model_fields_set):
                raise BadInput(f'data.{name}: not accepted with train_file, unless fisher.law = "gaussian"')
        for network in self.network:
            self._fits(network)
        return self

    def _fits(self, network: Network) -> None:
        """Refuse what one network cannot take."""
        for name in ("input_mean", "input_std"):
            value = getattr(self.data, name)
            if isinstance(value, list) and len(value) != network.d_in:
                raise BadInput(f"data.{name}: expected a number or {network.d_in} of them, got {len(value)}")
        if self.fisher.law and len(network.widths) > 1:
            raise BadInput('fisher.law: "gaussian" needs one hidden layer; give inputs = a number of Fisher inputs')
        if self.checks.widths and len(network.widths) > 1:
            raise BadInput("checks.widths: a scan of widths needs one hidden layer; expected []")
        if self.data.target is not None:
            parse_target(self.data.target, network.d_in)
            self._check_memory(network, self.data.train or 0, self.data.test or 0)

    def resolved(self) -> dict[str, Any]:
        """Return every key with its value, defaults filled in, files by the digest of their content.

        >>> load_experiment("paper").resolved()["fisher"]
        {'inputs': 10, 'law': None, 'noise_variance': 1.0}
        """
        values = self.model_dump(mode="json")
        for key in ("train_file", "test_file"):
            if values["data"][key] is not None:
                values["data"][key] = "sha256:" + file_digest(self._folder / values["data"][key], f"data.{key}")
        return values

    @property
    def digest(self) -> str:
        """SHA-256 of the resolved experiment without its description."""
        values = {key: value for key, value in self.resolved().items() if key != "description"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def input_law(self, network: Network) -> tuple[Array, Array]:
        """Return mean and standard deviation (d_in,) of the Gaussian inputs."""
        mean, std = np.array(self.data.input_mean), np.array(self.data.input_std)
        return np.broadcast_to(mean, (network.d_in,)), np.broadcast_to(std, (network.d_in,))

    def datasets(self, network: Network) -> Data:
        """Return training, test and Fisher points of one network, each from its own substream of the data seed.

        Returns
        -------
        Data
            x (n, d_in) and y (n,) for training and test; Fisher inputs are drawn like the data: from the same Gaussian,
            or from the rows of the training file.

        Raises
        ------
        BadInput
            Naming the key, and in a file the row and the column.
        """
        mean, std = self.input_law(network)
        if self.data.target is None:
            train = read_points(self._folder / str(self.data.train_file), "data.train_file", network.d_in)
            test = read_points(self._folder / str(self.data.test_file), "data.test_file", network.d_in)
            self._check_memory(network, len(train[0]), len(test[0]))
        else:
            x_train = gaussian_points(self.data.train or 0, mean, std, self.data.seed, TRAIN)
            x_test = gaussian_points(self.data.test or 0, mean, std, self.data.seed, TEST)
            train = x_train, target_values(self.data.target, x_train)
            test = x_test, target_values(self.data.target, x_test)
        count = self.fisher.inputs
        if count is None:
            return Data(*train, *test, None)
        if not self.data.from_files:
            return Data(*train, *test, gaussian_points(count, mean, std, self.data.seed, FISHER))
        if count > len(train[0]):
            raise BadInput(f"fisher.inputs: expected at most {len(train[0])}, the rows of train_file, got {count}")
        return Data(*train, *test, subset(train[0], count, self.data.seed, FISHER))

    def mean_square_target(self, label: str) -> float | None:
        """Return E y² over the input law of the network called ``label``; None for data from files."""
        network = next(entry for entry in self.network if entry.label == label)
        return None if self.data.target is None else population_mean_square(self.data.target, *self.input_law(network))

    def _check_memory(self, network: Network, train: int, test: int) -> None:
        """Refuse what would not fit: a member's weights, features and Gram matrix, and what is kept of all."""
        fan_in = [network.d_in, *network.widths[:-1]]
        width = max(network.widths[-1], *self.checks.widths, 1)
        weights = sum(m * (n + 1) for m, n in zip([*network.widths[:-1], width], fan_in, strict=True))
        points = train + test + (self.fisher.inputs or 0)
        cells = (len(self.shell.cutoffs) + 2) * min(self.checks.inputs, test)
        one = weights + points * (3 * max(width, *network.widths) + network.d_in) + 6 * train**2
        one += cells * (3 * width + cells) + 64 * len(self.shell.cutoffs) * test
        kept = self.members * (cells * 6 + 8 * len(self.shell.cutoffs))
        needed = 8 * (2 * one + kept) / 2**30
        limit = MEMORY_LIMIT / 2**30
        if needed > limit:
            raise BadInput(
                f"network.widths, data.train, data.test, members: {network.label} would need about {needed:.3g} GB; "
                f"expected at most {limit:g} GB"
            )


def template(name: str) -> str:
    """Return the commented TOML text of a shipped experiment.

    Raises
    ------
    BadInput
        For an unknown name; the shipped ones are listed.

    >>> template("paper").splitlines()[3]
    'name = "paper"'
    """
    if name not in SHIPPED:
        near = difflib.get_close_matches(str(name), SHIPPED, n=1, cutoff=0.0)
        raise BadInput(
            f"experiment: unknown name {str(name)!r}; nearest: {near[0]}; "
            f"accepted: {', '.join(SHIPPED)}, or a .toml file"
        )
    return resources.files("fieldflow").joinpath("experiments", f"{name}.toml").read_text(encoding="utf-8")


def load_experiment(source: str | Path, *, members: int | None = None, seed: int | None = None) -> Experiment:
    """Return the experiment called, or stored in the TOML file, ``source``.

    Parameters
    ----------
    source : str or Path
        A shipped name, or a path that ends in .toml.
    members, seed : int, optional
        In place of the experiment's own.

    Raises
    ------
    BadInput
        One line naming the key and the accepted values.

    >>> load_experiment("paper").network[0].widths
    [10, 10, 2000]
    """
    path = Path(source)
    if path.suffix == ".toml":
        text, folder = _read(path), path.parent
    else:
        text, folder = template(str(source)), Path()
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadInput(f"experiment: {path.name} is not valid TOML: {' '.join(str(error).split())}") from error
    if members is not None:
        values["members"] = inputs.integer("members", members, minimum=1)
    if seed is not None:
        values["seed"] = inputs.integer("seed", seed, maximum=2**64 - 1)
    try:
        experiment = Experiment.model_validate(values)
    except ValidationError as error:
        raise BadInput(first_complaint(error, _accepted_keys)) from error
    experiment._folder = folder
    return experiment


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"experiment: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"experiment: cannot read {path}: expected text in UTF-8") from error


def _accepted_keys(tables: Sequence[str]) -> list[str]:
    """Return the keys accepted in a table of the file (none: at its top)."""
    section: Any = Experiment.model_fields[tables[0]].annotation if tables else Experiment
    return sorted((Network if tables == ["network"] else section).model_fields)
