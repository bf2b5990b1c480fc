"""How is an expectation of a caller's own Python function computed? The trapezoidal rule on arrays, one point at a time.

The function is given an array of preactivations; the rule is that of the compiled quadrature (``codegen.trapezoid``).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from fieldflow.errors import BadInput

_RANGE = 9.5
_HALVINGS = 6


def python_quadrature(integral: sp.Integral, args: tuple[sp.Symbol, ...]) -> Callable[..., Any]:
    """Return a function of the arguments and a tolerance: (integral, error estimate), broadcast over the arguments."""
    variables = [limit[0] for limit in integral.limits]
    integrand = sp.lambdify([*args, *variables], integral.function, "numpy")

    def total(values: tuple[float, ...], h: float) -> tuple[float, float]:
        x = np.arange(-np.ceil(_RANGE / h), np.ceil(_RANGE / h) + 1.0) * h
        grid = np.meshgrid(*[x] * len(variables), indexing="ij")
        try:
            terms = np.broadcast_to(np.asarray(integrand(*values, *grid), dtype=np.float64), grid[0].shape)
        except (TypeError, ValueError) as error:
            raise BadInput(
                f"sigma: expected a function from arrays to real arrays of the same shape: {error}"
            ) from error
        cell = h ** len(variables)
        return float(np.sum(terms)) * cell, float(np.sum(np.abs(terms))) * cell

    def one(*point: float) -> tuple[float, float]:
        *values, tolerance = point
        h, error = 0.5, np.inf
        before, size = total(tuple(values), h)
        for _ in range(_HALVINGS):
            h *= 0.5
            now, size = total(tuple(values), h)
            before, error = now, abs(now - before)
            if error <= tolerance * size:
                break
        return before, error

    return np.vectorize(one, otypes=[np.float64, np.float64])
