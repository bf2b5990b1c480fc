"""What came out? The rows, the joint verdicts and the series of the figures, as one immutable, saveable record."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from fieldflow import plotting, report
from fieldflow.checks.case import Case
from fieldflow.checks.record import ASYMPTOTIC, EXACT, Family
from fieldflow.checks.sampling import Sampled
from fieldflow.errors import BadInput
from fieldflow.numeric.rng import RNG_VERSION
from fieldflow.store import plain, replace_directory, write_text
from fieldflow.verdict import DISAGREES, UNDERPOWERED

SCHEMA = 1


@dataclass(frozen=True)
class Result:
    """Outcome of an experiment.

    ``results`` is the content of results.json (schema 1), ``figures`` the series behind the figures.
    """

    results: Mapping[str, Any]
    figures: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        experiment: Any,
        cases: Sequence[Case],
        samples: Sequence[Sampled],
        families: Sequence[Family],
        figures: Mapping[str, Any],
    ) -> "Result":
        """Return the record of judged families."""
        diverged = sum(int(sampled.diverged.sum()) for sampled in samples)
        requested = sum(case.members for case in cases)
        results = {
            "schema": SCHEMA,
            "experiment": {
                "name": experiment.name,
                "digest": experiment.digest,
                "resolved": experiment.resolved(),
            },
            "seed": experiment.seed,
            "rng_version": RNG_VERSION,
            "members": {"requested": requested, "used": requested - diverged, "excluded": {"diverged": diverged}},
            "conventions": {case.label: dict(case.net.convention.items()) for case in cases},
            "training": {
                case.label: _training(case, sampled, experiment) for case, sampled in zip(cases, samples, strict=True)
            },
            "checks": [asdict(check) for family in families for check in family.checks],
            "joint": {family.name: _joint(family) for family in families},
        }
        return cls(plain(results), plain(figures))

    @property
    def exit_code(self) -> int:
        """1 iff a deciding family disagrees or an exact family is underpowered, else 0."""
        for joint in self.results["joint"].values():
            if joint["gates"] and joint["status"] == DISAGREES:
                return 1
            if joint["claim"] == EXACT and joint["status"] == UNDERPOWERED:
                return 1
        return 0

    def to_json(self) -> str:
        """Return the text of results.json: sorted keys, floats by repr, null for NaN."""
        return json.dumps(self.results, sort_keys=True, indent=1, allow_nan=False) + "\n"

    def table(self) -> Table:
        """Return the verdicts as a rich table: one line per family."""
        return report.verdict_table(self.results)

    def plot(self, name: str) -> Figure:
        """Return one figure ("fig08" … "fig11") as a Matplotlib figure.

        Raises
        ------
        BadInput
            For an unknown name.
        """
        return plotting.draw(name, self.figures)

    def save(self, directory: str | Path) -> Path:
        """Write results.json, figures, tables, the LaTeX report and its bibliography; return the directory.

        Everything is written to a temporary directory and moved into place; an existing directory is replaced only if
        fieldflow wrote it.
        """
        return replace_directory(Path(directory), self._write)

    def _write(self, directory: Path) -> None:
        write_text(directory / "results.json", self.to_json())
        write_text(directory / "figures.json", json.dumps(self.figures, sort_keys=True, allow_nan=False) + "\n")
        plotting.save_all(directory / "figures", self.figures)
        report.write(directory, self.results, self.figures)


def load(directory: str | Path) -> Result:
    """Return the result saved in ``directory``.

    Raises
    ------
    BadInput
        If the directory holds no fieldflow result of schema 1.
    """
    loaded = []
    for name in ("results.json", "figures.json"):
        path = Path(directory) / name
        try:
            loaded.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise BadInput(f"directory: expected a fieldflow result, cannot read {name} in {directory}") from error
    if not isinstance(loaded[0], dict) or loaded[0].get("schema") != SCHEMA:
        raise BadInput(f"directory: expected results.json of schema {SCHEMA} in {directory}")
    return Result(*loaded)


def _joint(family: Family) -> dict[str, Any]:
    """Return the joint record of one family (keys of schema 1 and what the verdict rests on)."""
    return {
        "claim": family.claim,
        "gates": family.gates and family.claim in (EXACT, ASYMPTOTIC),
        "chi2": family.chi2,
        "dof": family.dof,
        "p_value": family.p_value,
        "ks_p_value": family.ks_p_value,
        "holm_min_p": family.holm_min_p,
        "joint_p": family.joint_p,
        "negative_controls": dict(family.controls),
        "status": family.status,
    }


def _training(case: Case, sampled: Sampled, experiment: Any) -> dict[str, Any]:
    """Return the training loss of the used members beside the mean square of the targets."""
    used = sampled.used
    return {
        "train_loss_mean": float(np.mean(sampled.train_loss[used])),
        "train_loss_median": float(np.median(sampled.train_loss[used])),
        "test_loss_median": float(np.median(sampled.loss[used, 0])),
        "mean_square_train_target": float(np.mean(case.y_train**2)),
        "mean_square_target": experiment.mean_square_target(case.label),
        "silent_fraction": float(np.mean(sampled.silent[used]) / case.net.finite_widths[-1]),
    }
