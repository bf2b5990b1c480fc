"""When is a closed form worse than an integral? Source code that compares its value with the sum of its absolute terms.

Expectations with bivariate normal probabilities are sums such as e^{q/2} Φ₂: exact, but at large variance the exponentials
multiply rounding errors of probabilities, and at small variance the sum cancels.  There the integral itself is done.
"""

from typing import Any

import sympy as sp

from fieldflow import codegen, quadrature_code

_CHOICE = '''
def {name}({names}):
    """Return the closed form, or the integral where rounding errors of the closed form are the larger ones."""
    value, size = {name}_closed({names})
    lost = 9e-16 * size
    if lost <= 1e-12 * abs(value):
        return value
    other, error = {name}_integrate(1e-14, {some})
    return other if error < lost or not math.isfinite(lost) else value
'''


def error_scale(expr: sp.Expr) -> sp.Expr:
    """Return the size of the terms of a closed form, a bound on its rounding error in units of the precision.

    >>> x = sp.Symbol("x", real=True)
    >>> error_scale(sp.exp(x) - x)
    (Abs(x) + 1)*exp(x) + Abs(x)
    """
    if expr.is_Add:
        return sp.Add(*(error_scale(part) for part in expr.args))
    if expr.is_Mul:
        return sp.Mul(*(error_scale(part) for part in expr.args))
    if isinstance(expr, sp.exp):
        return (1 + sp.Abs(expr.args[0])) * expr
    if expr.is_Pow and expr.exp.is_Integer and expr.exp > 0:
        return error_scale(expr.base) ** expr.exp
    if type(expr).__name__ in ("NormalOrthant", "BivariateNormal"):
        return sp.Integer(1)  # of absolute accuracy only
    return sp.Abs(expr)


def source(
    expr: sp.Expr,
    integral: sp.Integral,
    breaks: tuple[tuple[Any, ...], ...],
    names: list[str],
    *,
    name: str,
    some: list[str],
) -> str:
    """Return the source of the function ``name`` of ``names``; the integral is a function of ``some`` of them."""
    variables = [str(limit[0]) for limit in integral.limits]
    closed = codegen.scalar_body([expr, error_scale(expr)], names, name=f"{name}_closed")
    integrand = codegen.scalar_body(integral.function, [*some, *variables], name=f"{name}_integrand")
    rule = quadrature_code.rule(some, len(variables), breaks)
    rule = rule[: rule.index("\ndef integrate(")]
    for part in ("_integrate", "_total", "_nodes", "_edges", "_integrand"):
        rule = rule.replace(f"{part}(", f"{name}{part}(")
    choice = _CHOICE.format(name=name, names=", ".join(names), some=", ".join(some))
    return "".join([closed, integrand, rule, choice])
