"""How does a formula become fast code? A generated module, named by the hash of its content, compiled by Numba.

The module holds everything it calls, so a changed formula or helper is another module: stale machine code cannot be
reached.  A second process finds both the module and Numba's cache.
"""

import ctypes
import importlib.util
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
import sympy as sp
from llvmlite import binding
from numba.core.errors import NumbaExperimentalFeatureWarning
from scipy.special import cython_special

from fieldflow import codegen, guarded, inputs, interval_code, quadrature_code
from fieldflow.errors import BadInput, InaccurateResult
from fieldflow.numeric.jit import cache_root, cached_in, digest_of, source_digest, toolchain
from fieldflow.python_quadrature import python_quadrature
from fieldflow.symbolic import formula as formula_module
from fieldflow.symbolic.activations import implemented
from fieldflow.symbolic.contraction import Contraction
from fieldflow.symbolic.formula import Formula
from fieldflow.symbolic.momentum import ESTIMATES
from fieldflow.symbolic.symbols import z

# Activations are passed to compiled code as first-class functions; the feature works and is tested here.
warnings.filterwarnings("ignore", category=NumbaExperimentalFeatureWarning)

ACTIVATION = numba.types.void(numba.types.float64[::1])

_CLAMP = 8.0 * np.finfo(np.float64).eps


@cache
def compile_formula(formula: Formula) -> Callable[..., Any]:
    """Return ``formula`` as a function of its arguments, in order, that broadcasts over arrays.

    Parameters
    ----------
    formula : Formula
        Scalar (compiled by Numba) or matrix (NumPy and BLAS); matrices may be stacks, with leading axes.

    Returns
    -------
    callable
        Validates its arguments (BadInput naming the argument) and returns float64.

    Raises
    ------
    NoClosedForm
        If the expression holds a function without a compiled form; it is named.

    >>> from fieldflow.symbolic.gaussian import gaussian_expectation
    >>> f = compile_formula(gaussian_expectation("relu"))
    >>> float(f(2.0, 2.0, 2.0))
    1.0
    """
    names = [str(argument) for argument in formula.args]
    compiled = _compiled(formula, names)
    compiled.__name__ = re.sub(r"\W+", "_", formula.name)
    compiled.__doc__ = _about(formula, names)
    return compiled


def _compiled(formula: Formula, names: list[str]) -> Callable[..., Any]:
    if any(isinstance(argument, sp.MatrixSymbol) for argument in formula.args):
        return _matrix_function(formula, names)
    expr = formula.expr if formula.numerical is None else formula.numerical
    expr = expr.replace(lambda part: isinstance(part, Contraction), lambda part: part.doit())
    checked = _boundary(formula, names)
    if isinstance(expr, sp.Integral):
        return _quadrature_function(formula, expr, names, checked)
    body = (
        codegen.scalar_body(expr, names)
        if formula.integral is None
        else guarded.source(expr, formula.integral, formula.breaks, names, name="evaluate", some=names)
    )
    evaluate = _scalar_function(body, names, checked)
    if formula.integral is not None:
        return _finite(evaluate, formula.name)
    if not formula.closed_form:
        error = expr
        for value, estimate in ESTIMATES.items():
            error = error.replace(value, estimate)
        evaluate.error_estimate = _scalar_function(codegen.scalar_body(error, names), names, checked)  # type: ignore[attr-defined]
    return evaluate


def _about(formula: Formula, names: list[str]) -> str:
    """Return the docstring of a compiled formula: what it computes, from what, and where that holds."""
    shapes = "matrices or stacks of them" if formula.expr.has(sp.MatrixSymbol) else "numbers or arrays that broadcast"
    lines = [f"Return {formula.lhs} of the formula {formula.name} ({formula.validity}) as float64."]
    lines += ["", f"Arguments, in order: {', '.join(names)}; {shapes}."]
    if _ranks(formula):
        lines.append("They are the cumulants at one mesh point; for tensors on a mesh use fieldflow.couplings.")
    return "\n".join([*lines, *([f"Domain: {formula.domain}"] if formula.domain else [])])


def _ranks(formula: Formula) -> dict[str, int]:
    """Return the arguments that stand for tensors, as they are at one mesh point, with the ranks of those."""
    parts = formula.expr.atoms(Contraction)
    return {str(symbol): rank for part in parts for rank, symbol in part.tensors.items()}


def _no_tensor(formula: Formula) -> Callable[[str, Any], None]:
    """Return the check that no argument of a formula for one mesh point is a tensor on many, which would broadcast."""
    ranks = _ranks(formula)

    def check(name: str, array: Any) -> None:
        rank = ranks.get(name, 0)
        if rank > 1 and array.ndim == rank and len(set(array.shape)) == 1 and array.shape[0] > 1:
            raise BadInput(
                f"{name}: expected numbers at one mesh point, got shape {array.shape}, that of a tensor on "
                f"{array.shape[0]} points, for which fieldflow.couplings is made; flatten a grid of parameter values"
            )

    return check


def _scalar_function(body: str, names: list[str], checked: Callable[[Any], list[Any]]) -> Callable[..., Any]:
    ufunc = _load(_ufunc_source(body, len(names))).compiled

    def evaluate(*values: Any) -> Any:
        return ufunc(*checked(values))

    return evaluate


def _finite(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return the function with an error for values that are not finite numbers."""

    def evaluate(*values: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):  # of closed forms that are then replaced
            result = function(*values)
        if not np.all(np.isfinite(result)):
            raise BadInput(f"{name}: the expectation is not a finite number for these arguments")
        return result

    return evaluate


def _quadrature_function(
    formula: Formula, integral: sp.Integral, names: list[str], checked: Callable[[Any], list[Any]]
) -> Callable[..., Any]:
    """Return the integral over whitened variables or an interval; ``.error_estimate`` takes the same arguments."""
    if implemented(integral.function):
        integrate = python_quadrature(integral, formula.args)
    else:
        integrate = _load(_quadrature_source(integral, names, formula.breaks)).compiled

    def both(values: Any) -> tuple[Any, Any]:
        with np.errstate(all="ignore"):  # what is not finite is reported below
            result: tuple[Any, Any] = integrate(*np.broadcast_arrays(*checked(values)), formula.tolerance)
        if not np.all(np.isfinite(result[0])):
            raise BadInput(f"{formula.name}: the expectation is not a finite number for these arguments")
        return result

    def evaluate(*values: Any) -> Any:
        result, error = both(values)
        scale = np.maximum(np.abs(result), np.finfo(np.float64).tiny)
        if np.any(error > 1e3 * formula.tolerance * scale):
            warnings.warn(
                f"{formula.name}: the quadrature stopped at an estimated error of {np.max(error):.1e}, above the tolerance "
                f"{formula.tolerance:g}",
                InaccurateResult,
                stacklevel=2,
            )
        return result

    evaluate.error_estimate = lambda *values: both(values)[1]  # type: ignore[attr-defined]
    return evaluate


def _boundary(formula: Formula, names: list[str]) -> Callable[[Any], list[Any]]:
    """Return the function that checks the arguments of ``formula`` and makes arrays of them."""
    checks = [_domain(argument) for argument in formula.args]
    covariance = names[:3] == ["q11", "c", "q22"]
    needs = [(entry, sp.lambdify(formula.args, entry, "numpy")) for entry in formula.requires]
    one_point = _no_tensor(formula)

    def checked(values: Any) -> list[Any]:
        if len(values) != len(names):
            raise BadInput(f"{formula.name}: expected {len(names)} arguments ({', '.join(names)}), got {len(values)}")
        arrays = [inputs.real_array(name, value) for name, value in zip(names, values, strict=True)]
        for name, array in zip(names, arrays, strict=True):
            one_point(name, array)
        try:
            np.broadcast_shapes(*(array.shape for array in arrays))
        except ValueError as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(names, arrays, strict=True))
            raise BadInput(f"{formula.name}: expected shapes that broadcast, got {shapes}") from error
        if covariance:
            arrays = _inside(arrays)
        for name, array, check in zip(names, arrays, checks, strict=True):
            check(name, array)
        for entry, condition in needs:
            if np.any(condition(*arrays) <= 0):
                raise BadInput(f"{formula.name}: the expectation is infinite: expected {entry} > 0")
        return arrays

    return checked


@cache
def compile_scalar(expr: sp.Expr) -> Callable[..., Any]:
    """Return an expression of ``symbols.z`` as a ufunc; one with a caller's Python function as a NumPy function."""
    if implemented(expr):
        return sp.lambdify(z, expr, "numpy")  # type: ignore[no-any-return]
    ufunc: Callable[..., Any] = _load(_ufunc_source(codegen.scalar_body(expr, [str(z)]), 1)).compiled
    return ufunc


@cache
def compile_activation(expr: sp.Expr) -> Any:
    """Return σ compiled to act in place on a flat float64 array, to be passed into compiled code.

    ``expr`` is an expression of ``symbols.z``.
    """
    body = codegen.scalar_body(expr, [str(z)], vector=True)
    helpers, library = codegen.helpers_of(body)
    return _load(
        "\n".join([
            f"# Calls numeric sources {source_digest()}",  # part of the content that names the module
            _header(library),
            "from fieldflow.numeric import vectormath\n",
            _jitted(helpers),
            _jitted(body),
            "\ndef apply(values):\n    for i in range(values.size):\n        values[i] = evaluate(values[i])\n",
            "compiled = numba.cfunc(numba.types.void(numba.types.float64[::1]), cache=CACHE)(apply)\n",
        ])
    ).compiled  # fmt: skip


def load_functions(source: str, name: str, *, needs: list[str], inlined: list[str]) -> Any:
    """Return the function ``name`` of a source of scalar functions and loops, compiled and releasing the GIL.

    ``needs`` lists helper functions that the source calls without having been printed from an expression.  ``inlined``
    lists functions of the source that loops call: written out there, because a loop with a call stays scalar.
    """
    helpers, library = codegen.helpers_of(source + "".join(f"{helper}(" for helper in needs))
    text = "\n".join([_header(library), "import numpy as np\n", _jitted(helpers), _jitted(source, inlined)])
    return getattr(_load(text.replace("njit(error", "njit(cache=CACHE, nogil=True, error")), name)


def _matrix_function(formula: Formula, names: list[str]) -> Callable[..., Any]:
    function = _load(codegen.matrix_body(formula.expr, names)).evaluate
    shapes = [argument.shape if isinstance(argument, sp.MatrixSymbol) else None for argument in formula.args]

    def evaluate(*values: Any) -> Any:
        if len(values) != len(names):
            raise BadInput(f"{formula.name}: expected {len(names)} arguments ({', '.join(names)}), got {len(values)}")
        sizes: dict[Any, int] = {}
        arrays = []
        for name, value, shape in zip(names, values, shapes, strict=True):
            array = inputs.real_array(name, value)
            if shape is not None:
                _match(name, array, shape, sizes)
            arrays.append(array)
        return function(*arrays)

    return evaluate


def _match(name: str, array: np.ndarray[Any, Any], shape: tuple[Any, ...], sizes: dict[Any, int]) -> None:
    """Raise BadInput unless the array is a matrix, or a stack, whose dimensions agree with the earlier arguments'."""
    wanted = tuple(sizes.get(symbol, symbol) for symbol in shape)
    fits = array.ndim >= 2 and all(
        isinstance(size, sp.Basic) or size == found for size, found in zip(wanted, array.shape[-2:], strict=True)
    )
    if not fits:
        raise BadInput(f"{name}: expected shape ({', '.join(map(str, wanted))}), got {array.shape}")
    sizes.update(zip(shape, array.shape[-2:], strict=True))


def _inside(arrays: list[Any]) -> list[Any]:
    """Return (q11, c, q22, …) with |c| clamped to √(q11 q22) when a few ulp above it; BadInput when more."""
    q11, c, q22 = arrays[:3]
    for name, value in (("q11", q11), ("q22", q22)):
        if np.any(value < 0):
            raise BadInput(f"{name}: expected a variance >= 0, got {np.min(value):g}")
    # √q·√q can fall an ulp short of q, which would make equal points look different.
    limit = np.where(q11 == q22, q11, np.sqrt(q11) * np.sqrt(q22))
    if np.any(np.abs(c) > limit * (1.0 + _CLAMP)):
        worst = float(np.max(np.abs(c) - limit))
        raise BadInput(f"c: expected |c| <= sqrt(q11*q22), exceeded by up to {worst:.3g}")
    return [q11, np.clip(c, -limit, limit), q22, *arrays[3:]]


def _domain(argument: sp.Symbol) -> Callable[[str, Any], None]:
    """Return the check that the assumptions of ``argument`` imply (a variance of 0 is the limit of positive ones)."""
    signed = argument.is_positive or argument.is_nonnegative
    strict = argument.is_positive and str(argument) not in ("q11", "q22")

    def check(name: str, array: Any) -> None:
        if signed and np.any(array <= 0 if strict else array < 0):
            raise BadInput(f"{name}: expected numbers {'>' if strict else '>='} 0, got {np.min(array):g}")

    return check


def _ufunc_source(body: str, arity: int) -> str:
    helpers, library = codegen.helpers_of(body)
    signature = f"float64({', '.join(['float64'] * arity)})"
    arguments = ", ".join(f"a{i}" for i in range(arity))
    return "\n".join(
        [
            _header(library),
            "import numpy as np\n" if "np." in body + helpers else "",
            _jitted(helpers),
            _jitted(body.replace("def evaluate(", "def _evaluate(")),
            f"def evaluate({arguments}):\n    return _evaluate({arguments})\n",
            f"compiled = numba.vectorize(['{signature}'], cache=CACHE)(evaluate)\n",
        ]
    )


def _quadrature_source(integral: sp.Integral, names: list[str], breaks: tuple[tuple[Any, ...], ...]) -> str:
    variables = [str(limit[0]) for limit in integral.limits]
    _, low, high = integral.limits[0]
    body = codegen.scalar_body(integral.function, [*names, *variables]).replace("def evaluate(", "def _integrand(")
    over_line = low == -sp.oo and high == sp.oo
    rule = (
        quadrature_code.rule(names, len(variables), breaks)
        if over_line
        else interval_code.rule(names, low, high, breaks)
    )
    helpers, library = codegen.helpers_of(body + rule)
    types = "float64, " * (len(names) + 1) + "float64[:], float64[:]"
    layout = ",".join(["()"] * (len(names) + 1)) + "->(),()"
    return "\n".join([
        _header(library),
        "import numpy as np\n",
        _jitted(helpers),
        _jitted(body),
        _jitted(rule).replace('@numba.njit(error_model="numpy")\ndef integrate(', 'def integrate('),
        f"compiled = numba.guvectorize(['void({types})'], '{layout}', cache=CACHE)(integrate)\n",
    ])  # fmt: skip


def _jitted(source: str, inlined: Collection[str] = ()) -> str:
    """Return the source with every top-level function compiled; 0/0 and 1/0 are NaN and inf as in NumPy."""

    def decorated(found: re.Match[str]) -> str:
        force = ", forceinline=True" if found[1] in inlined else ""
        return f'@numba.njit(error_model="numpy"{force})\n{found[0]}'

    return re.sub(r"^def (\w+)", decorated, source, flags=re.MULTILINE)


def _header(library: list[str]) -> str:
    lines = ["import math", "", "import numba", ""]
    for name in library:
        _register(name)
        arguments = ", ".join(["numba.types.float64"] * _arity(name) + ["numba.types.int32"])
        lines.append(f"_{name} = numba.types.ExternalFunction('{_symbol(name)}', numba.types.float64({arguments}))")
    return "\n".join([*lines, ""])


def _symbol(name: str) -> str:
    return f"fieldflow_cython_special_{name}"


def _capsule(name: str) -> Any:
    """Return SciPy's function; of those that exist for several types, the one for doubles (in no order of its own)."""
    found = cython_special.__pyx_capi__
    named = [found[prefix + name] for prefix in ("", "__pyx_fuse_0", "__pyx_fuse_1") if prefix + name in found]
    return next((capsule for capsule in named if _described(capsule).startswith("double (double")), named[0])


def _signature(name: str) -> str:
    return _described(_capsule(name))


def _described(capsule: Any) -> str:
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    return str(get_name(capsule).decode())


def _arity(name: str) -> int:
    """Return the number of doubles a library function takes; anything but doubles is refused, not guessed."""
    signature = _signature(name)
    inside = signature.removeprefix("double (").removesuffix(", int __pyx_skip_dispatch)")
    parts = inside.split(", ")
    if not signature.startswith("double (") or any(part != "double" for part in parts):
        raise BadInput(f"compile: {name} of scipy.special has the C signature {signature!r}, expected doubles only")
    return len(parts)


def _register(name: str) -> None:
    """Make a SciPy function known to LLVM under a name of ours, so that cached code finds it again."""
    _arity(name)
    capsule = _capsule(name)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = pointer(capsule, _signature(name).encode())
    binding.add_symbol(_symbol(name), address)


@cache
def _load(source: str) -> ModuleType:
    """Write ``source`` to a module named by its content and import it; without a cache, from a temporary directory."""
    name = f"fieldflow_generated_{digest_of([toolchain(), source.encode()])}"
    root = cache_root()
    if root is None:
        with tempfile.TemporaryDirectory() as brief:
            return _import(name, _write(Path(brief), name, source.replace("cache=CACHE", "cache=False")))
    folder = root / "generated"
    path = folder / f"{name}.py"
    text = source.replace("cache=CACHE", "cache=True")
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        _write(folder, name, text)
    with cached_in(folder / "compiled"):
        return _import(name, path)


def _write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    path = folder / f"{name}.py"
    Path(temporary).replace(path)
    return path


def _import(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"compile: cannot load the generated module {path.name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


formula_module.compiler = compile_formula
