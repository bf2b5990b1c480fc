"""How does a long pass over the members run? In pieces on threads or processes; its records kept on disk if wanted."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fieldflow.errors import BadInput
from fieldflow.processes import Piece, Stop, in_processes
from fieldflow.shards import Record, Shards, members_per_shard
from fieldflow.workers import BLOCK, in_turn

T = TypeVar("T", bound=Record)
BlockWork = Callable[[int, int, Stop], T]
"""Called as work(first member, count, stop)."""


@dataclass(frozen=True)
class Keeper:
    """Where the records of long passes go, and how many processes make them; by default nowhere, and this one."""

    shards: Shards | None = None
    workers: int = 1

    def gather(
        self,
        label: str,
        stage: str,
        kind: Callable[..., T],
        members: int,
        prepare: Callable[[], BlockWork[T]],
        *,
        threads: int,
        progress: Callable[[int], None],
    ) -> T:
        """Return the records of all members as one, in the order of the members; arguments as in ``each``."""
        parts: list[T] = []

        def add(_first: int, count: int, record: T) -> None:
            parts.append(record)
            progress(count)

        self.each(label, stage, kind, members, prepare, add, threads=threads)
        return _joined(kind, parts)

    def each(
        self,
        label: str,
        stage: str,
        kind: Callable[..., T],
        members: int,
        prepare: Callable[[], BlockWork[T]],
        add: Callable[[int, int, T], None],
        *,
        threads: int,
        block: int = BLOCK,
    ) -> None:
        """Call add(first member, count, record) for all pieces of the ensemble, in the order of the members.

        Parameters
        ----------
        label, stage : str
            Of the network and of the pass; they name the shards.
        kind : NamedTuple class
            Of arrays; the first has one row for each member.
        members : int
        prepare : callable
            Returns the work on one block; picklable if there are several processes.
        add : callable
            What it does not keep is forgotten: memory does not grow with the number of members.
        threads : int
            Used unless there are several processes.
        block : int
            Members that are computed together.

        The records depend neither on ``workers`` nor on what was kept: every block is computed alone.
        """
        size = members_per_shard(members, block)
        pieces = [(first, min(size, members - first)) for first in range(0, members, size)]
        names = {piece: f"{label}-{stage}-{piece[0] // size:06d}.npz" for piece in pieces}
        kept = self._kept(names, kind)
        missing = [piece for piece in pieces if piece not in kept]

        def write(piece: Piece, record: T) -> None:
            if self.shards is not None:
                self.shards.write(names[piece], stage, piece[1], record)

        if self.workers > 1:
            made = _by_processes(partial(_in_worker, prepare, kind, block), missing, write, self.workers)
        else:
            made = _by_threads(partial(_piece, prepare(), kind, block), missing, write, threads)
        with closing(made):
            for piece in pieces:
                record = self._read(names[piece], piece, kind) if piece in kept else next(made)
                add(*piece, record)

    def _kept(self, names: dict[Piece, str], kind: Callable[..., T]) -> set[Piece]:
        """Return which pieces are whole on disk."""
        if self.shards is None:
            return set()
        self.shards.open()
        return {piece for piece, name in names.items() if self.shards.read(name, piece[1], kind) is not None}

    def _read(self, name: str, piece: Piece, kind: Callable[..., T]) -> T:
        """Return a piece that was whole a moment ago."""
        record = None if self.shards is None else self.shards.read(name, piece[1], kind)
        if record is None:
            raise BadInput(f"shards: {name} was changed while the run went on; start again with --resume (resume=True)")
        return record

    def close(self) -> None:
        """Let go of the directory."""
        if self.shards is not None:
            self.shards.close()


def _by_threads(
    work: Callable[[Piece, Stop], T], pieces: list[Piece], write: Callable[[Piece, T], None], threads: int
) -> Generator[T, None, None]:
    """Yield the records in the order of the pieces; each is written as soon as it is made."""

    def kept(piece: Piece, stop: Stop) -> T:
        record = work(piece, stop)
        if not stop[0]:  # otherwise the last block may have ended early
            write(piece, record)
        return record

    yield from in_turn(kept, pieces, threads=threads)


def _by_processes(
    work: Callable[[Piece, Stop], T], pieces: list[Piece], write: Callable[[Piece, T], None], workers: int
) -> Generator[T, None, None]:
    """Yield the records in the order of the pieces; each is written as soon as it arrives."""
    early: dict[Piece, T] = {}
    with closing(in_processes(work, pieces, workers=workers)) as arriving:
        for piece in pieces:
            while piece not in early:
                arrived, record = next(arriving)
                write(arrived, record)
                early[arrived] = record
            yield early.pop(piece)


def _piece(work: BlockWork[T], kind: Callable[..., T], block: int, piece: Piece, stop: Stop) -> T:
    """Return the record of a few blocks, one after the other; of fewer if it is told to stop."""
    first, count = piece
    parts = []
    for start in range(first, first + count, block):
        parts.append(work(start, min(block, first + count - start), stop))
        if stop[0]:
            break
    return _joined(kind, parts)


def _in_worker(prepare: Callable[[], BlockWork[T]], kind: Callable[..., T], block: int, piece: Piece, stop: Stop) -> T:
    with threadpool_limits(limits=1, user_api="blas"):
        return _piece(prepare(), kind, block, piece, stop)


def _joined(kind: Callable[..., T], records: list[T]) -> T:
    columns: dict[str, list[Any]] = {name: [] for name in records[0]._asdict()}
    for record in records:
        for name, column in record._asdict().items():
            columns[name].append(column)
    return kind(**{name: np.concatenate(parts) for name, parts in columns.items()})
