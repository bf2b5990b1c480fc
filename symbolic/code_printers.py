"""How are SymPy's functions called elsewhere? Printers for Python's standard library and SciPy, NumPy, C99, Mathematica."""

from typing import Any

import sympy as sp
from sympy.printing.c import C99CodePrinter
from sympy.printing.mathematica import MCodePrinter
from sympy.printing.numpy import NumPyPrinter, SciPyPrinter

from fieldflow.symbolic.printing import matrix_terms

_NAMES = (
    "exp log sqrt sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh erf erfc gamma loggamma expm1 log1p "
    "Abs sign Max Min Heaviside Piecewise"
)
_ELEMENTARY = frozenset(_NAMES.split())
_SCIPY = {
    "RegularizedUpperGamma": "scipy.special.gammaincc",
    "InverseRegularizedUpperGamma": "scipy.special.gammainccinv",
    "Dawson": "scipy.special.dawsn",
    "OwenT": "scipy.special.owens_t",
    "NoncentralChiSquared": "scipy.special.chndtr",
    "erfinv": "scipy.special.erfinv",
    "erfcinv": "scipy.special.erfcinv",
}
_MATHEMATICA = {
    "RegularizedUpperGamma": "GammaRegularized",
    "InverseRegularizedUpperGamma": "InverseGammaRegularized",
    "Dawson": "DawsonF",
    "OwenT": "OwenT",
}

SUPPORTED = {
    "python": _ELEMENTARY | frozenset(_SCIPY) | {"Integral"},
    "c": _ELEMENTARY,
    "mathematica": _ELEMENTARY
    | frozenset(_MATHEMATICA)
    | {"BivariateNormal", "Integral", "uppergamma", "erfinv", "erfcinv", "besseli", "polylog"},
}
"""Class names of what each language can evaluate."""


class PythonPrinter(SciPyPrinter):
    """Python for single floats: the standard library, and SciPy by full name where that has no counterpart."""

    def __init__(self, exponential: str = "math.exp") -> None:
        super().__init__({"fully_qualified_modules": True})
        self._exponential = exponential

    def _print_Function(self, expr: Any) -> str:
        name = type(expr).__name__
        if name in _SCIPY:
            return f"{_SCIPY[name]}({', '.join(map(self._print, expr.args))})"
        own = {"Abs": "abs", "Max": "max", "Min": "min", "loggamma": "math.lgamma", "exp": self._exponential}
        return f"{own.get(name, f'math.{name}')}({', '.join(map(self._print, expr.args))})"

    _print_exp = _print_log = _print_Abs = _print_Max = _print_Min = _print_Function
    _print_erf = _print_erfc = _print_gamma = _print_loggamma = _print_erfinv = _print_erfcinv = _print_Function
    _print_sin = _print_cos = _print_tan = _print_asin = _print_acos = _print_atan = _print_atan2 = _print_Function
    _print_sinh = _print_cosh = _print_tanh = _print_asinh = _print_acosh = _print_atanh = _print_Function
    _print_expm1 = _print_log1p = _print_Function

    def _print_Pow(self, expr: Any, rational: bool = False) -> str:
        if expr.exp == sp.Rational(1, 2):
            return f"math.sqrt({self._print(expr.base)})"
        if expr.exp == -sp.Rational(1, 2):
            return f"1/math.sqrt({self._print(expr.base)})"
        if expr.base == sp.E:
            return f"{self._exponential}({self._print(expr.exp)})"
        base, exponent = (str(self._print(part)) for part in (expr.base, expr.exp))
        base = base if expr.base.is_Symbol else f"({base})"
        if expr.exp == -1:
            return f"1/{base}"
        plain = expr.exp.is_Symbol or (expr.exp.is_Integer and expr.exp.is_positive)
        return f"{base}**{exponent if plain else f'({exponent})'}"

    def _print_Pi(self, expr: Any) -> str:
        return "math.pi"

    def _print_Exp1(self, expr: Any) -> str:
        return "math.e"

    def _print_Infinity(self, expr: Any) -> str:
        return "math.inf"

    def _print_NegativeInfinity(self, expr: Any) -> str:
        return "-math.inf"

    def _print_Piecewise(self, expr: Any) -> str:
        parts = [
            f"({self._print(value)}) if {self._print(when)} else " for value, when in expr.args if when is not sp.true
        ]
        rest = [self._print(value) for value, when in expr.args if when is sp.true] or ["math.nan"]
        return f"({''.join(parts)}({rest[0]}))"

    def _print_Relational(self, expr: Any) -> str:
        return f"({self._print(expr.lhs)}) {expr.rel_op} ({self._print(expr.rhs)})"

    def _print_And(self, expr: Any) -> str:
        return " and ".join(f"({self._print(part)})" for part in expr.args)

    def _print_Or(self, expr: Any) -> str:
        return " or ".join(f"({self._print(part)})" for part in expr.args)

    def _print_sign(self, expr: Any) -> str:
        inner = self._print(expr.args[0])
        return f"(({inner} > 0) - ({inner} < 0))"

    def _print_Heaviside(self, expr: Any) -> str:
        inner, at_zero = self._print(expr.args[0]), self._print(expr.args[1])
        return f"(1.0 if {inner} > 0 else (0.0 if {inner} < 0 else {at_zero}))"


class ArrayPrinter(NumPyPrinter):
    """NumPy for matrices; ``sizes`` says how the symbol of a dimension is read off an argument."""

    def __init__(self, sizes: dict[Any, str]) -> None:
        super().__init__({"fully_qualified_modules": True})
        self._sizes = sizes

    def _print_Identity(self, expr: Any) -> str:
        return f"numpy.eye({self._sizes[expr.shape[0]]})"

    def _print_ZeroMatrix(self, expr: Any) -> str:
        return f"numpy.zeros(({', '.join(self._sizes[size] for size in expr.shape)}))"

    def _print_MatMul(self, expr: Any) -> str:
        number, factors = expr.as_coeff_matrices()
        product = " @ ".join(self._factor(factor) for factor in factors)
        if number in (1, -1):
            return product if number == 1 else f"-{product}"
        return f"({self._print(number)})*({product})"

    def _print_MatAdd(self, expr: Any) -> str:
        return " + ".join(map(self._print, matrix_terms(expr))).replace("+ -", "- ")

    def _factor(self, factor: Any) -> str:
        text = str(self._print(factor))
        return f"({text})" if isinstance(factor, (sp.MatAdd, sp.Add, sp.MatMul)) else text

    def _print_Transpose(self, expr: Any) -> str:
        return f"{self._factor(expr.arg)}.T"


class CPrinter(C99CodePrinter):
    """C99 with nothing but math.h."""

    def __init__(self) -> None:
        super().__init__({"math_macros": {}})

    def _print_Pi(self, expr: Any) -> str:
        return "3.14159265358979323846"

    def _print_Exp1(self, expr: Any) -> str:
        return "2.71828182845904523536"

    def _print_Heaviside(self, expr: Any) -> str:
        inner, at_zero = self._print(expr.args[0]), self._print(expr.args[1])
        return f"(({inner}) > 0 ? 1.0 : (({inner}) < 0 ? 0.0 : {at_zero}))"


class WolframPrinter(MCodePrinter):
    """Mathematica; HeavisideTheta stays unevaluated at 0, so the step is written with Sign."""

    def __init__(self, sizes: dict[Any, str] | None = None) -> None:
        super().__init__({"user_functions": {name: [(lambda *_: True, call)] for name, call in _MATHEMATICA.items()}})
        self._sizes = sizes or {}

    def _print_Heaviside(self, expr: Any) -> str:
        inner, at_zero = self._print(expr.args[0]), self._print(expr.args[1])
        if expr.args[1] == sp.Rational(1, 2):
            return f"(1 + Sign[{inner}])/2"
        return f"Piecewise[{{{{1, {inner} > 0}}, {{{at_zero}, {inner} == 0}}}}, 0]"

    def _call(self, name: str, expr: Any) -> str:
        return f"{name}[{', '.join(map(self._print, expr.args))}]"

    def _print_Abs(self, expr: Any) -> str:
        return self._call("Abs", expr)

    def _print_sign(self, expr: Any) -> str:
        return self._call("Sign", expr)

    def _print_atan2(self, expr: Any) -> str:
        y, x = map(self._print, expr.args)
        return f"ArcTan[{x}, {y}]"

    def _print_BivariateNormal(self, expr: Any) -> str:
        h, k, rho = map(self._print, expr.args)
        return f"CDF[BinormalDistribution[{rho}], {{{h}, {k}}}]"

    def _print_expm1(self, expr: Any) -> str:
        return f"(Exp[{self._print(expr.args[0])}] - 1)"

    def _print_log1p(self, expr: Any) -> str:
        return f"Log[1 + {self._print(expr.args[0])}]"

    def _print_Relational(self, expr: Any) -> str:
        return f"{self._print(expr.lhs)} {expr.rel_op} {self._print(expr.rhs)}"

    def _print_Piecewise(self, expr: Any) -> str:
        parts = ", ".join(f"{{{self._print(value)}, {self._print(when)}}}" for value, when in expr.args)
        return f"Piecewise[{{{parts}}}]"

    def _print_BooleanTrue(self, expr: Any) -> str:
        return "True"

    def _print_And(self, expr: Any) -> str:
        return " && ".join(f"({self._print(part)})" for part in expr.args)

    def _print_Or(self, expr: Any) -> str:
        return " || ".join(f"({self._print(part)})" for part in expr.args)

    def _print_Integral(self, expr: Any) -> str:
        limits = ", ".join(f"{{{', '.join(map(self._print, limit))}}}" for limit in expr.limits)
        return f"NIntegrate[{self._print(expr.function)}, {limits}]"

    def _print_Identity(self, expr: Any) -> str:
        return f"IdentityMatrix[{self._sizes[expr.shape[0]]}]"

    def _print_MatMul(self, expr: Any) -> str:
        number, factors = expr.as_coeff_matrices()
        product = ".".join(self._factor(factor) for factor in factors)
        if number in (1, -1):
            return product if number == 1 else f"-{product}"
        return f"{self.parenthesize(number, 50)}*{product}"

    def _factor(self, factor: Any) -> str:
        text = str(self._print(factor))
        return f"({text})" if isinstance(factor, (sp.MatAdd, sp.MatMul)) else text

    def _print_MatAdd(self, expr: Any) -> str:
        return " + ".join(map(self._print, matrix_terms(expr))).replace("+ -", "- ")

    def _print_Inverse(self, expr: Any) -> str:
        return f"Inverse[{self._print(expr.arg)}]"

    def _print_Transpose(self, expr: Any) -> str:
        return f"Transpose[{self._print(expr.arg)}]"

    def _print_MatPow(self, expr: Any) -> str:
        return f"MatrixPower[{self._print(expr.base)}, {self._print(expr.exp)}]"
