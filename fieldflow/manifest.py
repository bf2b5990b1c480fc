"""What survives a kill? Files that are complete or absent, and a list of them that is replaced last."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fieldflow.errors import BadInput

MANIFEST = "manifest.json"
TEMPORARY = ".tmp"

_RESOLVED = "experiment.resolved."


def atomic_write(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds all of it or what it held before, also after a kill or a power cut.

    Raises
    ------
    OSError
        If the disk does not take it; no temporary file is left then.
    """
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105, the name says what it does
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_names(path.parent)


def _sync_names(directory: Path) -> None:
    """Let the new name reach the disk as well, where directories can be opened."""
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_manifest(directory: Path, values: Mapping[str, Any]) -> None:
    """Replace the manifest of ``directory``."""
    text = json.dumps(values, sort_keys=True, indent=1, allow_nan=False) + "\n"
    atomic_write(directory / MANIFEST, text.encode("utf-8"))


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Return the manifest of ``directory``, None if there is none.

    Raises
    ------
    BadInput
        If there is one that cannot be read: nothing in the directory can be trusted then.
    """
    path = directory / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"shards: cannot read {path}; remove {directory} to start again") from error
    if not isinstance(values, dict) or not _listed(values.get("shards")) or not isinstance(values.get("members"), int):
        raise BadInput(f"shards: {path} is no manifest of fieldflow; remove {directory} to start again")
    return values


def _listed(shards: Any) -> bool:
    """Return whether ``shards`` is a list of files as ``Shards`` writes it."""
    keys = {"stage", "members", "sha256", "size"}
    return isinstance(shards, dict) and all(isinstance(entry, dict) and set(entry) == keys for entry in shards.values())


def kept_members(manifest: Mapping[str, Any], stage: str = "sample") -> int:
    """Return how many members have passed a stage whose name begins with ``stage`` and are kept.

    >>> kept_members({"shards": {"a": {"stage": "sample", "members": 64}, "b": {"stage": "predict", "members": 64}}})
    64
    """
    return sum(entry["members"] for entry in manifest["shards"].values() if entry["stage"].startswith(stage))


def kept_in(directory: Path) -> str:
    """Return how much is kept in ``directory`` as part of a sentence, "" if it has no manifest."""
    manifest = read_manifest(directory)
    if manifest is None:
        return ""
    return f"{kept_members(manifest)} of {manifest['members']} members are kept in {directory}"


def first_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """Return the first key in which two runs differ with its two values, None if they are the same.

    >>> first_difference({"a": {"b": 1}}, {"a": {"b": 2}})
    'a.b is 1 there and 2 here'
    """
    return next(_differences(there, here, ""), None)


def _differences(there: Any, here: Any, prefix: str) -> Iterator[str]:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in [*here, *(key for key in there if key not in here)]:
            yield from _differences(there.get(key), here.get(key), f"{prefix}.{key}" if prefix else key)
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for position, pair in enumerate(zip(there, here, strict=True)):
            yield from _differences(*pair, f"{prefix}[{position}]")
    elif there != here:
        yield f"{prefix.removeprefix(_RESOLVED)} is {json.dumps(there)} there and {json.dumps(here)} here"
