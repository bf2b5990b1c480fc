"""A long run was stopped: what is left, and what does one type to go on?"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldflow.errors import BadInput
from fieldflow.manifest import kept_in


@dataclass(frozen=True)
class Place:
    """Where a run writes: its result in ``out``, its members in ``shards`` (None: nowhere); ``again`` resumes it."""

    out: Path
    shards: Path | None
    again: str

    @classmethod
    def of(
        cls,
        experiment: str | None,
        out: Path,
        shards: Path | None,
        *,
        resume: bool,
        options: Mapping[str, Any],
    ) -> "Place":
        """Return where the run with these options of ``fieldflow verify`` writes.

        Raises
        ------
        BadInput
            If the shards would lie in the directory that the result replaces.

        >>> Place.of("paper", Path("a"), None, resume=True, options={"members": 9, "quick": False}).again
        'fieldflow verify paper --out a --members 9 --shards a.shards --resume'
        """
        if resume and shards is None:
            shards = out.with_name(f"{out.name}.shards")
        if shards is None:
            return cls(out, None, "")
        if out.resolve() in [shards.resolve(), *shards.resolve().parents]:
            raise BadInput(f"shards: {shards} lies in {out}, which the result replaces; choose another directory")
        words = ["fieldflow", "verify", *([] if experiment is None else [experiment]), "--out", str(out)]
        for name, value in options.items():
            if value is True:
                words.append(f"--{name}")
            elif value is not None and value is not False:
                words += [f"--{name}", str(value)]
        return cls(out, shards, shlex.join([*words, "--shards", str(shards), "--resume"]))

    def left(self) -> str:
        """Return how many members are kept and how to go on; "" if none are."""
        kept = "" if self.shards is None else kept_in(self.shards)
        return f"{kept}; go on with {self.again}" if kept else ""
