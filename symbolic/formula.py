"""What is a formula here? One SymPy object with its arguments, domain, provenance and checked derivation.

Its LaTeX, its compiled code, its derivatives and its place in the report are projections of that object.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sympy as sp

from fieldflow.symbolic import export
from fieldflow.symbolic.convention import Convention
from fieldflow.symbolic.derivation import chain, gathered
from fieldflow.symbolic.equality import REFUTED, Comparison, compare
from fieldflow.symbolic.errors import BadInput, ProofFailed
from fieldflow.symbolic.linebreak import LINE, display
from fieldflow.symbolic.printing import KNOWN_NAMES, check_names, latex, symbol_names
from fieldflow.symbolic.reference import Reference

VALIDITIES = (
    "exact",
    "exact at any width",
    "exact at any width, given the hidden layer",
    "infinite width",
)

compiler: Callable[["Formula"], Callable[..., Any]] | None = None
"""Set by fieldflow.compile when it is imported: this layer itself knows nothing of Numba."""


@dataclass(frozen=True)
class Step:
    """One step of a derivation: a statement left = right, the rule behind it, and how it was checked."""

    left: Any
    right: Any
    rule: str
    check: Comparison

    def __post_init__(self) -> None:
        if self.check.status == REFUTED:
            raise ProofFailed(f"derivation: the step by {self.rule!r} does not hold: {self.left} != {self.right}")

    def latex(self, *, symbols: Mapping[str, str] | None = None) -> str:
        """Return the statement as LaTeX."""
        return f"{latex(self.left, symbols)} = {latex(self.right, symbols)}"


def step(left: Any, right: Any, rule: str, *, where: dict[sp.Symbol, sp.Expr] | None = None) -> Step:
    """Return the step left = right after comparing both sides; ProofFailed if they differ."""
    return Step(left, right, rule, compare(left, right, where=where))


def definition(left: Any, right: Any, rule: str) -> Step:
    """Return a step that introduces a name: true by definition."""
    return Step(left, right, rule, Comparison("proved"))


def _bound(args: tuple[Any, ...]) -> set[Any]:
    """Return the symbols that arguments bind: themselves, and the dimensions of matrices."""
    found: set[Any] = set()
    for argument in args:
        found |= argument.free_symbols
        if isinstance(argument, sp.MatrixSymbol):
            found |= set().union(*(sp.sympify(size).free_symbols for size in argument.shape))
    return found


@dataclass(frozen=True)
class Formula:
    """A formula with everything needed to believe, print, evaluate and cite it.

    Parameters
    ----------
    name : str
        Catalogue name.
    lhs, expr : SymPy objects
        Left and right side; scalars or matrices.
    args : tuple of symbols
        Every free symbol of ``expr``, in calling order, with assumptions.
    domain : str
        Where it holds, in words.
    validity : str
        One of ``VALIDITIES``.
    references : tuple of Reference
    derived_from : tuple of str
        Principles or catalogue names; at least one of this and ``references``.
    steps : tuple of Step
    numerical : SymPy expression, optional
        An equal expression chosen for floating point.
    closed_form : bool or str
        True; "special" (bivariate normal probabilities); False (an integral, compiled to quadrature).
    requires : tuple of SymPy expressions
        What must be positive for the formula to hold.
    tolerance : float
        Relative accuracy asked of the quadrature when ``closed_form`` is False.
    breaks : tuple of tuples of expressions
        Where the integrand has kinks in each variable, as functions of the arguments and of earlier variables.
    integral : SymPy Integral, optional
        The same quantity as an integral, to be evaluated where rounding swamps the closed form.

    Raises
    ------
    BadInput
        For unbound symbols, floats in an exact expression, missing provenance or an unknown validity.
    """

    name: str
    lhs: Any
    expr: Any
    args: tuple[Any, ...]
    domain: str
    validity: str
    convention: Convention = field(default_factory=Convention)
    references: tuple[Reference, ...] = ()
    derived_from: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    numerical: Any = None
    closed_form: bool | str = True
    requires: tuple[Any, ...] = ()
    tolerance: float = 1e-10
    breaks: tuple[tuple[Any, ...], ...] = ()
    integral: Any = None

    def __post_init__(self) -> None:
        for expression in (self.expr, self.numerical):
            if expression is None:
                continue
            unbound = expression.free_symbols - _bound(self.args)
            if unbound:
                raise BadInput(f"{self.name}: unbound symbols {', '.join(sorted(map(str, unbound)))}")
            if expression.atoms(sp.Float):
                raise BadInput(f"{self.name}: an exact expression holds no floats, use Rational")
        if not self.references and not self.derived_from:
            raise BadInput(f"{self.name}: provenance missing: give references or derived_from")
        if self.validity not in VALIDITIES and not self.validity.startswith("order 1/N^"):
            raise BadInput(f"{self.name}: validity: expected one of {'; '.join(VALIDITIES)}, got {self.validity!r}")

    def latex(
        self, style: str = "inline", *, symbols: Mapping[str, str] | None = None, width: float = LINE, label: str = ""
    ) -> str:
        r"""Return "lhs = rhs": bare and on one line for style "inline", in an environment of its own for "align".

        Parameters
        ----------
        style : {"inline", "align"}
        symbols : mapping, optional
            Calling name to LaTeX, for symbols to be printed under another name.
        width : float
            Ems at which style "align" breaks lines: 31 fits LaTeX's article, 22 a column of a two-column journal.
        label : str
            A ``\label`` for style "align".

        Raises
        ------
        BadInput
            For another style, an unknown symbol or LaTeX with unbalanced braces.

        >>> x = sp.Symbol("x_1")
        >>> Formula("f", sp.Symbol("y"), x**2, (x,), "", "exact", derived_from=("",)).latex(symbols={"x_1": r"\xi"})
        'y = \\xi^{2}'
        """
        self._check(symbols)
        if style == "inline":
            return f"{latex(self.lhs, symbols)} = {latex(self.expr, symbols)}"
        if style == "align":
            return gathered(self.lhs, self.expr, names=symbols, line=width, label=label)
        raise BadInput(f'style: expected "inline" or "align", got {style!r}')

    def derivation_latex(self, *, symbols: Mapping[str, str] | None = None, width: float = LINE) -> str:
        """Return the whole chain of steps as an ``enumerate`` environment: each statement, its rule, how it was checked."""
        self._check(symbols)
        return chain(self.steps, names=symbols, line=width)

    @property
    def symbol_names(self) -> frozenset[str]:
        """Calling names that ``symbols`` of ``latex`` accepts: those printed here, and those that mean the same anywhere."""
        sides = [side for step in self.steps for side in (step.left, step.right)]
        return KNOWN_NAMES | symbol_names([self.lhs, self.expr, *self.args, *sides])

    def _check(self, symbols: Mapping[str, str] | None) -> None:
        if symbols is not None:
            check_names(symbols, self.symbol_names)

    def code(self, language: str) -> str:
        """Return a self-contained function of ``args``, in order: "python", "c" (C99) or "mathematica".

        Raises
        ------
        BadInput
            For another language.
        NoClosedForm
            For a function that the language has no counterpart of; it is named.
        """
        return export.code(self, language)

    def _repr_latex_(self) -> str:
        rows, _ = display(self.lhs, self.expr)
        if len(rows) == 1:
            return f"$\\displaystyle {self.latex()}$"
        return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"

    def derived(self, operation: str, lhs: Any, expr: Any) -> "Formula":
        """Return a formula that follows from this one by ``operation``, keeping validity and convention."""
        args = tuple(argument for argument in self.args if argument in expr.free_symbols)
        return replace(
            self, name=f"{self.name}: {operation}", lhs=lhs, expr=expr, args=args, steps=(), numerical=None,
            integral=None, derived_from=(self.name,),
        )  # fmt: skip

    def diff(self, symbol: sp.Symbol) -> "Formula":
        """Return the derivative with respect to one of the arguments."""
        return self.derived(f"d/d{symbol}", sp.Derivative(self.lhs, symbol), sp.diff(self.expr, symbol))

    def subs(self, values: Mapping[Any, Any]) -> "Formula":
        """Return the formula with arguments replaced; new symbols become arguments."""
        expr = self.expr.subs(values)
        new = sorted(expr.free_symbols - set(self.args), key=str)
        formula = replace(self, args=(*self.args, *new))
        return formula.derived("substituted", self.lhs, expr)

    def limit(self, symbol: sp.Symbol, point: Any, direction: str = "+") -> "Formula":
        """Return the limit symbol → point."""
        lhs = sp.Limit(self.lhs, symbol, point, direction)
        return self.derived(f"{symbol} -> {point}", lhs, sp.limit(self.expr, symbol, point, direction))

    @property
    def digest(self) -> str:
        """SHA-256 of the expression, its arguments and its convention."""
        text = "\n".join([self.name, sp.srepr(self.expr), sp.srepr(self.args), repr(self.convention)])
        return hashlib.sha256(text.encode()).hexdigest()

    def compile(self) -> Callable[..., Any]:
        """Return the formula as compiled code that broadcasts over arrays (see fieldflow.compile)."""
        if compiler is None:
            raise BadInput("compile: import fieldflow.compile first; the symbolic layer does not know Numba")
        return compiler(self)
