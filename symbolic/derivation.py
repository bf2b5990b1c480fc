"""How is a derivation printed? As a numbered chain: the rule in words, the statement, and how it was checked."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fieldflow.symbolic.equality import PROVED, Comparison
from fieldflow.symbolic.linebreak import LINE, TALL, display
from fieldflow.symbolic.linewidth import width
from fieldflow.symbolic.printing import latex
from fieldflow.symbolic.prose import prose


class Statement(Protocol):
    """What the chain needs to know of a step."""

    @property
    def left(self) -> Any: ...
    @property
    def right(self) -> Any: ...
    @property
    def rule(self) -> str: ...
    @property
    def check(self) -> Comparison: ...


def gathered(left: Any, right: Any, *, names: Mapping[str, str] | None, line: float = LINE, label: str = "",
             numbered: bool = True) -> str:  # fmt: skip
    r"""Return "left = right" (``right`` if left is None) in a ``gather`` environment of its own, broken where too long.

    >>> print(gathered(1, 1, names=None, numbered=False))
    \begin{gather*}
      1 = 1
    \end{gather*}
    """
    rows, size = display(left, right, names=names, line=line)
    star = "" if numbered else "*"
    mark = f" \\label{{{label}}}" if label else ""
    if len(rows) > TALL:
        found = _aligned(rows, mark, numbered=numbered)
        return f"{{{size}\\allowdisplaybreaks\n{found}\n}}"
    body = rows[0] if len(rows) == 1 else _SPLIT.format(" \\\\\n    ".join(rows))
    found = f"\\begin{{gather{star}}}\n  {body}{mark}\n\\end{{gather{star}}}"
    return f"{{{size}\n{found}\n}}" if size else found


_SPLIT = """\\begin{{split}}
    {}
  \\end{{split}}"""


def _aligned(rows: Sequence[str], mark: str, *, numbered: bool) -> str:
    """Return the rows in an ``align`` environment, which may be broken between two pages; the last one has the number."""
    silent, star = (r" \notag", "") if numbered else ("", "*")
    ends = [*([f"{silent} \\\\\n"] * (len(rows) - 1)), f"{mark}\n"]
    body = "".join(f"  {row}{end}" for row, end in zip(rows, ends, strict=True))
    return f"\\begin{{align{star}}}\n{body}\\end{{align{star}}}"


def verdict(check: Comparison) -> str:
    """Return how a step was checked, in words.

    >>> verdict(Comparison("certified", 30, 6))
    'certified to 30 digits at 6 points'
    """
    return PROVED if check.status == PROVED else f"{check.status} to {check.digits} digits at {check.points} points"


def chain(steps: Sequence[Statement], *, names: Mapping[str, str] | None = None, line: float = LINE) -> str:
    r"""Return a derivation as an ``enumerate`` environment that needs amsmath only.

    A step whose sides SymPy writes alike, because both reduce to the same expression on their own, prints it once.

    >>> print(chain([]))
    \begin{enumerate}\raggedright
    \end{enumerate}
    """
    items = []
    for step in steps:
        rule, check = _sentence(prose(step.rule, names)), verdict(step.check)
        if latex(step.left, names) == latex(step.right, names):
            items.append(f"\\item {rule} (\\emph{{{check}}}): both sides are {_once(step.left, names, line - 0.5)}")
        else:
            shown = gathered(step.left, step.right, names=names, line=line - 0.5, numbered=False)
            items.append(f"\\item {rule} (\\emph{{{check}}}):\n{shown}")
    return "\n".join([r"\begin{enumerate}\raggedright", *items, r"\end{enumerate}"])


def _once(expr: Any, names: Mapping[str, str] | None, line: float) -> str:
    """Return a short expression inside the sentence, a longer one displayed."""
    text = latex(expr, names)
    if width(text) < line / 3:
        return rf"$\displaystyle {text}$." if r"\frac" in text else f"${text}$."
    return "\n" + gathered(None, expr, names=names, line=line, numbered=False)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] if text[:1].islower() else text
