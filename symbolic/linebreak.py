"""Where may a long equation be broken? Between the terms of sums and the factors of products, brackets kept in size."""

from collections.abc import Mapping
from typing import Any

import sympy as sp

from fieldflow.symbolic.linewidth import width
from fieldflow.symbolic.printing import Printer, matrix_terms

LINE = 31.0
"""Ems that a line of an equation may take beside its number: the text width of LaTeX's article, whatever its type size."""

TALL = 12
"""Rows above which an equation may be broken between two pages."""

_SHORT = 6.0
"""Ems below which nothing is broken: deep inside brackets little room is left."""

_SIZES = ((1.0, ""), (1.1, r"\small"), (1.22, r"\footnotesize"), (1.4, r"\scriptsize"))
_HOLE = sp.Symbol(r"\fieldflowhole")

_TIMES = r"\fieldflowtimes "
"""Before a factor: a sign where it begins a line, nothing elsewhere."""

Piece = tuple[int, str]
"""How deep inside brackets, and the LaTeX of a part that stays on one line."""


def display(
    left: Any, right: Any, *, names: Mapping[str, str] | None = None, line: float = LINE
) -> tuple[list[str], str]:
    r"""Return the rows of "left = right" (of ``right`` if left is None) with their alignment marks, and a type size.

    One row without marks if it fits; the size is "" unless a part that cannot be broken needs "\small" or less.

    >>> x = sp.Symbol("x")
    >>> display(sp.Symbol("y"), x + 1)
    (['y = x + 1'], '')
    >>> len(display(sp.Symbol("y"), sum(x**k for k in range(40)))[0])
    4
    """
    printer = Printer(names)
    second = str(printer.doprint(sp.sympify(right)))
    first = "" if left is None else str(printer.doprint(sp.sympify(left)))
    whole = second if left is None else f"{first} = {second}"
    if width(whole) <= line:
        return [whole], ""
    start = width(first) + 2.0
    if left is None:
        below = _rows(right, printer, line)
        rows = [f"& {row}" for row in below] if len(below) > 1 else below
        widest = max(map(width, rows))
    elif start <= 0.4 * line:
        below = _rows(right, printer, line - start)
        rows = [f"{first} ={{}}& {below[0]}"] + [f"& {row}" for row in below[1:]]
        if len(below) == 1:  # too wide for a line but in one piece: cases, whose lines are inside
            rows = [f"{first} = {below[0]}"]
        widest = start + max(map(width, below))
    else:
        above, below = _rows(left, printer, line), _rows(right, printer, line - 2.5)
        rows = [f"& {row}" for row in above] + [f"&= {below[0]}"] + [rf"& \quad {row}" for row in below[1:]]
        widest = max(map(width, rows))
    return rows, next((name for factor, name in _SIZES if widest <= factor * line), _SIZES[-1][1])


def _rows(expr: Any, printer: Printer, line: float) -> list[str]:
    """Return the lines of an expression; cases that would be too tall for a page one after the other."""
    rows = _filled(_pieces(expr, printer, line, 0), line)
    if not isinstance(expr, sp.Piecewise) or "".join(rows).count(r"\\") < TALL:
        return rows
    found: list[str] = []
    for value, condition in expr.args:
        found += [*_filled(_pieces(value, printer, line, 0), line), rf"\qquad {_when(condition, printer)}"]
    return found


def _filled(pieces: list[Piece], line: float) -> list[str]:
    """Return lines of as many pieces as fit; a line that begins inside brackets is indented."""
    rows: list[str] = []
    for depth, marked in pieces:
        piece = marked.replace(_TIMES, "")
        if rows and width(rows[-1]) + width(piece) <= line:
            rows[-1] += f" {piece}"
        else:
            sign = r"\times " if rows and marked.startswith(_TIMES) else ""
            rows.append((r"\quad " * min(depth, 4) if rows else "") + sign + piece)
    return rows


def _pieces(expr: Any, printer: Printer, line: float, depth: int, beside: float = 0.0) -> list[Piece]:
    """Return parts that may stand on different lines; all in one if that fits beside ``beside`` more ems."""
    text = str(printer.doprint(expr))
    if width(text) <= max(line - min(depth, 4) - beside, _SHORT):
        return [(depth, text)]
    if isinstance(expr, (sp.Add, sp.MatAdd)):
        return _sum(expr, printer, line, depth)
    if isinstance(expr, (sp.Mul, sp.MatMul)):
        return _product(expr, printer, line, depth)
    if isinstance(expr, sp.exp):
        return _bracketed(expr.args[0], printer, line, depth, r"\exp", "")
    if isinstance(expr, (sp.Pow, sp.MatPow, sp.Inverse)):
        base, exponent = expr.as_base_exp()
        power = str(exponent) if exponent.is_Rational else printer.doprint(exponent)
        return _bracketed(base, printer, line, depth, "", f"^{{{power}}}")
    if isinstance(expr, sp.Integral):
        before, after = str(printer.doprint(expr.func(_HOLE, *expr.limits))).split(_HOLE.name)
        return _bracketed(expr.function, printer, line, depth, before, after)
    if isinstance(expr, sp.Piecewise):
        return [(depth, _cases(expr, printer, line))]
    if isinstance(expr, sp.Function) and len(expr.args) == 1:
        head = str(printer.doprint(expr.func(_HOLE, evaluate=False))).split(_HOLE.name)[0]
        return _bracketed(expr.args[0], printer, line, depth, head.split(r"\left")[0].removesuffix("{"), "")
    return [(depth, text)]


def _bracketed(inner: Any, printer: Printer, line: float, depth: int, before: str, after: str) -> list[Piece]:
    """Return the pieces of ``inner`` in brackets that do not grow, so that they may open and close on different lines."""
    parts = _pieces(inner, printer, line, depth + 1, beside=width(before) + width(after) + 1.0)
    size = r"\biggl", r"\biggr"
    if not any(r"\frac" in text or r"\int" in text for _, text in parts):
        size = r"\bigl", r"\bigr"
    parts[0] = (depth, f"{before} {size[0]}[ {parts[0][1]}".strip())
    parts[-1] = (parts[-1][0], f"{parts[-1][1]} {size[1]}]{after}")
    return parts


def _sum(expr: Any, printer: Printer, line: float, depth: int) -> list[Piece]:
    terms = printer._as_ordered_terms(expr) if isinstance(expr, sp.Add) else matrix_terms(expr)
    found: list[Piece] = []
    for term in terms:
        minus = str(printer.doprint(term)).startswith("-")
        first, *rest = _pieces(-term if minus else term, printer, line - 1.3, depth)
        sign = "- " if minus else ("+ " if found else "")
        found += [(first[0], sign + first[1]), *rest]
    return found


def _product(expr: Any, printer: Printer, line: float, depth: int) -> list[Piece]:
    if expr.could_extract_minus_sign() and isinstance(expr, sp.Mul):
        first, *rest = _pieces(-expr, printer, line - 1.3, depth)
        return [(first[0], f"- {first[1]}"), *rest]
    if isinstance(expr, sp.MatMul) or not expr.is_commutative:
        return [piece for factor in expr.args for piece in _factor(factor, printer, line, depth)]
    above, below = sp.fraction(expr, exact=True)
    factors = list(sp.Mul.make_args(above))
    wide = [factor for factor in factors if width(str(printer.doprint(factor))) > line / 3]
    wide = wide or [max(factors, key=lambda factor: width(str(printer.doprint(factor))))]
    narrow = sp.Mul(*(factor for factor in factors if factor not in wide), evaluate=False)
    found: list[Piece] = []
    if width(str(printer.doprint(below))) > line - 2.0:
        lead, divided = narrow, below
    else:
        lead, divided = narrow / below, sp.Integer(1)
    if lead != 1:
        found.append((depth, str(printer.doprint(lead))))
    for factor in wide:
        (level, text), *rest = _factor(factor, printer, line - 1.2, depth)
        found += [(level, (_TIMES if found else "") + text), *rest]
    if divided != 1:
        (level, text), *rest = _bracketed(divided, printer, line - 1.2, depth, "", "^{-1}")
        found += [(level, _TIMES + text), *rest]
    return found


def _factor(factor: Any, printer: Printer, line: float, depth: int) -> list[Piece]:
    if isinstance(factor, (sp.Add, sp.MatAdd)):
        if width(str(printer.doprint(factor))) <= line - 1.0 - min(depth, 4):
            return [(depth, rf"\left({printer.doprint(factor)}\right)")]
        return _bracketed(factor, printer, line, depth, "", "")
    return _pieces(factor, printer, line, depth)


def _when(condition: Any, printer: Printer) -> str:
    return r"\text{otherwise}" if condition is sp.true else rf"\text{{for}}\: {printer.doprint(condition)}"


def _cases(expr: Any, printer: Printer, line: float) -> str:
    rows = []
    for value, condition in expr.args:
        when = _when(condition, printer)
        room = line - width(when) - 2.5
        lines = _filled(_pieces(value, printer, room, 0), room)
        body = lines[0]
        if len(lines) > 1:
            body = r"\begin{aligned} & " + r" \\ & ".join(lines) + r" \end{aligned}"
        rows.append(f"{body} & {when}")
    return r"\begin{cases} " + r" \\ ".join(rows) + r" \end{cases}"
