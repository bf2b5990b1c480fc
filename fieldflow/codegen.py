"""How does a formula become source code? A scalar Python function for Numba, or a NumPy function for matrices."""

from typing import Any

import sympy as sp
from sympy.printing.numpy import NumPyPrinter
from sympy.printing.pycode import PythonCodePrinter

from fieldflow.errors import NoClosedForm

COMPENSATED = '''
def _two_product(a, b):
    """Return a*b rounded and its rounding error (Dekker, Veltkamp splitting)."""
    split = 134217729.0
    high = a * split
    a_high = high - (high - a)
    a_low = a - a_high
    high = b * split
    b_high = high - (high - b)
    b_low = b - b_high
    product = a * b
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _difference_of_products(a, b, c, d):
    """Return a*b - c*d to nearly full accuracy; the plain form where splitting would overflow."""
    first, second = a * b, c * d
    if max(abs(a), abs(b), abs(c), abs(d)) > 1e150:
        return first - second
    first, error = _two_product(a, b)
    second, other = _two_product(c, d)
    return (first - second) + (error - other)
'''

HELPERS = {"_difference_of_products": COMPENSATED}

LIBRARY = {
    "RegularizedUpperGamma": "gammaincc",
    "InverseRegularizedUpperGamma": "gammainccinv",
}
"""SymPy functions that SciPy evaluates: class name to name in scipy.special.cython_special."""

_SUPPORTED = frozenset(
    {
        *("exp", "log", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh"),
        *("erf", "erfc", "gamma", "loggamma", "expm1", "log1p"),
        *("Abs", "sign", "Max", "Min", "Heaviside", "Piecewise", "DifferenceOfProducts"),
        *LIBRARY,
    }
)


class _ScalarPrinter(PythonCodePrinter):
    """Python for one set of floats, in the subset that Numba compiles without branches going wrong."""

    def _print_Max(self, expr: Any) -> str:
        return self._nested(list(expr.args), ">")

    def _print_Min(self, expr: Any) -> str:
        return self._nested(list(expr.args), "<")

    def _nested(self, parts: list[Any], sign: str) -> str:
        result = str(self._print(parts[0]))
        for part in parts[1:]:
            other = self._print(part)
            result = f"(({other}) if ({other}) {sign} ({result}) else ({result}))"
        return result

    def _print_Heaviside(self, expr: Any) -> str:
        argument = self._print(expr.args[0])
        return f"(0.5 if ({argument}) == 0.0 else (1.0 if ({argument}) > 0.0 else 0.0))"

    def _print_sign(self, expr: Any) -> str:
        argument = self._print(expr.args[0])
        return f"(0.0 if ({argument}) == 0.0 else math.copysign(1.0, {argument}))"

    def _print_Rational(self, expr: Any) -> str:
        return f"({expr.p}.0/{expr.q}.0)"

    def _print_DifferenceOfProducts(self, expr: Any) -> str:
        return f"_difference_of_products({', '.join(map(self._print, expr.args))})"

    def _print_Function(self, expr: Any) -> str:
        name = type(expr).__name__
        if name in LIBRARY:
            return f"_{LIBRARY[name]}({', '.join(map(self._print, expr.args))}, 0)"
        return str(super()._print_Function(expr))

    _print_RegularizedUpperGamma = _print_Function
    _print_InverseRegularizedUpperGamma = _print_Function


def check_supported(expr: Any) -> None:
    """Raise NoClosedForm naming the first function that compiled code cannot evaluate."""
    for function in sorted(expr.atoms(sp.Function), key=str):
        name = type(function).__name__
        if name not in _SUPPORTED:
            raise NoClosedForm(f"compile: no compiled form of {name}; supported: {', '.join(sorted(_SUPPORTED))}")


def scalar_body(expr: Any, names: list[str]) -> str:
    """Return the lines of ``def evaluate(names): ...`` for a scalar expression."""
    check_supported(expr)
    printer = _ScalarPrinter({"fully_qualified_modules": True, "standard": "python3"})
    # Common parts of a Piecewise must stay in their branch: outside it they may not exist.
    parts, (result,) = ([], [expr]) if expr.has(sp.Piecewise) else sp.cse(expr, symbols=sp.numbered_symbols("_x"))
    lines = [f"    {symbol} = {printer.doprint(value)}" for symbol, value in parts]
    return "\n".join([f"def evaluate({', '.join(names)}):", *lines, f"    return {printer.doprint(result)}", ""])


def helpers_of(source: str) -> tuple[str, list[str]]:
    """Return the helper functions a scalar source needs, and the library functions."""
    helpers = "".join(text for name, text in HELPERS.items() if f"{name}(" in source)
    return helpers, [name for name in LIBRARY.values() if f"_{name}(" in source]


def matrix_body(expr: Any, names: list[str]) -> str:
    """Return the source of a NumPy function for a matrix expression."""
    printer = NumPyPrinter({"fully_qualified_modules": True})
    return f"import numpy\nimport numpy.linalg\n\n\ndef evaluate({', '.join(names)}):\n    return {printer.doprint(expr)}\n"
