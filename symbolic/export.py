"""How does a formula leave this library? As the text of one function in Python, C or Mathematica, complete in itself."""

import keyword
import re
from collections.abc import Callable
from typing import Any, Protocol

import sympy as sp

from fieldflow.symbolic import special
from fieldflow.symbolic.code_printers import SUPPORTED, ArrayPrinter, CPrinter, PythonPrinter, WolframPrinter
from fieldflow.symbolic.contraction import Contraction
from fieldflow.symbolic.errors import BadInput, NoClosedForm


class Exported(Protocol):
    """What is needed of a formula."""

    @property
    def name(self) -> str: ...
    @property
    def expr(self) -> Any: ...
    @property
    def numerical(self) -> Any: ...
    @property
    def args(self) -> tuple[Any, ...]: ...
    @property
    def domain(self) -> str: ...


_C_KEYWORDS = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while main"
)
_C_WORDS = frozenset(_C_KEYWORDS.split())
_PYTHON_WORDS = frozenset(keyword.kwlist) | {"math", "numpy", "scipy", "abs", "max", "min"}
_WOLFRAM_WORDS = frozenset({*"CDEIKNO", "Pi", "Gamma", "Beta", "Log", "Exp"})


def code(formula: Exported, language: str) -> str:
    """Return a self-contained function of the formula's arguments, in order.

    Parameters
    ----------
    formula : Formula
    language : {"python", "c", "mathematica"}
        Python uses the floating-point form and only the standard library, or names the SciPy function that it needs, or
        NumPy for matrices; C is C99 with math.h; Mathematica is exact.

    Raises
    ------
    BadInput
        For another language.
    NoClosedForm
        For a function that the language has no counterpart of; it is named.

    >>> from types import SimpleNamespace
    >>> q = sp.Symbol("q")
    >>> formula = SimpleNamespace(name="half", expr=q / 2, numerical=None, args=(q,), domain="q >= 0")
    >>> print(code(formula, "mathematica").splitlines()[1])
    half[q_] := (1/2)*q
    """
    if language not in LANGUAGES:
        raise BadInput(f"language: expected one of {', '.join(LANGUAGES)}, got {language!r}")
    return LANGUAGES[language](formula)


def _python(formula: Exported) -> str:
    expr, names = _prepared(formula, "python", _PYTHON_WORDS)
    head = [f"def {_function_name(formula.name)}({', '.join(names)}):", f'    """{_about(formula)}"""']
    if _is_matrix(expr):
        lines = [f"return {ArrayPrinter(_sizes(expr, '{0}.shape[{1}]')).doprint(expr)}"]
    else:
        parts, result = _shared(expr, names, guarded=True)
        printer = PythonPrinter("_exp" if expr.has(sp.Integral) else "math.exp")
        lines = [f"{symbol} = {printer.doprint(value)}" for symbol, value in parts] + [
            f"return {printer.doprint(result)}"
        ]
    body = "\n".join(f"    {line}" for line in lines)
    modules = [f"import {name}" for name in ("math", "numpy", "numpy.linalg", "scipy.integrate", "scipy.special")
               if re.search(rf"\b{name}\.", body)]  # fmt: skip
    helper = [_BOUNDED_EXP] if re.search(r"\b_exp\(", body) else []
    modules = ["import math", *modules] if helper and "import math" not in modules else modules
    return "\n".join([*modules, *(["", ""] if modules else []), *head, body, *helper, ""])


_BOUNDED_EXP = """

def _exp(x):
    return math.exp(min(x, 700.0))  # quadrature looks far outside, where the weight is zero anyhow"""


def _c(formula: Exported) -> str:
    expr, names = _prepared(formula, "c", _C_WORDS)
    if _is_matrix(expr):
        raise NoClosedForm(f"{formula.name}: code: c has no matrices; export to python or mathematica")
    parts, result = _shared(expr, names, guarded=False)
    printer = CPrinter()
    lines = [f"const double {symbol} = {printer.doprint(value)};" for symbol, value in parts]
    lines.append(f"return {printer.doprint(result)};")
    lines = [" ".join(line.split()) for line in lines]
    return "\n".join(
        [
            "#include <math.h>",
            "",
            f"/* {_about(formula)} */",
            f"double {_function_name(formula.name)}({', '.join(f'double {name}' for name in names)})",
            "{",
            *(f"    {line}" for line in lines),
            "}",
            "",
        ]
    )


def _mathematica(formula: Exported) -> str:
    expr, names = _prepared(formula, "mathematica", _WOLFRAM_WORDS)
    sizes = _sizes(expr, "Dimensions[{0}][[{2}]]") if _is_matrix(expr) else {}
    body = WolframPrinter(sizes).doprint(expr)
    name = _camel(_function_name(formula.name))
    return f"(* {_about(formula)} *)\n{name}[{', '.join(f'{argument}_' for argument in names)}] := {body}\n"


LANGUAGES: dict[str, Callable[[Exported], str]] = {"python": _python, "c": _c, "mathematica": _mathematica}


def _prepared(formula: Exported, language: str, taken: frozenset[str]) -> tuple[Any, list[str]]:
    """Return the expression with every symbol under a name that the language accepts, and the names of the arguments."""
    exact = language == "mathematica" or formula.numerical is None
    expr = formula.expr if exact else formula.numerical
    expr = _in_known_functions(expr, language)
    _check_supported(formula.name, expr, language)
    renamed: dict[Any, Any] = {}
    used: set[str] = set()
    bound = sorted(expr.atoms(sp.Symbol) - set(formula.args), key=str)
    for symbol in (*formula.args, *bound):
        name = re.sub(r"\W", "_", symbol.name).strip("_") or "x"
        name = _camel(name) if language == "mathematica" else name
        while name in taken | used or name[0].isdigit():
            name = f"{name}0" if not name[0].isdigit() else f"x{name}"
        used.add(name)
        renamed[symbol] = (
            sp.MatrixSymbol(name, *symbol.shape) if isinstance(symbol, sp.MatrixSymbol)
            else sp.Symbol(name, **symbol.assumptions0)
        )  # fmt: skip
    shapes = {size for a in formula.args if isinstance(a, sp.MatrixSymbol) for size in a.shape}
    swapped = {old: new for old, new in renamed.items() if old not in shapes}
    return expr.xreplace(swapped), [str(renamed[argument]) for argument in formula.args]


_ROUNDED = tuple(value for value in vars(special).values() if isinstance(value, type) and "doit" in vars(value))
_PLAIN = (*_ROUNDED, Contraction)
"""Functions that only fix how something is rounded, and diagrams, numbers at one mesh point: each has a plain form."""


def _in_known_functions(expr: Any, language: str) -> Any:
    """Return the expression without functions of our own, as far as the language has counterparts."""
    if language != "mathematica":  # keep the digits of small probabilities
        expr = expr.replace(special.NormalCdf, lambda x: sp.erfc(-x / sp.sqrt(2)) / 2)
    if language == "python":
        expr = expr.replace(special.BivariateNormal, _plackett)
    return expr.replace(lambda part: isinstance(part, _PLAIN), lambda part: part.doit())


def _plackett(h: Any, k: Any, rho: Any) -> Any:
    """Return Φ₂(h, k; ρ) as Φ(h)Φ(k) and an integral from independence to ρ = sin(angle)."""
    angle = sp.Symbol("angle", real=True)
    density = sp.exp(-(h**2 - 2 * h * k * sp.sin(angle) + k**2) / (2 * sp.cos(angle) ** 2))
    apart = sp.erfc(-h / sp.sqrt(2)) * sp.erfc(-k / sp.sqrt(2)) / 4
    return apart + sp.Integral(density, (angle, 0, sp.asin(rho))) / (2 * sp.pi)


def _check_supported(name: str, expr: Any, language: str) -> None:
    found = expr.atoms(sp.Function, sp.Integral, sp.Derivative, sp.Sum, sp.Limit)
    for foreign in sorted({type(part).__name__ for part in found} - SUPPORTED[language]):
        raise NoClosedForm(f"{name}: code: {language} has no counterpart of {foreign}")


def _shared(expr: Any, names: list[str], *, guarded: bool) -> tuple[list[tuple[Any, Any]], Any]:
    """Return common subexpressions and the rest; none where they would leave an integral, or a branch that guards them."""
    if expr.has(sp.Integral) or (guarded and expr.has(sp.Piecewise)):
        return [], expr
    fresh = (symbol for symbol in sp.numbered_symbols("t") if str(symbol) not in names)
    parts, (result,) = sp.cse(expr, symbols=fresh)
    return parts, result


def _is_matrix(expr: Any) -> bool:
    return isinstance(expr, sp.MatrixExpr)


def _sizes(expr: Any, pattern: str) -> dict[Any, str]:
    """Return how each symbol of a dimension is read off an argument: {0} its name, {1} the axis from 0, {2} from 1."""
    found: dict[Any, str] = {}
    for matrix in sorted(expr.atoms(sp.MatrixSymbol), key=str):
        for axis, size in enumerate(matrix.shape):
            found.setdefault(size, pattern.format(matrix.name, axis, axis + 1))
    return found


def _function_name(name: str) -> str:
    found = re.sub(r"\W+", "_", name).strip("_")
    return found if found[:1].isalpha() else f"f_{found}"


def _camel(name: str) -> str:
    """Return a name without underscores, which Mathematica reads as patterns: sigma_w -> sigmaW."""
    first, *others = [part for part in name.split("_") if part]
    return first + "".join(part[0].upper() + part[1:] for part in others)


def _about(formula: Exported) -> str:
    """Return name and domain as one comment line in ASCII that closes no comment."""
    text = f"{formula.name}: {' '.join(formula.domain.split())}".encode("ascii", "replace").decode()
    return text.replace("*/", "* /").replace("*)", "* )").replace('"', "'").replace("\\", "/")
