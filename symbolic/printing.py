"""How does a SymPy object become LaTeX? A subclassed printer; SymPy's own settings are never touched."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter
from sympy.printing.precedence import PRECEDENCE

from fieldflow.symbolic import symbols as calling
from fieldflow.symbolic.contraction import Contraction
from fieldflow.symbolic.errors import BadInput
from fieldflow.symbolic.partitions import printed_sums

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
    "E_F_u": r"\mathrm{E}[\partial_{u} F]",
    "E_F_v": r"\mathrm{E}[\partial_{v} F]",
    "w_perp": r"w_{\perp}",
    "sigma_1": r"\sigma'",
    "w_mean": r"\bar{w}",
    "w_mean_a": r"\bar{w}_{a}",
    "w_mean_b": r"\bar{w}_{b}",
    "b_mean_a": r"\bar{b}_{a}",
    "b_mean_b": r"\bar{b}_{b}",
    "V_stiff": r"V^{\gg}_{xy}",
    "V_sloppy": r"V^{<}_{xy}",
    "V_stiff_x": r"V^{>}_{x}",
    "V_stiff_y": r"V^{>}_{y}",
    "V_xy": "V_{xy}",
    "V_at_x": "v(x)",
    "V_X": "v(X)",
    "s_wN": "s_{w}N",
    "k_mmmm": r"\kappa_{mmmm}",
    "k_mmv": r"\kappa_{mmv}",
    "k_vv": r"\kappa_{vv}",
    "Pdot": r"\dot{P}",
    "sigma2": r"\sigma^{2}",
    "b2": r"|b|^{2}",
    "mu_star": r"\mu_{\ast}",
    "M_dot": r"\dot{M}",
    "M_ddot": r"\ddot{M}",
    "K_dot": r"\dot{K}",
    "K_dot_xy": r"\dot{K}_{xy}",
    "k_dot_x": r"\dot{k}^{>}_{x}",
    "k_dot_y": r"\dot{k}^{>}_{y}",
    "E_D2mu": r"\mathrm{E}[D^2\mu]",
    "E_DmuDmu": r"\mathrm{E}[D\mu\,D\mu]",
    "E_D2C": r"\mathrm{E}[D^2C]",
    "E_mu1C23": r"\mathrm{E}[D\mu_{1}\,DC_{23}]",
    "E_mu2C13": r"\mathrm{E}[D\mu_{2}\,DC_{13}]",
    "E_mu3C12": r"\mathrm{E}[D\mu_{3}\,DC_{12}]",
    "E_C12C34": r"\mathrm{E}[DC_{12}\,DC_{34}]",
    "E_C13C24": r"\mathrm{E}[DC_{13}\,DC_{24}]",
    "E_C14C23": r"\mathrm{E}[DC_{14}\,DC_{23}]",
    "sigma_w2": r"\sigma_{w}^{2}(\Lambda)",
    "Omega": r"\Omega_{\alpha}",
    "R_Lambda": r"R_{\Lambda}",
    "G4_GP": r"G_{4}^{\mathrm{GP}}",
    "G6_lambda": r"G_{6}^{\lambda}",
    "dlogI_dlogL": r"\frac{\partial \ln I}{\partial \ln L}",
    "rho_minus": r"|x - x'|",
    "rho_plus": r"|x + x'|",
    **printed_sums(),
    "J_k": r"|\tilde{J}(k)|",
    "E_F": r"\mathrm{E}_{k}[F - 1]",
    "I12_34": r"I_{12|34}",
    "I13_24": r"I_{13|24}",
    "I14_23": r"I_{14|23}",
}
"""Symbols whose calling name is not what one prints."""

KNOWN_NAMES = frozenset(_NAMES) | {str(value) for value in vars(calling).values() if isinstance(value, sp.Symbol)}
"""Calling names that mean the same in every formula."""

_SUMS = frozenset({"Chord", "DifferenceOfProducts", "ExpDifference"})
"""Functions of ``special`` that stand for a sum with a rounding of its own."""

_MANY_ZEROS = 6
"""Zeros at the end of a number from which on it is printed as a power of ten."""

_TRANSPOSED = "^T"
"""How the name of a non-commutative symbol says that it stands for a transpose."""


def printed_names(names: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return calling name to LaTeX: those of ``names`` before the names printed by default."""
    return _NAMES | dict(names or {})


class Printer(LatexPrinter):
    """LaTeX as physicists write it: transposes as ⊤, positive terms first, names with a backslash as they stand.

    Parameters
    ----------
    names : mapping, optional
        Calling name to LaTeX, before the names printed by default.
    """

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        super().__init__(
            {
                "mat_delim": "[",
                "inv_trig_style": "full",
                "ln_notation": True,
                "fold_frac_powers": True,
                "long_frac_ratio": 3,
            }
        )
        self._names = printed_names(names)

    def doprint(self, expr: Any) -> str:
        """Return LaTeX; functions that only say how a sum is rounded are printed as that sum."""
        if isinstance(expr, sp.Basic):
            expr = expr.replace(lambda part: type(part).__name__ in _SUMS, lambda part: part.doit())
        return str(super().doprint(expr))

    def _print_Pow(self, expr: Any) -> str:
        own = isinstance(expr.base, sp.Function) and hasattr(expr.base, "_latex")  # such a function knows no exponents
        if own and not expr.exp.could_extract_minus_sign() and expr.exp != sp.Rational(1, 2):
            return rf"\left({self._print(expr.base)}\right)^{{{self._folded_print(expr.exp)}}}"
        return str(super()._print_Pow(expr))

    def _print_Symbol(self, expr: Any, style: str = "plain") -> str:
        name = expr.name
        if name in self._names:
            return self._names[name]
        if name.endswith(_TRANSPOSED):
            return self._transposed(self._print_Symbol(sp.Symbol(name.removesuffix(_TRANSPOSED))))
        return str(name) if "\\" in name else str(super()._print_Symbol(expr, style))

    def _print_MatrixSymbol(self, expr: Any) -> str:
        return self._print_Symbol(expr)

    def _print_Transpose(self, expr: Any) -> str:
        inner = str(self._print(expr.arg))
        return self._transposed(inner if isinstance(expr.arg, sp.MatrixSymbol) else rf"\left({inner}\right)")

    @staticmethod
    def _transposed(inner: str) -> str:
        if "^" not in inner:
            return rf"{inner}^{{\top}}"
        return rf"{{{inner}{{}}}}^{{\top}}"  # {}: of a lone accent TeX drops the braces and finds two superscripts

    def _print_Identity(self, expr: Any) -> str:
        return r"\mathbf{1}"

    def _print_ZeroMatrix(self, expr: Any) -> str:
        return r"\mathbf{0}"

    def _as_ordered_terms(self, expr: Any, order: Any = None) -> list[Any]:
        terms = list(super()._as_ordered_terms(expr, order=order))
        return terms if expr.has(Contraction) else positive_first(terms)  # powers of 1/N stay in order

    def _print_MatAdd(self, expr: Any) -> str:
        terms = [str(self._print(term)) for term in matrix_terms(expr)]
        return terms[0] + "".join(f" - {term[1:].strip()}" if term[0] == "-" else f" + {term}" for term in terms[1:])

    def _print_Mul(self, expr: Any) -> str:
        combined = _roots_combined(expr, self)
        tall = [factor for factor in sp.Mul.make_args(combined) if self._is_tall(factor)]
        rest = sp.Mul(*(factor for factor in sp.Mul.make_args(combined) if factor not in tall))
        if tall and expr.is_commutative and sp.fraction(combined)[1] != 1 and abs(rest) != 1:
            return " ".join(map(self._print, [rest, *tall]))
        if sp.fraction(combined)[1].is_Atom:
            return str(super()._print_Mul(combined))
        with self._folded(False):  # a/bc would be ambiguous
            return str(super()._print_Mul(combined))

    def _is_tall(self, factor: Any) -> bool:
        """Return whether a factor had better stand beside a fraction bar than above it: it holds a fraction, or is a diagram."""
        if isinstance(factor, Contraction):
            return True
        plain = isinstance(factor, sp.Function) and not isinstance(factor, sp.exp)
        return plain and not self._settings["fold_short_frac"] and r"\frac" in self._print(factor)

    def _print_ExpBase(self, expr: Any, exp: str | None = None) -> str:
        with self._folded():
            return str(super()._print_ExpBase(expr, exp))

    def _helper_print_standard_power(self, expr: Any, template: str) -> str:
        exponent = self._folded_print(expr.exp)
        base = self.parenthesize(expr.base, PRECEDENCE["Pow"])
        if expr.base.is_Symbol:
            base = self.parenthesize_super(base)
        elif expr.base.is_Float:
            base = f"{{{base}}}"
        return template % (base, exponent)

    def _folded_print(self, expr: Any) -> str:
        with self._folded():
            return str(self._print(expr))

    @contextmanager
    def _folded(self, wanted: bool = True) -> Iterator[None]:
        """Write short fractions on one line meanwhile: in an exponent two levels would be too small to read."""
        before = self._settings["fold_short_frac"]
        self._settings["fold_short_frac"] = wanted
        try:
            yield
        finally:
            self._settings["fold_short_frac"] = before

    def _print_Integer(self, expr: Any) -> str:
        digits = str(abs(expr.p))
        zeros = len(digits) - len(digits.rstrip("0"))
        if zeros < _MANY_ZEROS:
            return str(expr.p)
        front = digits[: len(digits) - zeros]
        return ("-" if expr.p < 0 else "") + (rf"{front} \cdot " if front != "1" else "") + f"10^{{{zeros}}}"

    def _print_Rational(self, expr: Any) -> str:
        digits = str(expr.q)
        if digits.strip("0") != "1" or len(digits) <= _MANY_ZEROS:
            return str(super()._print_Rational(expr))
        front = "-" if expr.p == -1 else ("" if expr.p == 1 else rf"{expr.p} \cdot ")
        return f"{front}10^{{-{len(digits) - 1}}}"

    def _print_expm1(self, expr: Any) -> str:
        return rf"\left(e^{{{self._print(expr.args[0])}}} - 1\right)"

    def _print_log1p(self, expr: Any) -> str:
        return rf"\ln\left({self._print(1 + expr.args[0])}\right)"

    def _print_atan2(self, expr: Any) -> str:
        return rf"\operatorname{{atan2}}\left({', '.join(map(self._print, expr.args))}\right)"

    def _print_Heaviside(self, expr: Any, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"\theta{power}\left({self._print(expr.args[0])}\right)"

    def _print_Function(self, expr: Any, exp: str | None = None) -> str:
        if type(expr).__name__ == "E":  # the undefined function E: an expectation
            body = rf"\mathrm{{E}}\left[{', '.join(map(self._print, expr.args))}\right]"
            return body if exp is None else rf"{{{body}}}^{{{exp}}}"
        return str(super()._print_Function(expr, exp))


class _Radicand(sp.Symbol):
    """Several factors under one root, printed already."""

    def _latex(self, printer: Any) -> str:
        return str(self.name)


def _roots_combined(expr: Any, printer: Printer) -> Any:
    """Return a product with √a·√b written as √(ab), above and below the bar, for a and b that are not negative."""
    if not expr.is_commutative:
        return expr
    kept: list[Any] = []
    roots: dict[Any, list[Any]] = {sp.Rational(1, 2): [], sp.Rational(-1, 2): []}
    for factor in sp.Mul.make_args(expr):
        base, exponent = factor.as_base_exp()
        fits = exponent in roots and base.is_nonnegative and not base.is_Number
        (roots[exponent] if fits else kept).append(base if fits else factor)
    if all(len(bases) < 2 for bases in roots.values()):
        return expr
    for exponent, bases in roots.items():
        inside = _Radicand(printer._print(sp.Mul(*bases)), positive=True) if len(bases) > 1 else sp.Mul(*bases)
        kept += [inside**exponent] if bases else []
    return sp.Mul(*kept)


def positive_first(terms: list[Any]) -> list[Any]:
    """Return the terms of a sum with the first positive one in front: a - b instead of -b + a."""
    lead = next((i for i, term in enumerate(terms) if not term.could_extract_minus_sign()), 0)
    return [terms[lead], *terms[:lead], *terms[lead + 1 :]]


def matrix_terms(expr: Any) -> list[Any]:
    """Return the terms of a sum of matrices, those of few factors first, a positive one in front."""
    terms = sorted(expr.args, key=_factors)
    lead = next((i for i, term in enumerate(terms) if not _negative(term)), 0)
    return [terms[lead], *terms[:lead], *terms[lead + 1 :]]


def _factors(term: Any) -> int:
    if isinstance(term, sp.Identity):
        return 0
    return len(term.as_coeff_matrices()[1]) if isinstance(term, sp.MatMul) else 1


def _negative(term: Any) -> bool:
    return isinstance(term, sp.MatMul) and bool(term.as_coeff_mmul()[0].could_extract_minus_sign())


def latex(expr: Any, names: Mapping[str, str] | None = None) -> str:
    r"""Return the LaTeX of a SymPy object, the same in every process.

    Parameters
    ----------
    expr : SymPy object
    names : mapping, optional
        Calling name to LaTeX, for symbols to be printed under another name.

    >>> latex(sp.Symbol("x") ** 2), latex(sp.Symbol("q11") ** 2, {"q11": "K(x,x)"})
    ('x^{2}', 'K(x,x)^{2}')
    """
    return str(Printer(names).doprint(sp.sympify(expr)))


def symbol_names(expressions: Iterable[Any]) -> set[str]:
    """Return the calling names of all symbols in the expressions, transposes under the name of what they transpose.

    >>> sorted(symbol_names([sp.Symbol("x") + sp.Symbol("h_y^T", commutative=False)]))
    ['h_y', 'x']
    """
    found = [sp.sympify(expr).atoms(sp.Symbol, sp.MatrixSymbol) for expr in expressions]
    return {symbol.name.removesuffix(_TRANSPOSED) for symbols in found for symbol in symbols}


def check_names(names: Mapping[str, str], accepted: Iterable[str]) -> None:
    r"""Raise BadInput, naming the key, unless every key is an accepted calling name and every value LaTeX in one line.

    >>> check_names({"sigma_w": r"\sigma_W"}, ["sigma_w"])
    """
    allowed = sorted(name for name in set(accepted) if re.fullmatch(r"\w+", name))
    for key, value in names.items():
        if key not in allowed:
            raise BadInput(f"symbols.{key}: unknown name; accepted: {', '.join(allowed)}")
        if not isinstance(value, str):
            raise BadInput(f"symbols.{key}: expected LaTeX in quotes, got {value!r}")
        if not value.strip() or "\n" in value or not balanced(value):
            raise BadInput(f"symbols.{key}: expected one line of LaTeX with balanced braces, got {value!r}")


def balanced(text: str) -> bool:
    """Return whether braces (those that are not escaped) match, and no comment or math shift hides in the text."""
    depth = 0
    for token in re.findall(r"\\.|[{}$%\\]", text):
        depth += {"{": 1, "}": -1}.get(token, 0)
        if depth < 0 or token in ("$", "%", "\\"):
            return False
    return depth == 0
