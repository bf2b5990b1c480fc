"""Which products does Numba not have? BLAS dsyrk (half the work of a Gram product) and dtrsv, called from compiled code.

The functions are SciPy's, registered with LLVM by name so that cached machine code finds them again.
"""

import ctypes
from typing import Any

import numpy as np
from llvmlite import binding
from numba import types
from scipy.linalg import cython_blas

from fieldflow.numeric.jit import jit

_SIGNATURES = {
    "dsyrk": "void (char *, char *, int *, int *, __pyx_t_5scipy_6linalg_11cython_blas_d *, "
    "__pyx_t_5scipy_6linalg_11cython_blas_d *, int *, __pyx_t_5scipy_6linalg_11cython_blas_d *, "
    "__pyx_t_5scipy_6linalg_11cython_blas_d *, int *)",
    "dtrsv": "void (char *, char *, char *, int *, __pyx_t_5scipy_6linalg_11cython_blas_d *, int *, "
    "__pyx_t_5scipy_6linalg_11cython_blas_d *, int *)",
}


def _external(name: str) -> types.ExternalFunction:
    """Register a BLAS function under a name of ours and return how compiled code calls it (all arguments pointers)."""
    capsule = cython_blas.__pyx_capi__[name]
    get_name, get_pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = get_name(capsule)
    # A build of SciPy with 64-bit integers would read past the 32-bit ones passed here.
    if signature.decode() != _SIGNATURES[name]:
        raise ImportError(f"scipy.linalg.cython_blas.{name} has the unexpected signature {signature.decode()!r}")
    symbol = f"fieldflow_blas_{name}"
    binding.add_symbol(symbol, get_pointer(capsule, signature))
    arguments = [types.uintp] * _SIGNATURES[name].count("*")
    return types.ExternalFunction(symbol, types.void(*arguments))


_dsyrk: Any = _external("dsyrk")
_dtrsv: Any = _external("dtrsv")

_LETTERS = np.frombuffer(b"UNT", dtype=np.uint8)
_UPPER, _NORMAL, _TRANSPOSED = 0, 1, 2


@jit
def _gram(features):  # type: ignore[no-untyped-def]
    """Return featuresᵀ·features and the arrays behind the pointers, which must outlive the call."""
    m, n = features.shape
    product = np.empty((n, n))
    letters = _LETTERS.copy()
    sizes = np.array([n, m], np.int32)
    scales = np.array([1.0, 0.0])
    letter, size, scale = letters.ctypes.data, sizes.ctypes.data, scales.ctypes.data
    # Fortran sees features as (n, m) and fills its upper triangle, which is the lower one in C order.
    _dsyrk(
        letter + _UPPER,
        letter + _NORMAL,
        size,
        size + 4,
        scale,
        features.ctypes.data,
        size,
        scale + 8,
        product.ctypes.data,
        size,
    )
    for i in range(n):
        for j in range(i):
            product[j, i] = product[i, j]
    return product, letters, sizes, scales


@jit
def gram(features):  # type: ignore[no-untyped-def]
    """Return featuresᵀ·features (n, n), exactly symmetric, for features (m, n) in C order."""
    return _gram(features)[0]


@jit
def solve_unit_lower(matrix, vector):  # type: ignore[no-untyped-def]
    """Overwrite ``vector`` (n,) by (1 + strictly lower part of ``matrix``)^{-1}·vector; ``matrix`` (n, n) in C order."""
    letters = _LETTERS.copy()
    sizes = np.array([matrix.shape[0], 1], np.int32)
    letter, size = letters.ctypes.data, sizes.ctypes.data
    # Fortran sees the transpose: an upper triangle, solved transposed, with unit diagonal.
    _dtrsv(
        letter + _UPPER,
        letter + _TRANSPOSED,
        letter + _UPPER,
        size,
        matrix.ctypes.data,
        size,
        vector.ctypes.data,
        size + 4,
    )
    return letters[0] + sizes[0]
