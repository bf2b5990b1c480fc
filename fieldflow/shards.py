"""How does a long sampling outlive a crash? Its records in files of a few blocks each, with a checksum for every file.

A shard is written to a temporary name, synced and renamed; the manifest that lists it is replaced afterwards.  Whenever
the process dies, what the manifest lists is complete, and everything else is computed again.
"""

import hashlib
import io
import json
import logging
import platform
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import llvmlite
import llvmlite.binding
import numba
import numpy as np
import scipy

from fieldflow import __version__
from fieldflow.errors import BadInput
from fieldflow.manifest import (
    TEMPORARY,
    atomic_write,
    first_difference,
    kept_in,
    kept_members,
    read_manifest,
    write_manifest,
)
from fieldflow.numeric.jit import source_digest
from fieldflow.numeric.rng import RNG_VERSION
from fieldflow.workers import BLOCK

if sys.platform != "win32":
    import fcntl

SCHEMA = 1
BLOCKS_PER_SHARD = 16
"""At most: few enough members to lose by a kill, enough for files of a sensible size."""

FEWEST_SHARDS = 32
"""Small ensembles are cut into about so many shards, so that they too can be shared out and resumed."""

_LOCK = ".lock"
_LOG = logging.getLogger("fieldflow.shards")


class Record(Protocol):
    """A NamedTuple of arrays; the first has one row for each member."""

    def _asdict(self) -> dict[str, Any]: ...


T = TypeVar("T", bound=Record)


def members_per_shard(members: int, block: int = BLOCK) -> int:
    """Return how many members of an ensemble share one shard, a whole number of blocks of so many.

    >>> members_per_shard(600), members_per_shard(100_000)
    (64, 1024)
    """
    blocks = -(-members // block)
    return block * min(BLOCKS_PER_SHARD, max(1, blocks // FEWEST_SHARDS))


def identity(resolved: Mapping[str, Any], digest: str, *, seed: int, members: int) -> dict[str, Any]:
    """Return everything on which the numbers in a shard depend, as JSON values."""
    described = {key: value for key, value in resolved.items() if key not in ("description", "minutes")}
    values = {
        "schema": SCHEMA,
        "experiment": {"resolved": described, "digest": digest},
        "seed": seed,
        "rng_version": RNG_VERSION,
        "versions": {
            "fieldflow": __version__,
            "llvmlite": llvmlite.__version__,
            "numba": numba.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "scipy": scipy.__version__,
            "numeric": source_digest(),
        },
        "machine": f"{platform.machine()} {llvmlite.binding.get_host_cpu_name()}",
        "block": BLOCK,
        "members_per_shard": members_per_shard(members),
    }
    same: dict[str, Any] = json.loads(json.dumps(values))
    return same


class Shards:
    """The kept records of one run in one directory.  Nothing is written before ``open``.

    Parameters
    ----------
    directory : Path
    identity : mapping
        What must be the same for records to be taken over; JSON values.
    members : int
        Members of the run, for messages.
    resume : bool
        Whether to go on from what is kept there.

    Raises
    ------
    BadInput
        If the directory keeps another run (the message names the key), or one that was not to be resumed.
    """

    def __init__(self, directory: Path, identity: Mapping[str, Any], members: int, *, resume: bool) -> None:
        self.directory, self.members, self.resume = Path(directory), members, resume
        self._identity = dict(identity)
        self._entries: dict[str, dict[str, Any]] = {}
        self._writing = threading.Lock()
        self._guard: IO[bytes] | None = None
        self._check()

    def _check(self) -> dict[str, dict[str, Any]] | None:
        """Return what the manifest lists, None without a manifest; BadInput if the directory cannot be used."""
        if not self.directory.exists():
            return None
        if not self.directory.is_dir():
            raise BadInput(f"shards: {self.directory} exists and is not a directory")
        manifest = read_manifest(self.directory)
        if manifest is None:
            if any(path.name != _LOCK and path.suffix != TEMPORARY for path in self.directory.iterdir()):
                raise BadInput(f"shards: {self.directory} exists and has no manifest; choose another directory")
            return None
        there = {key: value for key, value in manifest.items() if key not in ("shards", "members")}
        difference = first_difference(there, self._identity)
        if difference is not None:
            raise BadInput(f"shards: {self.directory} keeps another run: {difference}; choose another directory")
        if not self.resume:
            raise BadInput(
                f"shards: {kept_in(self.directory)}; give --resume (resume=True) or choose another directory"
            )
        entries: dict[str, dict[str, Any]] = manifest["shards"]
        return entries

    def open(self) -> None:
        """Take hold of the directory: create it, keep other runs out, remove unfinished files.

        Raises
        ------
        BadInput
            If another run uses it, or it cannot be written.
        """
        if self._guard is not None:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            guard = (self.directory / _LOCK).open("ab")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            _lock(guard, self.directory)
            found = self._check()
            for path in self.directory.glob(f".*{TEMPORARY}"):
                path.unlink()
            if found is None:
                if self.resume:
                    _LOG.warning("resume: nothing is kept in %s; starting with the first member", self.directory)
                self._write_manifest()
        except BaseException:
            guard.close()
            raise
        self._entries = found or {}
        self._guard = guard

    def close(self) -> None:
        """Let other runs use the directory."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def read(self, name: str, members: int, kind: Callable[..., T]) -> T | None:
        """Return the record called ``name``; None if it is not kept, or damaged (a warning names the file then)."""
        path = self.directory / name
        entry = self._entries.get(name)
        if entry is None:
            if path.exists():
                _LOG.warning("shards: %s is not in the manifest; computed again", path)
            return None
        damage = ""
        try:
            content = path.read_bytes()
            if len(content) != entry["size"]:
                damage = f"has {len(content)} bytes instead of {entry['size']}"
            elif hashlib.sha256(content).hexdigest() != entry["sha256"]:
                damage = "does not have the checksum in the manifest"
            else:
                return _unpacked(content, members, kind)
        except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
            damage = f"cannot be read ({' '.join(str(error).split())})"
        _LOG.warning("shards: %s %s; computed again", path, damage)
        del self._entries[name]
        return None

    def write(self, name: str, stage: str, members: int, record: Record) -> None:
        """Keep a record; when this returns it survives a kill.

        Raises
        ------
        BadInput
            If the disk is full or does not take it: what was kept before stays, and the message says how to go on.
        """
        content = io.BytesIO()
        np.savez(content, **record._asdict())
        data = content.getvalue()
        entry = {"stage": stage, "members": members, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        with self._writing:
            try:
                atomic_write(self.directory / name, data)
            except OSError as error:
                raise self._unwritable(error) from error
            self._entries[name] = entry
            self._write_manifest()

    def _write_manifest(self) -> None:
        try:
            write_manifest(self.directory, {**self._identity, "members": self.members, "shards": self._entries})
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> BadInput:
        manifest = read_manifest(self.directory) if self.directory.is_dir() else None
        kept = 0 if manifest is None else kept_members(manifest)
        return BadInput(
            f"shards: cannot write in {self.directory}: {error.strerror or error}; {kept} of {self.members} members are kept "
            "there; when it can be written, go on with --resume (resume=True)"
        )


def _lock(guard: IO[bytes], directory: Path) -> None:
    """Hold the directory until the file is closed or the process dies, where the system can do that."""
    if sys.platform != "win32":
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(f"shards: {directory} is in use by another run") from error


def _unpacked(content: bytes, members: int, kind: Callable[..., T]) -> T:
    """Return the record in the bytes of a shard; ValueError or TypeError if it is not one of ``kind`` with ``members``."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        record = kind(**dict(arrays))
    if len(next(iter(record._asdict().values()))) != members:
        raise ValueError(f"expected {members} members")
    return record
