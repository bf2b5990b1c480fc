"""Must a formula be derived in every process? No: what was derived with these sources and this SymPy is kept on disk.

The key covers every source file of the symbolic layer, the versions of SymPy and mpmath, and what was asked for, so an
edited lemma can never answer with an old result.  The folder is the user's own cache, as trusted as Numba's machine code
beside it.
"""

import os
import pickle
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar, cast

import mpmath  # type: ignore[import-untyped]
import sympy as sp

from fieldflow import symbolic
from fieldflow.numeric.jit import cache_root, digest_of

T = TypeVar("T")

_BROKEN = (OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, TypeError, ValueError)
"""What reading a truncated or foreign file may raise."""


@cache
def _sources() -> bytes:
    files = sorted(path for folder in symbolic.__path__ for path in Path(folder).glob("*.py"))
    versions = f"{sp.__version__} {mpmath.__version__}".encode()
    return digest_of([versions, *(path.read_bytes() for path in files)]).encode()


def remembered(kind: type | tuple[type, ...], build: Callable[[], T], *key: str) -> T:
    """Return what ``build`` returned earlier for this ``key``, or call it now and keep the result.

    Parameters
    ----------
    kind : type, or several
        What is expected; anything else found under the key is derived anew.
    build : callable
    key : str
        What is asked for, completely.
    """
    root = cache_root()
    if root is None:
        return cast(T, pickle.loads(pickle.dumps(build())))
    path = root / "derivations" / f"{digest_of([_sources(), *(part.encode() for part in key)])}.pickle"
    try:
        found = pickle.loads(path.read_bytes())
        if isinstance(found, kind):
            return cast(T, found)
    except _BROKEN:
        pass
    content = pickle.dumps(build())
    _keep(path, content)
    return cast(T, pickle.loads(content))  # as a later process reads it: SymPy restores (a + b)/2 as a/2 + b/2


def _keep(path: Path, content: bytes) -> None:
    """Write under a temporary name and move into place; a disk that is full or read-only costs only the speed."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
