"""Functions with a name of their own: known to SymPy by their derivative, to mpmath by their value.

Compiled code maps them to carefully rounded or library implementations.
"""

from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy as sp


class DifferenceOfProducts(sp.Function):
    """a·b - c·d; compiled with compensated products, because the plain form loses half the digits near zero."""

    nargs = 4

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the plain expression."""
        a, b, c, d = self.args
        return a * b - c * d

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.doit()._eval_evalf(prec)

    def _latex(self, printer: Any) -> str:
        return str(printer._print(self.doit()))


class RegularizedUpperGamma(sp.Function):
    """Q(a, x) = Γ(a, x)/Γ(a)."""

    nargs = 2

    @classmethod
    def eval(cls, a: sp.Expr, x: sp.Expr) -> sp.Expr | None:
        """Return the value where it is immediate: Q(a, 0) = 1, Q(a, ∞) = 0."""
        if x.is_zero:
            return sp.Integer(1)
        return sp.Integer(0) if x is sp.oo else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return ∂Q/∂x = -x^{a-1}e^{-x}/Γ(a)."""
        a, x = self.args
        if argindex != 2:
            raise sp.ArgumentIndexError(self, argindex)
        return -(x ** (a - 1)) * sp.exp(-x) / sp.gamma(a)

    def _eval_evalf(self, prec: int) -> sp.Expr:
        a, x = (argument._to_mpmath(prec) for argument in self.args)
        with mpmath.workprec(prec):
            return sp.Expr._from_mpmath(mpmath.gammainc(a, x, mpmath.inf, regularized=True), prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        inside = ", ".join(printer._print(argument) for argument in self.args)
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"Q{power}\left({inside}\right)"


class InverseRegularizedUpperGamma(sp.Function):
    """The x with Q(a, x) = z."""

    nargs = 2

    def _eval_evalf(self, prec: int) -> sp.Expr:
        a, z = (argument._to_mpmath(prec) for argument in self.args)
        with mpmath.workprec(prec + 10):
            # Bisection in ln x is slow but cannot fail: Q decreases from 1 to 0.
            low, high = mpmath.mpf(-200), mpmath.mpf(20)
            for _ in range(prec + 20):
                middle = (low + high) / 2
                above = mpmath.gammainc(a, mpmath.exp(middle), mpmath.inf, regularized=True) > z
                low, high = (middle, high) if above else (low, middle)
            return sp.Expr._from_mpmath(mpmath.exp(low), prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        a, z = (printer._print(argument) for argument in self.args)
        body = rf"Q^{{-1}}\left({a}, {z}\right)"
        return body if exp is None else rf"\left[{body}\right]^{{{exp}}}"
