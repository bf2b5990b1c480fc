"""How does one prove an identity between matrices? As an identity between non-commutative symbols, then as matrices again.

A name with ^T stands for a transpose, one with ^-1 for an inverse; what such a symbol may be replaced by is a rule
(product -> result) that the proof states.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sympy as sp

Rules = Sequence[tuple[sp.Expr, sp.Expr]]


def symbols(names: str) -> tuple[sp.Symbol, ...]:
    """Return non-commutative symbols.

    >>> a, b = symbols("a b")
    >>> a * b == b * a
    False
    """
    return tuple(sp.symbols(names, commutative=False, seq=True))


def reduced(expr: sp.Expr, rules: Rules) -> sp.Expr:
    """Return the expanded expression with the products on the left of the rules replaced until none is left.

    >>> inverse, matrix = symbols("K^-1 K")
    >>> reduced(matrix * inverse * matrix, [(inverse * matrix, sp.Integer(1))])
    K
    """
    expr = sp.expand(expr)
    while True:
        found = expr
        for product, result in rules:
            found = sp.expand(found.subs(product, result))
        if found == expr:
            return found
        expr = found


def noncommutative(expr: Any, named: Mapping[str, sp.Expr]) -> sp.Expr:
    """Return a matrix expression with every matrix replaced by ``named[its name]``, a transpose by ``named[name + "^T"]``.

    >>> a, b = sp.MatrixSymbol("A", 2, 2), sp.MatrixSymbol("B", 2, 2)
    >>> x, y = symbols("x y")
    >>> noncommutative(a.T * b - b, {"A^T": x, "B": y})
    x*y - y
    """
    if isinstance(expr, sp.MatrixSymbol):
        return named[expr.name]
    if isinstance(expr, sp.Transpose):
        return named[f"{expr.arg.name}^T"]
    if isinstance(expr, sp.MatAdd):
        return sp.expand(sum(noncommutative(term, named) for term in expr.args))
    if isinstance(expr, sp.MatMul):
        product = sp.Integer(1)
        for factor in expr.args:
            product = product * (noncommutative(factor, named) if factor.is_Matrix else factor)
        return sp.expand(product)
    raise TypeError(f"noncommutative: expected sums and products of matrices, got {type(expr).__name__}")


def derivative(expr: sp.Expr, rates: Mapping[sp.Symbol, sp.Expr]) -> sp.Expr:
    """Return d/dt of a sum of products by Leibniz' rule; symbols that are not in ``rates`` do not depend on t.

    >>> a, b, c = symbols("a b c")
    >>> derivative(a * b, {a: c, b: -b})
    -a*b + c*b
    """
    total = sp.Integer(0)
    for term in sp.Add.make_args(sp.expand(expr)):
        number, parts = term.args_cnc()
        factors = [factor for part in parts for factor in ([part.base] * int(part.exp) if part.is_Pow else [part])]
        for i, factor in enumerate(factors):
            if factor in rates:
                total += sp.Mul(*number) * sp.Mul(*factors[:i]) * rates[factor] * sp.Mul(*factors[i + 1 :])
    return sp.expand(total)
