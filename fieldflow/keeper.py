"""How does a long pass over the members run? In blocks on threads or processes; its records kept on disk if wanted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fieldflow.processes import Piece, Stop, in_processes
from fieldflow.shards import Record, Shards, members_per_shard
from fieldflow.workers import BLOCK, in_blocks, in_order

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
        """Return the records of all members as one, in the order of the members.

        Parameters
        ----------
        label, stage : str
            Of the network and of the pass; they name the shards.
        kind : NamedTuple class
            Of arrays with the members first.
        members : int
        prepare : callable
            Returns the work on one block; picklable if there are several processes.
        threads : int
            Used unless there are several processes.
        progress : callable
            Told how many members were added.

        The numbers depend neither on ``workers`` nor on what was kept: every block is computed alone.
        """
        if self.shards is None and self.workers == 1:
            return _joined(kind, in_blocks(prepare(), members, threads=threads, progress=progress))
        size = members_per_shard(members)
        pieces = [(first, min(size, members - first)) for first in range(0, members, size)]
        names = {piece: f"{label}-{stage}-{piece[0] // size:06d}.npz" for piece in pieces}
        found = self._kept(names, kind, progress)

        def keep(piece: Piece, record: T) -> None:
            if self.shards is not None:
                self.shards.write(names[piece], stage, piece[1], record)
            found[piece] = record

        missing = [piece for piece in pieces if piece not in found]
        if self.workers > 1:
            work = partial(_in_worker, prepare, kind)

            def done(piece: Piece, record: T) -> None:
                keep(piece, record)
                progress(piece[1])

            in_processes(work, missing, workers=self.workers, done=done)
        else:
            _on_threads(partial(_piece, prepare(), kind), missing, keep, threads, progress)
        return _joined(kind, [found[piece] for piece in pieces])

    def _kept(self, names: dict[Piece, str], kind: Callable[..., T], progress: Callable[[int], None]) -> dict[Piece, T]:
        """Return the records on disk."""
        found: dict[Piece, T] = {}
        if self.shards is None:
            return found
        self.shards.open()
        for piece, name in names.items():
            record = self.shards.read(name, piece[1], kind)
            if record is not None:
                found[piece] = record
                progress(piece[1])
        return found

    def close(self) -> None:
        """Let go of the directory."""
        if self.shards is not None:
            self.shards.close()


def _on_threads(
    work: Callable[[Piece, Stop], T],
    pieces: list[Piece],
    keep: Callable[[Piece, T], None],
    threads: int,
    progress: Callable[[int], None],
) -> None:
    def kept(piece: Piece, stop: Stop) -> None:
        record = work(piece, stop)
        if not stop[0]:  # otherwise the last block may have ended early
            keep(piece, record)

    in_order(kept, pieces, threads=threads, progress=lambda piece: progress(piece[1]))


def _piece(work: BlockWork[T], kind: Callable[..., T], piece: Piece, stop: Stop) -> T:
    """Return the record of a few blocks, one after the other; of fewer if it is told to stop."""
    first, count = piece
    parts = []
    for start in range(first, first + count, BLOCK):
        parts.append(work(start, min(BLOCK, first + count - start), stop))
        if stop[0]:
            break
    return _joined(kind, parts)


def _in_worker(prepare: Callable[[], BlockWork[T]], kind: Callable[..., T], piece: Piece, stop: Stop) -> T:
    with threadpool_limits(limits=1, user_api="blas"):
        return _piece(prepare(), kind, piece, stop)


def _joined(kind: Callable[..., T], records: list[T]) -> T:
    columns: dict[str, list[Any]] = {name: [] for name in records[0]._asdict()}
    for record in records:
        for name, column in record._asdict().items():
            columns[name].append(column)
    return kind(**{name: np.concatenate(parts) for name, parts in columns.items()})
