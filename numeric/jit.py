"""How is the readable code compiled? One decorator and one cache, keyed by everything the machine code depends on.

Numba's own cache key covers only the file of the compiled function: after an edit in a callee elsewhere a cached caller
silently keeps the old numbers.  Here the cache *folder* is named by a hash of all compiled sources and of the versions
that produced the machine code, so a stale entry cannot be reached.
"""

import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
import scipy
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

_PLAIN: Any = {"no_cfunc_wrapper": True}
"""Nobody calls these functions from C, and a tenth of the time of a first run went into the code that would allow it."""


def digest_of(parts: list[bytes]) -> str:
    """Return the first 20 hex digits of the SHA-256 of length-prefixed parts.

    >>> digest_of([b"a", b"b"]) == digest_of([b"ab"])
    False
    """
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.hexdigest()[:20]


def toolchain() -> bytes:
    """Return the versions that decide what machine code a source becomes."""
    versions = (numba.__version__, llvmlite.__version__, np.__version__, scipy.__version__)
    return repr((sys.version_info[:3], platform.machine(), *versions)).encode()


@cache
def source_digest() -> str:
    """Return the digest of every source file of this package and of the toolchain."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return digest_of([toolchain(), *(path.name.encode() + path.read_bytes() for path in sources)])


@cache
def cache_root() -> Path | None:
    """Return the user's cache folder for fieldflow, or None where nothing can be written.

    ``FIELDFLOW_CACHE_DIR`` overrides the XDG default.
    """
    chosen = os.environ.get("FIELDFLOW_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(chosen) if chosen else Path(base) / "fieldflow"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return root
    except OSError:
        return None


@contextmanager
def cached_in(folder: Path | None) -> Iterator[bool]:
    """Let functions decorated inside use ``folder`` as Numba's cache; yields whether caching is possible."""
    config: Any = numba.config
    previous = config.CACHE_DIR
    if folder is not None:
        config.CACHE_DIR = str(folder)
    try:
        yield folder is not None
    finally:
        config.CACHE_DIR = previous


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` with Numba on first use, without the GIL, cached on disk.

    No ``fastmath``: reassociation breaks reproducibility and ``isnan``.
    """
    root = cache_root()
    with cached_in(None if root is None else root / f"numeric-{source_digest()}") as possible:
        compiled: Callable[..., Any] = numba.njit(nogil=True, cache=possible, **_PLAIN)(function)
    return compiled


def vectorised(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` as ``jit`` does, with 1/0 = inf as in NumPy, so that LLVM turns its loops into vector code.

    No fast-math flag at all: every operation is the one IEEE 754 defines and products are fused only where ``fma`` says
    so.  The numbers therefore do not depend on whether a loop's vector body or its scalar remainder made them, nor on
    the width of the machine's vectors.
    """
    root = cache_root()
    with cached_in(None if root is None else root / f"numeric-{source_digest()}") as possible:
        compiled: Callable[..., Any] = numba.njit(nogil=True, cache=possible, error_model="numpy", **_PLAIN)(function)
    return compiled


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of numbers as ``vectorised`` does, for use inside loops: always inlined into its callers.

    LLVM would leave the longer ones as calls, and a loop with a call stays scalar.
    """
    compiled: Callable[..., Any] = numba.njit(nogil=True, error_model="numpy", forceinline=True, **_PLAIN)(function)
    return compiled


def merged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a long function with one caller as part of that caller, as if its text stood there.

    At each level of calls Numba compiles all that lies below once more: a tree as deep as its text would make the first
    run twice as long.
    """
    compiled: Callable[..., Any] = numba.njit(nogil=True, inline="always", **_PLAIN)(function)
    return compiled


def fma(a: float, b: float, c: float) -> float:
    """Return a·b + c; rounded once in compiled code, twice where Numba is switched off."""
    return a * b + c


def choose(condition: bool, a: float, b: float) -> float:
    """Return a if ``condition`` else b; compiled to a selection, both being computed, and never to a branch."""
    return a if condition else b


@intrinsic
def _fused(typing, a, b, c):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        double = ir.DoubleType()
        function = builder.module.declare_intrinsic("llvm.fma", [double], ir.FunctionType(double, [double] * 3))
        return builder.call(function, arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@intrinsic
def _selected(typing, condition, a, b):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.select(*arguments)

    return types.float64(types.boolean, types.float64, types.float64), generate


@overload(fma)
def _compiled_fma(a, b, c):  # type: ignore[no-untyped-def]
    return lambda a, b, c: _fused(a, b, c)  # type: ignore[call-arg]


@overload(choose)
def _compiled_choose(condition, a, b):  # type: ignore[no-untyped-def]
    return lambda condition, a, b: _selected(condition, a, b)  # type: ignore[call-arg]
