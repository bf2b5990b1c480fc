"""How does a SymPy object become LaTeX? A subclassed printer; SymPy's own settings are never touched."""

from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter

_NAMES = {
    "q11": "q_{11}",
    "q22": "q_{22}",
    "x_dot_y": r"x \cdot x'",
    "E_sigma": r"\mathrm{E}[\sigma\sigma]",
    "E_slope": r"\mathrm{E}[\sigma'\sigma']",
    "q_next": r"q^{(\ell+1)}",
    "Theta": r"\Theta^{(\ell)}",
    "a_l": r"a_{\ell}",
    "s2": "s^{2}",
    "c_k": "c_{k}",
    "k_stiff": r"k^{>}",
    "k_stiff_x": r"k^{>}_{x}",
    "k_stiff_y": r"k^{>}_{y}",
    "h_stiff": r"h_{>}",
    "K_stiff": r"K_{>}",
    "K_xy": r"K_{xy}",
    "E_h2": r"\langle h_{i}^{2} \rangle",
    "epsilon": r"\varepsilon",
}
"""Symbols whose calling name is not what one prints."""


class _Printer(LatexPrinter):
    """LaTeX as physicists write it: transposes as ⊤, names with a backslash as they stand."""

    def _print_Symbol(self, expr: Any, style: str = "plain") -> str:
        name = expr.name
        if name in _NAMES:
            return _NAMES[name]
        return str(name) if "\\" in name else str(super()._print_Symbol(expr, style))

    def _print_MatrixSymbol(self, expr: Any) -> str:
        return self._print_Symbol(expr)

    def _print_Transpose(self, expr: Any) -> str:
        inner = self._print(expr.arg)
        return rf"{inner}^{{\top}}" if "^" not in inner else rf"{{{inner}}}^{{\top}}"

    def _print_expm1(self, expr: Any) -> str:
        return rf"\left(e^{{{self._print(expr.args[0])}}} - 1\right)"

    def _print_log1p(self, expr: Any) -> str:
        return rf"\ln\left(1 + {self._print(expr.args[0])}\right)"

    def _print_Heaviside(self, expr: Any, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"\theta{power}\left({self._print(expr.args[0])}\right)"


def latex(expr: Any) -> str:
    r"""Return the LaTeX of a SymPy object, the same in every process.

    >>> latex(sp.Symbol("x") ** 2)
    'x^{2}'
    """
    return str(_Printer({"mat_delim": "[", "inv_trig_style": "full", "ln_notation": True}).doprint(sp.sympify(expr)))
