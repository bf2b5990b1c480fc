"""How does text from a file become a SymPy expression? Through Python's grammar and a whitelist; nothing is evaluated.

SymPy computes with exact numbers of any size, so a short text such as ``((9**64)**64)**64`` could keep it busy for
hours.  Every constant part is therefore first computed in floating point, and only what stays finite and short is
built.
"""

import ast
import difflib
import math
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import sympy as sp

from fieldflow.errors import BadInput

MAX_LENGTH = 2000
MAX_DEPTH = 60
MAX_POWER = 64
MAX_NUMBER = 1e300
MAX_BITS = 4096
"""Length of the longest exact integer that may appear."""


class _Function(NamedTuple):
    """A function: as SymPy builds it, as a float, and how many arguments it takes."""

    exact: Callable[..., sp.Expr]
    value: Callable[..., float]
    fewest: int = 1
    most: int = 1


class _Part(NamedTuple):
    """A part of the expression; ``value`` is its float if it is constant."""

    expr: sp.Expr
    value: float | None


def _sign(x: float) -> float:
    return 0.0 if x == 0 else math.copysign(1.0, x)


_FUNCTIONS: dict[str, _Function] = {
    "abs": _Function(sp.Abs, abs),
    "cos": _Function(sp.cos, math.cos),
    "erf": _Function(sp.erf, math.erf),
    "exp": _Function(sp.exp, math.exp),
    "heaviside": _Function(lambda x: sp.Heaviside(x, sp.Rational(1, 2)), lambda x: (1.0 + _sign(x)) / 2.0),
    "log": _Function(sp.log, math.log),
    "max": _Function(sp.Max, max, 2, 8),
    "min": _Function(sp.Min, min, 2, 8),
    "sign": _Function(sp.sign, _sign),
    "sin": _Function(sp.sin, math.sin),
    "sqrt": _Function(sp.sqrt, math.sqrt),
    "tan": _Function(sp.tan, math.tan),
    "tanh": _Function(sp.tanh, math.tanh),
}
_CONSTANTS = {"pi": _Part(sp.pi, math.pi), "E": _Part(sp.E, math.e)}
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}


def parse(text: Any, symbols: Mapping[str, sp.Symbol], *, key: str = "expression") -> sp.Expr:
    """Return the SymPy expression that ``text`` spells, in the given symbols; decimals become exact rationals.

    Parameters
    ----------
    text : str
        Numbers, + - * / **, parentheses, pi, E, and abs cos erf exp heaviside log max min sign sin sqrt tan tanh.
    symbols : mapping
        Accepted names.
    key : str
        Named in errors.

    Raises
    ------
    BadInput
        One line with the expression, the offending piece and what is accepted.

    >>> x1 = sp.Symbol("x1")
    >>> parse("0.1*x1**2 - max(x1, 0)", {"x1": x1}).subs(x1, 2)
    -8/5
    """
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"{key}: expected an expression as text, got {text!r}")
    if len(text) > MAX_LENGTH:
        raise BadInput(f"{key}: expected at most {MAX_LENGTH} characters, got {len(text)}")
    reader = _Reader(key, text.strip(), symbols)
    strange = re.search(r"[^A-Za-z0-9_+\-*/().,\s]", text)
    if strange:
        raise reader.refused(strange.group())
    try:
        with warnings.catch_warnings():
            # "1if": the parser warns before it refuses; the refusal is enough.
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(" ".join(text.split()), mode="eval")
        return reader.read(tree.body, 0).expr
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise BadInput(f"{key}: {_short(text.strip())} is not a complete expression; {reader.accepted}") from error


class _Reader:
    """A walk over the syntax tree that knows only what is allowed."""

    def __init__(self, key: str, text: str, symbols: Mapping[str, sp.Symbol]) -> None:
        self.key, self.text, self.symbols = key, text, symbols
        names = [*symbols, *_CONSTANTS]
        self.accepted = f"accepted: numbers, {', '.join(names)}, + - * / ** ( ), {', '.join(_FUNCTIONS)}"

    def read(self, node: ast.expr, depth: int) -> _Part:
        if depth > MAX_DEPTH:
            raise BadInput(f"{self.key}: expected at most {MAX_DEPTH} nested operations in {_short(self.text)}")
        if isinstance(node, ast.Constant):
            return self._number(node.value)
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
            part = self.read(node.operand, depth + 1)
            if isinstance(node.op, ast.UAdd):
                return part
            return _Part(-part.expr, None if part.value is None else -part.value)
        if isinstance(node, ast.BinOp):
            return self._chain(node, depth)
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        raise self.refused(ast.unparse(node))

    def refused(self, piece: str, why: str = "not accepted") -> BadInput:
        """Return the error that names the offending piece."""
        where = "" if piece == self.text else f" in {_short(self.text)}"
        return BadInput(f"{self.key}: {_short(piece)} is {why}{where}; {self.accepted}")

    def _number(self, value: Any) -> _Part:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refused(str(value))
        if abs(value) > MAX_NUMBER:
            raise BadInput(f"{self.key}: expected numbers of at most {MAX_NUMBER:g} in {_short(self.text)}")
        return _Part(sp.Rational(repr(value)), float(value))

    def _name(self, name: str) -> _Part:
        if name in self.symbols:
            return _Part(self.symbols[name], None)
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name in _FUNCTIONS:
            raise self.refused(name, "a function without its argument")
        near = difflib.get_close_matches(name, [*self.symbols, *_CONSTANTS, *_FUNCTIONS], n=1)
        raise self.refused(name, f"an unknown name{f' (nearest: {near[0]})' if near else ''}")

    def _chain(self, node: ast.BinOp, depth: int) -> _Part:
        """Read a chain a + b - c … from its left end, so that a sum of many terms is not deep."""
        links: list[ast.BinOp] = []
        first: ast.expr = node
        while isinstance(first, ast.BinOp):
            links.append(first)
            first = first.left
        part = self.read(first, depth + 1)
        for link in reversed(links):
            part = self._operation(link, part, self.read(link.right, depth + 1))
        return part

    def _operation(self, node: ast.BinOp, left: _Part, right: _Part) -> _Part:
        operation = _OPERATORS.get(type(node.op))
        if operation is None:
            raise self.refused(ast.unparse(node))
        if isinstance(node.op, ast.Div) and right.expr == 0:
            raise self.refused(ast.unparse(node), "a division by zero")
        if isinstance(node.op, ast.Pow) and right.value is not None and abs(right.value) > MAX_POWER:
            raise self.refused(ast.unparse(node), f"a power above {MAX_POWER}")
        return self._build(node, operation, operation, (left, right))

    def _call(self, node: ast.Call, depth: int) -> _Part:
        if not isinstance(node.func, ast.Name) or node.keywords or node.func.id in self.symbols:
            raise self.refused(ast.unparse(node))
        function = _FUNCTIONS.get(node.func.id)
        if function is None:
            raise self.refused(node.func.id, "an unknown function")
        if not function.fewest <= len(node.args) <= function.most:
            wanted = "1 argument" if function.most == 1 else f"{function.fewest} to {function.most} arguments"
            raise self.refused(ast.unparse(node), f"a call of {node.func.id}, which takes {wanted},")
        arguments = tuple(self.read(argument, depth + 1) for argument in node.args)
        return self._build(node, function.exact, function.value, arguments)

    def _build(
        self, node: ast.expr, exact: Callable[..., Any], value: Callable[..., Any], parts: tuple[_Part, ...]
    ) -> _Part:
        """Return the exact result, after its float (if the parts are constant) has turned out real and finite."""
        number: Any = None
        if all(part.value is not None for part in parts):
            number = _float(value, [part.value for part in parts])
            if number is None:
                raise self.refused(ast.unparse(node), "not a real, finite number")
        expr = exact(*(part.expr for part in parts))
        if expr.has(sp.zoo, sp.nan, sp.oo, -sp.oo, sp.I):
            raise self.refused(ast.unparse(node), "not real and finite")
        if _longest(expr) > MAX_BITS:
            raise self.refused(ast.unparse(node), "too long a number")
        if number is None and not expr.free_symbols:
            # The symbols cancelled; what is left is a constant like any other.
            number = _float(lambda: float(expr), [])
            if number is None:
                raise self.refused(ast.unparse(node), "not a real, finite number")
        return _Part(expr, number)


def _float(function: Callable[..., Any], arguments: list[Any]) -> float | None:
    """Return the value of a function of floats; None unless it is real and finite."""
    try:
        result = function(*arguments)
    except (ArithmeticError, ValueError, TypeError):
        return None
    return None if isinstance(result, complex) or not math.isfinite(result) else float(result)


def _longest(expr: sp.Expr) -> int:
    """Return the length in bits of the longest integer in ``expr``."""
    return max((max(int(q.p).bit_length(), int(q.q).bit_length()) for q in expr.atoms(sp.Rational)), default=0)


def _short(text: str) -> str:
    """Return a quoted, one-line form of at most 80 characters."""
    line = " ".join(text.split())
    return repr(line if len(line) <= 80 else line[:77] + "...")
