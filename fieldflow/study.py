"""What do all kinds of experiments have in common? A validated file that says what to run, and what comes out of it."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr

from fieldflow.checks.record import Family, standing
from fieldflow.errors import BadInput
from fieldflow.keeper import Keeper
from fieldflow.picture import Picture, Tabular
from fieldflow.schema import Count, Judging, Label, Section, Seed, Text
from fieldflow.verdict import Standing


@dataclass(frozen=True)
class Report:
    """Who is told how far a run is, as report(stage, done, total), and how a comparison stands in the middle of it.

    >>> Report(progress=print)("sample", 64, 600)
    sample 64 600
    """

    progress: Callable[[str, int, int], None] = lambda *_: None
    standing: Callable[[Standing], None] = lambda _: None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Tell how far a stage is."""
        self.progress(stage, done, total)

    def found(self, families: Sequence[Family], alpha: float) -> None:
        """Tell how those families stand that are complete while others are still to come."""
        for family in families:
            self.standing(standing(family.name, family.chi2, family.dof, alpha, family.joint_p, family.powered))


@dataclass(frozen=True)
class Outcome:
    """What a study found, before it is judged.

    Parameters
    ----------
    families : sequence of Family
    pictures, tables : sequences
    conventions : mapping
        Of each network, by its label.
    requested, excluded : int
        Members that were asked for, and those left out because their training diverged.
    formulas : sequence of str
        Catalogue names behind the predictions, in the order of the argument.
    notes : sequence of str
        Sentences to be printed with the verdicts.
    training : mapping
        Training losses by network, where there are any.
    """

    families: Sequence[Family]
    pictures: Sequence[Picture]
    conventions: Mapping[str, Mapping[str, str]]
    requested: int
    excluded: int = 0
    formulas: Sequence[str] = ()
    tables: Sequence[Tabular] = ()
    notes: Sequence[str] = ()
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def refuse_empty_shell(key: str, cutoffs: Any, sloppy: Any) -> None:
    """Raise BadInput if a cut-off removes every unit, so that no sample is left to compare.

    >>> refuse_empty_shell("shell.cutoffs", [0.0, 0.5], [0.0, 0.3])
    """
    for cutoff, fraction in zip(cutoffs, sloppy, strict=True):
        if fraction >= 1.0 - 1e-12:
            raise BadInput(
                f"{key}: {cutoff:g} lies beyond the shell, where every unit is removed and nothing is left to compare; "
                "expected smaller cut-offs"
            )


class Study(Section):
    """The keys of every experiment file; each kind adds its own tables."""

    name: Label
    kind: Text = "shell"
    description: Text = ""
    minutes: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)] = 0.0
    seed: Seed = 0
    members: Count = 600
    checks: Judging = Judging()

    _folder: Path = PrivateAttr(default=Path())
    _keeper: Keeper = PrivateAttr(default=Keeper())

    def resolved(self) -> dict[str, Any]:
        """Return every key with its value, defaults filled in."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """SHA-256 of the resolved experiment without its description and duration."""
        values = {key: value for key, value in self.resolved().items() if key not in ("description", "minutes")}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def ensembles(self) -> int:
        """How many ensembles of ``members`` are sampled."""
        return 1

    @property
    def drawn(self) -> int:
        """How many members all passes draw whose stage begins with ``sample``: so many can be kept in shards."""
        return self.members * self.ensembles

    def kept_by(self, keeper: Keeper) -> "Study":
        """Return the same study with its long passes in the hands of ``keeper``."""
        study = self.model_copy()
        study._keeper = keeper
        return study

    def outcome(self, threads: int, report: Report) -> Outcome:
        """Return what the study finds; the numbers do not depend on ``threads``."""
        raise TypeError(f"kind: {self.kind} cannot be run")
