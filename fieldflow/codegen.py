"""How does a formula become source code? A scalar Python function for Numba, or a NumPy function for matrices."""

from typing import Any

import sympy as sp
from sympy.codegen.cfunctions import log1p
from sympy.printing.numpy import NumPyPrinter
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.pycode import PythonCodePrinter

from fieldflow import propagator_code
from fieldflow.errors import NoClosedForm

TWO_PRODUCT = '''
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
'''

COMPENSATED = '''
def _difference_of_products(a, b, c, d):
    """Return a*b - c*d to nearly full accuracy; the plain form where splitting would overflow."""
    first, second = a * b, c * d
    if max(abs(a), abs(b), abs(c), abs(d)) > 1e150:
        return first - second
    first, error = _two_product(a, b)
    second, other = _two_product(c, d)
    return (first - second) + (error - other)
'''

EXP_DIFFERENCE = '''
def _exp_difference(x, y, difference):
    """Return e^x - e^y, accurate also where x - y is small; never overflows before the result does."""
    if difference >= 0.0:
        return -math.exp(x) * math.expm1(-difference)
    return math.exp(y) * math.expm1(difference)
'''

NORMAL_CDF = '''
def _normal_cdf(x):
    """Return P(xi <= x) for a standard normal xi, with its digits kept far below zero."""
    return 0.5 * math.erfc(-x * 0.7071067811865476)
'''

NORMAL_ORTHANT = '''
def _half_owen(h, conditional):
    """Return T(h, conditional/h), Owen's function, with its limit for h = 0."""
    if h == 0.0:
        return math.copysign(0.25, conditional) if conditional != 0.0 else 0.0
    if math.isinf(h):
        return 0.0
    return _owens_t(h, conditional / h, 0)


def _normal_orthant(h, k, rho, given_h, given_k):
    """Return P(xi <= h, eta <= k) for standard normals of correlation rho, by Owen's T function."""
    if h == 0.0 and k == 0.0:
        return 0.25 + math.asin(max(-1.0, min(1.0, rho))) / (2.0 * math.pi)
    opposite = h * k < 0.0 or (h * k == 0.0 and h + k < 0.0)
    marginal = 0.5 * (_normal_cdf(h) + _normal_cdf(k)) - (0.5 if opposite else 0.0)
    return marginal - _half_owen(h, given_h) - _half_owen(k, given_k)
'''

BIVARIATE_NORMAL = '''
def _bivariate_normal(h, k, rho):
    """Return P(xi <= h, eta <= k) for standard normals of correlation rho."""
    root = math.sqrt(max(1e-30, (1.0 - rho) * (1.0 + rho)))
    return _normal_orthant(h, k, rho, (k - rho * h) / root, (h - rho * k) / root)
'''

ARC = '''
def _arc(s, c):
    """Return (atan2(s, c), t, correction) for s, c >= 0 without branches, so that loops over it become vector code.

    atan(t) = t + t x R(x), x = t^2 <= (sqrt(2) - 1)^2, with R a Chebyshev fit of degree 11 (error 1.2e-18); larger
    arguments are turned by pi/4 and exchanged at pi/4.
    """
    low, high = min(s, c), max(s, c)
    ratio = low / high if high > 0.0 else 0.0
    turned = ratio > 0.41421356237309503
    t = (ratio - 1.0) / (ratio + 1.0) if turned else ratio
    x = t * t
    fit = 0.016285756855134323
    fit = fit * x - 0.03457056198134207
    fit = fit * x + 0.045515932206228675
    fit = fit * x - 0.05230454270649343
    fit = fit * x + 0.058789289978346364
    fit = fit * x - 0.06666424885738241
    fit = fit * x + 0.07692296375032141
    fit = fit * x - 0.09090908753500877
    fit = fit * x + 0.11111111105155447
    fit = fit * x - 0.14285714285659828
    fit = fit * x + 0.19999999999999804
    fit = fit * x - 0.3333333333333333
    bend = t * x * fit
    angle = t + bend
    angle = angle + 0.7853981633974483 if turned else angle
    angle = 1.5707963267948966 - angle if s >= c else angle
    return angle, bend, turned or s >= c
'''

ANGLE = '''
def _angle(s, c):
    """Return atan2(s, c) for s, c >= 0, a right angle if one vector vanishes."""
    return _arc(s, c)[0]
'''

CHORD = '''
def _chord(s, c):
    """Return s - c*atan2(s, c) for s, c >= 0, without the difference where s << c."""
    angle, bend, plain = _arc(s, c)
    return s - c * angle if plain else -c * bend
'''

ATAN = '''
def _atan(x):
    """Return the arc tangent, by vector code in loops."""
    angle = _arc(abs(x), 1.0)[0]
    return angle if x >= 0.0 else -angle
'''

HELPERS = {
    "_two_product": TWO_PRODUCT,
    "_arc": ARC,
    "_atan": ATAN,
    "_angle": ANGLE,
    "_chord": CHORD,
    "_difference_of_products": COMPENSATED,
    "_exp_difference": EXP_DIFFERENCE,
    "_normal_cdf": NORMAL_CDF,
    "_normal_orthant": NORMAL_ORTHANT,
    "_bivariate_normal": BIVARIATE_NORMAL,
    **propagator_code.HELPERS,
}
"""Source of the functions that generated code calls, a function before those that call it."""

LIBRARY = {
    "RegularizedUpperGamma": "gammaincc",
    "InverseRegularizedUpperGamma": "gammainccinv",
    "Dawson": "dawsn",
    "ScaledErfc": "erfcx",
    "NormalOrthant": "owens_t",
    "OwenT": "owens_t",
    "NoncentralChiSquared": "chndtr",
}
"""SymPy functions that need SciPy: class name to name in scipy.special.cython_special."""

_LIBRARY_NAMES = (*dict.fromkeys(LIBRARY.values()), *("j0", "jv", "k0", "kv", "i0e", "ive"))
"""What a helper or an expression may call of scipy.special.cython_special."""

_PLAIN = {
    "Angle": "_angle",
    "Chord": "_chord",
    "DifferenceOfProducts": "_difference_of_products",
    "ExpDifference": "_exp_difference",
    "NormalCdf": "_normal_cdf",
    "BivariateNormal": "_bivariate_normal",
    "NormalOrthant": "_normal_orthant",
    **propagator_code.CALLED,
}
"""SymPy functions that a helper above evaluates."""

_SUPPORTED = frozenset(
    {
        *("exp", "log", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh"),
        *("erf", "erfc", "gamma", "loggamma", "expm1", "log1p"),
        *("Abs", "sign", "Max", "Min", "Heaviside", "Piecewise"),
        *LIBRARY,
        *_PLAIN,
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

    def _print_Pow(self, expr: Any, rational: bool = False) -> str:
        # A half-integer power by roots and products: the general power is a slow library call.
        if expr.exp.is_Rational and expr.exp.q == 2 and abs(expr.exp.p) in (3, 5, 7):
            base, whole = self._print(expr.base), (abs(expr.exp.p) - 1) // 2
            root = f"(math.sqrt({base})*({base})**{whole})"
            return root if expr.exp > 0 else f"(1.0/{root})"
        # Numba's negative integer power raises at zero, whatever its error model says.
        if expr.exp.is_Integer and expr.exp < -1:
            return f"(1.0/({self._print(expr.base)})**{-expr.exp})"
        return str(super()._print_Pow(expr, rational=rational))

    def _print_Float(self, expr: Any) -> str:
        return repr(float(expr))

    def _print_Rational(self, expr: Any) -> str:
        return f"({expr.p}.0/{expr.q}.0)"

    def _print_Function(self, expr: Any) -> str:
        name = type(expr).__name__
        if name in _PLAIN:
            return f"{_PLAIN[name]}({', '.join(map(self._print, expr.args))})"
        if name in LIBRARY:
            return f"_{LIBRARY[name]}({', '.join(map(self._print, expr.args))}, 0)"
        return str(super()._print_Function(expr))

    _print_RegularizedUpperGamma = _print_InverseRegularizedUpperGamma = _print_Function
    _print_DifferenceOfProducts = _print_ExpDifference = _print_NormalCdf = _print_Function
    _print_BivariateNormal = _print_NormalOrthant = _print_Dawson = _print_ScaledErfc = _print_Angle = _print_Chord = (
        _print_Function
    )
    _print_RadialWave = _print_ScaledRadialWave = _print_ShellEdge = _print_Function
    _print_InfinitePropagator = _print_CutoffPropagator = _print_CutoffPropagatorError = _print_Function
    _print_InfiniteTransform = _print_CutoffTransform = _print_CutoffTransformError = _print_Function
    _print_GaussianTransform = _print_GaussianTransformError = _print_Function
    _print_OwenT = _print_NoncentralChiSquared = _print_Function


class _VectorPrinter(_ScalarPrinter):
    """The same with the functions of ``numeric.vectormath``, whose loops become vector code."""

    def _print_vectorised(self, expr: Any) -> str:
        return f"vectormath.{type(expr).__name__}({', '.join(map(self._print, expr.args))})"

    _print_exp = _print_log = _print_log1p = _print_expm1 = _print_vectorised
    _print_sin = _print_cos = _print_tanh = _print_erf = _print_vectorised


def check_supported(expr: Any) -> None:
    """Raise NoClosedForm naming the first function that compiled code cannot evaluate."""
    for function in sorted(expr.atoms(sp.Function), key=str):
        name = type(function).__name__
        if name not in _SUPPORTED:
            raise NoClosedForm(f"compile: no compiled form of {name}; supported: {', '.join(sorted(_SUPPORTED))}")


def _is_softplus(expr: Any) -> bool:
    """Return whether the expression is ln(1 + e^X)."""
    if not isinstance(expr, sp.log) or not expr.args[0].is_Add or len(expr.args[0].args) != 2:
        return False
    one, power = expr.args[0].args
    return bool(one == 1 and isinstance(power, sp.exp))


def _stable_softplus(expr: Any) -> Any:
    """Return max(X, 0) + log1p(e^{-|X|}), which does not overflow."""
    inside = expr.args[0].args[1].args[0]
    return sp.Max(inside, 0) + log1p(sp.exp(-sp.Abs(inside)))


_LONG = 2**53
"""Integers above which a rational constant is printed as its correctly rounded quotient."""


def _with_short_numbers(expr: Any) -> Any:
    """Return the expression with long rationals as floats: integers beyond 64 bits have no compiled form."""
    long = {number for number in expr.atoms(sp.Rational) if max(abs(number.p), number.q) > _LONG}
    return expr.xreplace({number: sp.Float(int(number.p) / int(number.q), precision=53) for number in long})


def scalar_body(expr: Any, names: list[str], *, name: str = "evaluate", vector: bool = False) -> str:
    """Return the lines of ``def evaluate(names): ...`` for a scalar expression, or for a list of them as a tuple.

    ``vector``: with the functions of ``numeric.vectormath``, to be called in loops over arrays.
    """
    exprs = [e.replace(_is_softplus, _stable_softplus) for e in (expr if isinstance(expr, list) else [expr])]
    for entry in exprs:
        check_supported(entry)
    exprs = [_with_short_numbers(entry) for entry in exprs]
    printer = (_VectorPrinter if vector else _ScalarPrinter)({"fully_qualified_modules": True, "standard": "python3"})
    # Common parts of a Piecewise must stay in their branch where outside it they may not exist.
    branches = any(entry.has(sp.Piecewise) for entry in exprs) and not isinstance(expr, list)
    parts, results = ([], exprs) if branches else sp.cse(exprs, symbols=sp.numbered_symbols("_x"))
    lines = [f"    {symbol} = {printer.doprint(value)}" for symbol, value in parts]
    returned = ", ".join(printer.doprint(result) for result in results)
    return "\n".join([f"def {name}({', '.join(names)}):", *lines, f"    return {returned}", ""])


def printed(expr: Any) -> str:
    """Return one scalar expression as Python."""
    return str(_ScalarPrinter({"fully_qualified_modules": True, "standard": "python3"}).doprint(expr))


def helpers_of(source: str) -> tuple[str, list[str]]:
    """Return the helper functions a scalar source needs, directly or through other helpers, and the library functions."""
    needed, text = set(), source
    for name in reversed(HELPERS):
        if f"{name}(" in text:
            needed.add(name)
            text += HELPERS[name]
    helpers = "".join(code for name, code in HELPERS.items() if name in needed)
    return helpers, [name for name in _LIBRARY_NAMES if f"_{name}(" in text]


class _MatrixPrinter(NumPyPrinter):
    """NumPy of a matrix expression, of stacks of matrices too; identities take their size from an argument of that size."""

    def __init__(self, sizes: dict[Any, str]) -> None:
        super().__init__({"fully_qualified_modules": True})
        self._sizes = sizes

    def _print_Identity(self, expr: Any) -> str:
        size = expr.shape[0]
        return f"numpy.eye({self._sizes.get(size, size)})"

    def _print_log(self, expr: Any) -> str:
        if isinstance(expr.args[0], sp.Determinant):  # the determinant itself would overflow
            return f"numpy.linalg.slogdet({self._print(expr.args[0].arg)})[1]"
        return str(super()._print_Function(expr))

    def _print_Trace(self, expr: Any) -> str:
        return f"numpy.trace({self._print(expr.arg)}, axis1=-2, axis2=-1)"

    def _print_Transpose(self, expr: Any) -> str:
        return f"numpy.swapaxes({self._print(expr.arg)}, -1, -2)"

    def _print_MatMul(self, expr: Any) -> str:
        number, matrices = expr.as_coeff_matrices()
        product = " @ ".join(self.parenthesize(matrix, PRECEDENCE["Mul"]) for matrix in matrices)
        return product if number == 1 else f"{self.parenthesize(number, PRECEDENCE['Mul'])}*({product})"


def matrix_body(expr: Any, names: list[str]) -> str:
    """Return the source of a NumPy function for a matrix expression."""
    matrices = sorted(expr.atoms(sp.MatrixSymbol), key=str)
    sizes = {size: f"{entry.name}.shape[{axis - 2}]" for entry in matrices for axis, size in enumerate(entry.shape)}
    body = _MatrixPrinter(sizes).doprint(expr)
    return f"import numpy\nimport numpy.linalg\n\n\ndef evaluate({', '.join(names)}):\n    return {body}\n"
