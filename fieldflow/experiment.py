"""Which experiments are there, and what does a file say? Shipped names, TOML, and every mistake as one line naming the key."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fieldflow import inputs
from fieldflow.complaints import first_complaint
from fieldflow.errors import BadInput
from fieldflow.schema import Section
from fieldflow.studies.actions import ActionStudy
from fieldflow.studies.cosnet import CosNetStudy
from fieldflow.studies.diagram import DiagramStudy
from fieldflow.studies.factorised import FactorisedStudy
from fieldflow.studies.finite_width import FiniteWidthStudy
from fieldflow.studies.nnqft import NNQFTStudy
from fieldflow.studies.phi4 import Phi4Study
from fieldflow.studies.pruning import PruningStudy
from fieldflow.studies.shared import SharedStudy
from fieldflow.studies.shell import ShellStudy
from fieldflow.study import Study

SHIPPED = (
    "paper",
    "paper-text",
    "shallow-relu",
    "commutative-diagram",
    "shared-features",
    "factorised",
    "cosnet-1d",
    "cosnet-2d",
    "cosnet-3d",
    "finite-width",
    "pruning",
    "nnqft-relu",
    "nnqft-erf",
    "nnqft-gauss",
    "actions",
    "phi4",
)

KINDS: Mapping[str, type[Study]] = {
    "shell": ShellStudy,
    "diagram": DiagramStudy,
    "shared-features": SharedStudy,
    "factorised": FactorisedStudy,
    "cosnet": CosNetStudy,
    "finite-width": FiniteWidthStudy,
    "pruning": PruningStudy,
    "nnqft": NNQFTStudy,
    "actions": ActionStudy,
    "phi4": Phi4Study,
}
"""The value of ``kind`` in a file (default: shell) and what it is validated against."""


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


def load_experiment(
    source: str | Path, *, members: int | None = None, seed: int | None = None, quick: bool = False
) -> Study:
    """Return the experiment called, or stored in the TOML file, ``source``.

    Parameters
    ----------
    source : str or Path
        A shipped name, or a path that ends in .toml.
    members, seed : int, optional
        In place of the experiment's own.
    quick : bool
        With the keys of the file's table ``quick`` in place of its own: fewer members and samples.

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
    lighter = values.pop("quick", {})
    if quick:
        values = _merged(values, lighter)
    if members is not None:
        values["members"] = inputs.integer("members", members, minimum=1)
    if seed is not None:
        values["seed"] = inputs.integer("seed", seed, maximum=2**64 - 1)
    kind = values.get("kind", "shell")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadInput(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    try:
        study = KINDS[kind].model_validate(values)
    except ValidationError as error:
        raise BadInput(first_complaint(error, lambda tables: _accepted_keys(KINDS[kind], tables))) from error
    study._folder = folder
    return study


def _merged(values: Mapping[str, Any], lighter: Any) -> dict[str, Any]:
    """Return the values with those of the table ``quick`` on top; tables are merged key by key."""
    if not isinstance(lighter, Mapping):
        raise BadInput(f"quick: expected a table of keys, got {lighter!r}")
    merged = dict(values)
    for key, value in lighter.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"experiment: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"experiment: cannot read {path}: expected text in UTF-8") from error


def _accepted_keys(study: type[Study], tables: Sequence[str]) -> list[str]:
    """Return the keys accepted in a table of the file (none: at its top)."""
    section: Any = study
    for table in tables:
        section = _section(section.model_fields[table].annotation)
    names = set(section.model_fields)
    return sorted(names if tables else names | {"quick"})


def _section(annotation: Any) -> type[Section]:
    """Return the class of a table, or of the entries of a list of tables."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    found: type[Section] = next(_section(part) for part in annotation.__args__ if part is not type(None))
    return found
