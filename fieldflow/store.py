"""How do files reach the disk? Complete or not at all: written to a temporary place and moved."""

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fieldflow.errors import BadInput

MARKER = ".fieldflow"
"""A file that says fieldflow wrote this directory, and which files."""


def plain(value: Any) -> Any:
    """Return ``value`` as JSON types: arrays as lists, NaN and infinity as None.

    >>> plain({"a": np.float64(1.5), "b": (float("nan"),)})
    {'a': 1.5, 'b': [None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, creating the parent directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def check_replaceable(directory: Path) -> None:
    """Raise BadInput unless ``directory`` can be written: absent, empty, or written by fieldflow, in a writable place."""
    if directory.exists() and not directory.is_dir():
        raise BadInput(f"out: {directory} exists and is not a directory")
    if directory.is_dir() and any(directory.iterdir()) and not _written(directory):
        raise BadInput(f"out: {directory} exists and was not written by fieldflow; choose another directory")
    parent = directory.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise BadInput(f"out: cannot write in {parent}")


def replace_directory(directory: Path, fill: Callable[[Path], None]) -> Path:
    """Fill a new directory beside ``directory`` and move it into place; on any failure nothing is left behind.

    Files in ``directory`` that fieldflow did not write (a PDF, notes) stay; those that it wrote before are replaced.
    """
    check_replaceable(directory)
    target = directory.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=".fieldflow-", dir=target.parent))
    try:
        fresh, old = working / "new", working / "old"
        fresh.mkdir()
        fill(fresh)
        ours = sorted(path.relative_to(fresh).as_posix() for path in _files(fresh))
        _keep_foreign(target, fresh)
        write_text(
            fresh / MARKER, "\n".join(["Written by fieldflow, which replaces these files and keeps others:", *ours, ""])
        )
        if target.exists():
            target.rename(old)
        try:
            fresh.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return directory


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() or path.is_symlink()]


def _keep_foreign(target: Path, fresh: Path) -> None:
    """Copy what others put into ``target`` to the same place in ``fresh``, unless something new is there."""
    if not target.is_dir():
        return
    listed = {MARKER, *(target / MARKER).read_text(encoding="utf-8").splitlines()} if _written(target) else set()
    for path in _files(target):
        place = path.relative_to(target)
        if place.as_posix() not in listed and not (fresh / place).exists():
            (fresh / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, fresh / place, follow_symlinks=False)


def _written(directory: Path) -> bool:
    return (directory / MARKER).is_file()
