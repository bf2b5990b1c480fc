"""How does text from a file become a SymPy expression? Through Python's grammar and a whitelist; nothing is evaluated."""

import ast
import difflib
from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp

from fieldflow.errors import BadInput

MAX_LENGTH = 2000
MAX_DEPTH = 60
MAX_POWER = 64

_FUNCTIONS: dict[str, Callable[..., sp.Expr]] = {
    "abs": sp.Abs,
    "cos": sp.cos,
    "erf": sp.erf,
    "exp": sp.exp,
    "heaviside": lambda x: sp.Heaviside(x, sp.Rational(1, 2)),
    "log": sp.log,
    "max": sp.Max,
    "min": sp.Min,
    "sign": sp.sign,
    "sin": sp.sin,
    "sqrt": sp.sqrt,
    "tan": sp.tan,
    "tanh": sp.tanh,
}
_CONSTANTS = {"pi": sp.pi}
_OPERATORS: dict[type[ast.operator], Callable[[sp.Expr, sp.Expr], sp.Expr]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
}


def parse(text: Any, symbols: Mapping[str, sp.Symbol], *, key: str = "expression") -> sp.Expr:
    """Return the SymPy expression that ``text`` spells, in the given symbols; decimals become exact rationals.

    Parameters
    ----------
    text : str
        Numbers, + - * / **, parentheses, pi, and abs cos erf exp heaviside log max min sign sin sqrt tan tanh.
    symbols : mapping
        Accepted names.
    key : str
        Named in errors.

    Raises
    ------
    BadInput
        Naming the offending piece and what is accepted.

    >>> x1 = sp.Symbol("x1")
    >>> parse("0.1*x1**2 - max(x1, 0)", {"x1": x1}).subs(x1, 2)
    -8/5
    """
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"{key}: expected an expression as text, got {text!r}")
    if len(text) > MAX_LENGTH:
        raise BadInput(f"{key}: expected at most {MAX_LENGTH} characters, got {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        result = _Reader(key, symbols).read(tree.body, 0)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise BadInput(f"{key}: cannot read {text.strip()!r}: not a valid expression") from error
    if result.has(sp.zoo, sp.nan, sp.oo, -sp.oo, sp.I):
        raise BadInput(f"{key}: expected a real, finite expression, got {text.strip()!r}")
    return result


class _Reader:
    """A walk over the syntax tree that knows only what is allowed."""

    def __init__(self, key: str, symbols: Mapping[str, sp.Symbol]) -> None:
        self.key, self.symbols = key, symbols

    def read(self, node: ast.expr, depth: int) -> sp.Expr:
        if depth > MAX_DEPTH:
            raise BadInput(f"{self.key}: expected at most {MAX_DEPTH} nested operations")
        if isinstance(node, ast.Constant):
            return self._number(node.value)
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
            value = self.read(node.operand, depth + 1)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp):
            return self._operation(node, depth)
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        raise self._refused(ast.unparse(node))

    def _number(self, value: Any) -> sp.Expr:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or len(repr(value)) > 40:
            raise self._refused(repr(value)[:40])
        return sp.Rational(repr(value))

    def _name(self, name: str) -> sp.Expr:
        if name in self.symbols:
            return self.symbols[name]
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        accepted = [*self.symbols, *_CONSTANTS]
        near = difflib.get_close_matches(name, accepted, n=1)
        hint = f" (nearest: {near[0]})" if near else ""
        raise BadInput(f"{self.key}: unknown name {name!r}{hint}; accepted: {', '.join(accepted)}")

    def _operation(self, node: ast.BinOp, depth: int) -> sp.Expr:
        left, right = self.read(node.left, depth + 1), self.read(node.right, depth + 1)
        if type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](left, right)
        if isinstance(node.op, ast.Div):
            if right == 0:
                raise BadInput(f"{self.key}: division by zero in {ast.unparse(node)!r}")
            return left / right
        if isinstance(node.op, ast.Pow):
            if not right.is_number or abs(right) > MAX_POWER:
                raise BadInput(f"{self.key}: expected a constant power of at most {MAX_POWER} in {ast.unparse(node)!r}")
            return left**right
        raise self._refused(ast.unparse(node))

    def _call(self, node: ast.Call, depth: int) -> sp.Expr:
        if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS or node.keywords:
            raise self._refused(ast.unparse(node))
        arguments = [self.read(argument, depth + 1) for argument in node.args]
        counts = (2, 8) if node.func.id in ("max", "min") else (1, 1)
        if not counts[0] <= len(arguments) <= counts[1]:
            raise BadInput(f"{self.key}: wrong number of arguments in {ast.unparse(node)!r}")
        return _FUNCTIONS[node.func.id](*arguments)

    def _refused(self, piece: str) -> BadInput:
        return BadInput(
            f"{self.key}: not accepted: {piece!r}; accepted: numbers, {', '.join(self.symbols)}, pi, + - * / **, "
            f"{', '.join(_FUNCTIONS)}"
        )
