"""Which integrals over momenta are the correlators of a cosine network? I_p(r), with either regulator or none.

Functions with a name of their own, as in ``radial``: known to mpmath by their value, compiled to careful code.
"""

from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy as sp

from fieldflow.symbolic.radial import CutoffPropagator, CutoffPropagatorError, Named, transform


class CutoffTransform(Named):
    """I_p(d, p, R, m, r) = ∫_{|k|<R} d^dk/(2π)^d e^{ik·r}/(k² + m²)^p; p = 1 is the propagator."""

    nargs = 5

    def _eval_evalf(self, prec: int) -> sp.Expr:
        with mpmath.workprec(prec):
            return sp.Expr._from_mpmath(transform(False, *(entry._to_mpmath(prec) for entry in self.args)), prec)

    def _body(self, *inside: str) -> str:
        dimension, power, radius, mass, r = inside
        return rf"I_{{{power}}}^{{({dimension})}}\left({r}; {radius}, {mass}\right)"


class CutoffTransformError(CutoffTransform):
    """What compiled code may have got wrong in ``CutoffTransform``: an estimate, 0 to the eye of exact arithmetic."""

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return sp.Float(0, prec)


class GaussianTransform(Named):
    """I_p(d, p, R, m, r) = ∫d^dk/(2π)^d e^{-k²/2R²} e^{ik·r}/(k² + m²)^p."""

    nargs = 5

    def _eval_evalf(self, prec: int) -> sp.Expr:
        with mpmath.workprec(prec):
            return sp.Expr._from_mpmath(transform(True, *(entry._to_mpmath(prec) for entry in self.args)), prec)

    def _body(self, *inside: str) -> str:
        dimension, power, radius, mass, r = inside
        return rf"\tilde{{I}}_{{{power}}}^{{({dimension})}}\left({r}; {radius}, {mass}\right)"


class GaussianTransformError(GaussianTransform):
    """What compiled code may have got wrong in ``GaussianTransform``."""

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return sp.Float(0, prec)


class InfiniteTransform(Named):
    """I_p(d, p, m, r) = 2^{1-p}(m/r)^{d/2-p}K_{d/2-p}(mr)/((2π)^{d/2}Γ(p)), all momenta; its limit at r = 0 for 2p > d."""

    nargs = 4

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the expression with a Bessel function."""
        dimension, power, mass, r = self.args
        order = dimension / 2 - power
        scale = 2 ** (1 - power) / ((2 * sp.pi) ** (dimension / 2) * sp.gamma(power))
        return scale * (mass / r) ** order * sp.besselk(order, mass * r)

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.doit().evalf(prec)

    def _body(self, *inside: str) -> str:
        dimension, power, mass, r = inside
        return rf"I_{{{power}}}^{{({dimension})}}\left({r}; \infty, {mass}\right)"


ESTIMATES = {
    CutoffPropagator: CutoffPropagatorError,
    CutoffTransform: CutoffTransformError,
    GaussianTransform: GaussianTransformError,
}
"""Functions that compiled code computes by quadrature, and those that estimate its error."""
