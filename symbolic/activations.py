"""Which activations are known, and what is σ' and the degree of homogeneity? From one SymPy expression each."""

import difflib
from dataclasses import dataclass
from functools import cache
from typing import Any

import sympy as sp
from sympy.utilities.lambdify import implemented_function

from fieldflow.symbolic.errors import BadInput
from fieldflow.symbolic.switches import intervals
from fieldflow.symbolic.symbols import z

_HALF = sp.Rational(1, 2)
_NORMAL_CDF = (1 + sp.erf(z / sp.sqrt(2))) / 2

CATALOGUE: dict[str, sp.Expr] = {
    "identity": z,
    "relu": sp.Max(z, 0),
    "leaky_relu": sp.Max(z, 0) + sp.Min(z, 0) / 100,
    "abs": sp.Abs(z),
    "step": sp.Heaviside(z, _HALF),
    "sign": sp.sign(z),
    "erf": sp.erf(z),
    "probit": _NORMAL_CDF,
    "gelu": z * _NORMAL_CDF,
    "sin": sp.sin(z),
    "cos": sp.cos(z),
    "exp": sp.exp(z),
    "gaussian": sp.exp(-(z**2) / 2),
    "tanh": sp.tanh(z),
    "sigmoid": 1 / (1 + sp.exp(-z)),
    "softplus": sp.log(1 + sp.exp(z)),
    "swish": z / (1 + sp.exp(-z)),
}
"""leaky_relu has slope 1/100 for z < 0; probit is the normal distribution function; gaussian is exp(-z²/2)."""


@dataclass(frozen=True)
class Activation:
    """An activation σ(z): its expression in ``symbols.z``, σ' almost everywhere, and its degree k if σ(tz) = t^k σ(z)."""

    expr: sp.Expr
    derivative: sp.Expr
    degree: int | float | None
    name: str


def activation(given: Any) -> Activation:
    """Return the activation called ``given``, or given as a SymPy expression in any one symbol, or as a function.

    Decimals are read as the rationals they print as.

    Raises
    ------
    BadInput
        For an unknown name (nearest suggested), more than one symbol, or something that is not an expression.

    >>> activation("relu").degree, activation(sp.Symbol("u") ** 3).degree
    (1, 3)
    """
    if isinstance(given, Activation):
        return given
    if isinstance(given, str):
        if given not in CATALOGUE:
            near = difflib.get_close_matches(given, CATALOGUE, n=1, cutoff=0.0)
            raise BadInput(
                f"activation: unknown name {given!r}; nearest: {near[0]}; accepted: {', '.join(sorted(CATALOGUE))} or an "
                "expression in one symbol"
            )
        expr, name = CATALOGUE[given], given
    elif callable(given) and not isinstance(given, sp.Basic):
        own = given if isinstance(given, sp.FunctionClass) else implemented_function("sigma", given)
        return activation(own(z))
    elif isinstance(given, sp.Expr):
        expr = canonical(given)
        name = next((known for known, known_expr in CATALOGUE.items() if known_expr == expr), str(expr))
    else:
        raise BadInput(f"activation: expected a name, a SymPy expression or a function, got {type(given).__name__}")
    return _described(expr, name) if implemented(expr) else _remembered(expr, name)


def _described(expr: sp.Expr, name: str) -> Activation:
    return Activation(expr, derivative(expr), _degree(expr), name)


_remembered = cache(_described)
"""Not for functions given as Python code, which compare equal by name."""


def kinks(expr: sp.Expr) -> tuple[sp.Expr, ...]:
    """Return where ``expr`` has steps or kinks, as far as the switches can be solved for.

    >>> kinks(sp.Max(z, 0) + sp.tanh(sp.Abs(z - 1)))
    (0, 1)
    """
    return tuple(intervals(expr)[0])


def implemented(*exprs: sp.Expr) -> bool:
    """Return whether an expression holds a function that the caller gave as Python code."""
    return any(hasattr(function, "_imp_") for expr in exprs for function in expr.atoms(sp.Function))


def canonical(expr: sp.Expr) -> sp.Expr:
    """Return the expression in ``symbols.z`` with exact coefficients and Heaviside(0) = 1/2."""
    symbols = expr.free_symbols
    if len(symbols) > 1:
        raise BadInput(f"activation: expected one symbol, got {', '.join(sorted(map(str, symbols)))} in {expr}")
    exact = with_rationals(expr)
    finite = all(number.is_finite for number in exact.atoms(sp.Number)) and not exact.has(sp.zoo, sp.nan)
    if exact.has(sp.I) or not finite:
        raise BadInput(f"activation: expected a real, finite expression, got {expr}")
    replaced: sp.Expr = exact.xreplace(dict.fromkeys(symbols, z))
    for part in replaced.atoms(sp.Piecewise):
        if not _everywhere(part):
            raise BadInput(f"activation: expected a value for every z, {part} has none where no condition holds")
    half: sp.Expr = replaced.replace(sp.Heaviside, lambda argument, *_: sp.Heaviside(argument, sp.Rational(1, 2)))
    return half


def with_rationals(expr: sp.Expr) -> sp.Expr:
    """Return the expression with decimals as the shortest rationals that round to them.

    >>> with_rationals(sp.Float(0.1) * z)
    z/10
    """
    floats = expr.atoms(sp.Float)
    exact = {
        f: sp.Rational(repr(float(f)) if f._prec <= 53 else sp.sstr(f, full_prec=True)) for f in floats if f.is_finite
    }
    return expr.xreplace(exact)


def _everywhere(part: sp.Piecewise) -> bool:
    """Return whether some condition holds for every z; conditions that cannot be solved are given the benefit."""
    try:
        some = sp.Or(*(condition for _, condition in part.args))
        return bool(some == sp.true or some.as_set() == sp.S.Reals)
    except (NotImplementedError, TypeError, AttributeError):
        return True


def derivative(expr: sp.Expr) -> sp.Expr:
    """Return σ' almost everywhere: jumps contribute nothing."""
    slope = sp.diff(expr, z).replace(sp.DiracDelta, lambda *_: sp.Integer(0))
    return canonical(slope)


def _degree(expr: sp.Expr) -> int | float | None:
    """Return k >= 0, rational, if σ(tz) = t^k σ(z) for t > 0 on both half-lines, else None."""
    positive, scale = sp.Symbol("x", positive=True), sp.Symbol("t", positive=True)
    degrees = set()
    for sign in (1, -1):
        here = expr.subs(z, sign * positive)
        if here == 0:
            continue
        ratio = sp.simplify(expr.subs(z, sign * scale * positive) / here)
        power = sp.simplify(sp.log(ratio).expand(force=True) / sp.log(scale))
        degrees.add(power)
    if len(degrees) != 1:
        return None
    power = degrees.pop()
    if not power.is_Rational or power < 0:
        return None
    return int(power) if power.is_Integer else float(power)
