"""What came out? The rows, the joint verdicts and the series of the figures, as one immutable, saveable record."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.table import Table

from fieldflow import interchange, plotting, report
from fieldflow.checks.record import ASYMPTOTIC, EXACT, Family
from fieldflow.errors import BadInput
from fieldflow.numeric.rng import RNG_VERSION
from fieldflow.store import plain, replace_directory, write_text
from fieldflow.study import Outcome, Study
from fieldflow.verdict import DISAGREES, UNDERPOWERED

SCHEMA = 1


@dataclass(frozen=True)
class Result:
    """Outcome of an experiment.

    ``results`` is the content of results.json (schema 1), ``figures`` that of figures.json: pictures and tables.
    """

    results: Mapping[str, Any]
    figures: Mapping[str, Any]

    @classmethod
    def of(cls, study: Study, outcome: Outcome, families: Sequence[Family]) -> "Result":
        """Return the record of an outcome with its judged families."""
        results = {
            "schema": SCHEMA,
            "experiment": {"name": study.name, "digest": study.digest, "resolved": study.resolved()},
            "seed": study.seed,
            "rng_version": RNG_VERSION,
            "members": {
                "requested": outcome.requested,
                "used": outcome.requested - outcome.excluded,
                "excluded": {"diverged": outcome.excluded},
            },
            "conventions": outcome.conventions,
            "formulas": outcome.formulas,
            "notes": outcome.notes,
            "training": outcome.training,
            "checks": [asdict(check) for family in families for check in family.checks],
            "joint": {family.name: _joint(family) for family in families},
        }
        drawn = {
            "pictures": [picture.plain() for picture in outcome.pictures],
            "tables": [table.plain() for table in outcome.tables],
        }
        return cls(plain(results), plain(drawn))

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

    def to_numpy(self) -> dict[str, NDArray[Any]]:
        """Return the checks, the joint verdicts and the negative controls as structured arrays (NaN for null)."""
        return interchange.to_numpy(self.results)

    def to_xarray(self) -> Any:
        """Return the same as an ``xarray.Dataset`` along ``check``, ``joint`` and ``control``, with units and the run's
        identity as attributes; ``to_netcdf`` of it writes a file.

        Raises
        ------
        BadInput
            If xarray is not installed (the extra ``xarray``).
        """
        return interchange.to_xarray(self.results)

    def table(self) -> Table:
        """Return the verdicts as a rich table: one line per family."""
        return report.verdict_table(self.results)

    def plot(self, name: str) -> Figure:
        """Return one figure as a Matplotlib figure, by its name ("fig09").

        Raises
        ------
        BadInput
            For an unknown name.
        """
        return plotting.draw(name, self.figures["pictures"])

    def save(self, directory: str | Path) -> Path:
        """Write results.json, figures, tables, the LaTeX report and its bibliography; return the directory.

        Everything is written to a temporary directory and moved into place; an existing directory is replaced only if
        fieldflow wrote it.
        """
        return replace_directory(Path(directory), self._write)

    def _write(self, directory: Path) -> None:
        write_text(directory / "results.json", self.to_json())
        write_text(directory / "figures.json", json.dumps(self.figures, sort_keys=True, allow_nan=False) + "\n")
        plotting.save_all(directory / "figures", self.figures["pictures"])
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
