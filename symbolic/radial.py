"""Which functions of a radius does a field in d dimensions need? Plane waves averaged over directions, cut-off propagators.

Functions with a name of their own, as in ``special``: known to mpmath by their value, compiled to careful code.
"""

from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy as sp


class Named(sp.Function):
    """A function that LaTeX knows by ``_body``; powers are put around brackets."""

    def _body(self, *inside: str) -> str:
        raise NotImplementedError

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        body = self._body(*map(printer._print, self.args))
        return body if exp is None else rf"\left[{body}\right]^{{{exp}}}"


class RadialWave(Named):
    """f_d(z) = E[cos(z·n_1)] over directions n in d dimensions: cos z, J_0(z), sin(z)/z, …"""

    nargs = 2

    @classmethod
    def eval(cls, dimension: sp.Expr, z: sp.Expr) -> sp.Expr | None:
        """Return the value where it is immediate: f_d(0) = 1."""
        return sp.Integer(1) if z.is_zero else None

    def doit(self, **hints: Any) -> sp.Expr:
        """Return Γ(d/2)(2/z)^{d/2-1}J_{d/2-1}(z), elementary in one and three dimensions."""
        dimension, z = self.args
        if dimension == 1:
            return sp.cos(z)
        if dimension == 3:
            return sp.sin(z) / z
        order = dimension / 2 - 1
        return sp.gamma(dimension / 2) * (2 / z) ** order * sp.besselj(order, z)

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.doit().evalf(prec)

    def _body(self, *inside: str) -> str:
        return rf"f_{{{inside[0]}}}\left({inside[1]}\right)"


class ScaledRadialWave(Named):
    """e^{-z} f_d(iz) for z >= 0: the average of e^{z(n_1 - 1)} over directions, which does not overflow."""

    nargs = 2

    @classmethod
    def eval(cls, dimension: sp.Expr, z: sp.Expr) -> sp.Expr | None:
        """Return the value where it is immediate: 1 at z = 0."""
        return sp.Integer(1) if z.is_zero else None

    def doit(self, **hints: Any) -> sp.Expr:
        """Return e^{-z}Γ(d/2)(2/z)^{d/2-1}I_{d/2-1}(z), elementary in one and three dimensions."""
        dimension, z = self.args
        if dimension == 1:
            return (1 + sp.exp(-2 * z)) / 2
        if dimension == 3:
            return (1 - sp.exp(-2 * z)) / (2 * z)
        order = dimension / 2 - 1
        return sp.exp(-z) * sp.gamma(dimension / 2) * (2 / z) ** order * sp.besseli(order, z)

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.doit().evalf(prec)

    def _body(self, *inside: str) -> str:
        dimension, z = inside
        return rf"e^{{-{z}}} f_{{{dimension}}}\left(i {z}\right)"


class InfinitePropagator(Named):
    """G_∞(d, m, r) = (2π)^{-d/2}(m/r)^{d/2-1}K_{d/2-1}(mr), the inverse Fourier transform of 1/(k² + m²)."""

    nargs = 3

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the expression with a Bessel function."""
        dimension, mass, r = self.args
        order = dimension / 2 - 1
        return (2 * sp.pi) ** (-dimension / 2) * (mass / r) ** order * sp.besselk(order, mass * r)

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.doit().evalf(prec)

    def _body(self, *inside: str) -> str:
        dimension, mass, r = inside
        return rf"G_{{{dimension}}}\left({r}; \infty, {mass}\right)"


class CutoffPropagator(Named):
    """G(d, R, m, r) = ∫_{|k|<R} d^dk/(2π)^d e^{ik·r}/(k² + m²); compiled to quadrature, or for Rr >> 1 to G_∞ and its tail."""

    nargs = 4

    def _eval_evalf(self, prec: int) -> sp.Expr:
        dimension, *rest = (entry._to_mpmath(prec) for entry in self.args)
        with mpmath.workprec(prec):
            return sp.Expr._from_mpmath(transform(False, dimension, mpmath.mpf(1), *rest), prec)

    def _body(self, *inside: str) -> str:
        dimension, radius, mass, r = inside
        return rf"G_{{{dimension}}}\left({r}; {radius}, {mass}\right)"


class CutoffPropagatorError(CutoffPropagator):
    """What the quadrature of ``CutoffPropagator`` may have got wrong: an estimate, 0 to the eye of exact arithmetic."""

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return sp.Float(0, prec)


class ShellEdge(Named):
    """The k >= 0 with (a(k² + m²) - 1)e^{2s²k²} = q; 0 if there is none.

    Arguments: branch, q, a, m, s.  With w e^w = qc, c = (2s²/a)e^{2s²(m² - 1/a)}: k² = 1/a - m² + w/(2s²); w is positive
    for q >= 0 (branch 1), and on branch 0 or -1 of Lambert's function for q < 0.
    """

    nargs = 5

    def _eval_evalf(self, prec: int) -> sp.Expr:
        with mpmath.workprec(prec):
            branch, *rest = (entry._to_mpmath(prec) for entry in self.args)
            return sp.Expr._from_mpmath(shell_edge(int(branch), *rest), prec)

    def _body(self, *inside: str) -> str:
        branch, q, *_ = inside
        return rf"k_{{{branch}}}\left({q}\right)"


def transform(gaussian: bool, dimension: Any, power: Any, radius: Any, mass: Any, r: Any) -> Any:
    """Return I_p at mpmath's working precision, by quadrature over |k| between the zeros of the wave."""
    order = dimension / 2 - 1

    def integrand(k: Any) -> Any:
        z = k * r
        wave = mpmath.mpf(1) if z == 0 else mpmath.gamma(dimension / 2) * (2 / z) ** order * mpmath.besselj(order, z)
        weight = mpmath.exp(-(k**2) / (2 * radius**2)) if gaussian else 1
        return weight * k ** (dimension - 1) * wave / (k**2 + mass**2) ** power

    # e^{-t²/2} is below the working precision at the top.
    top = radius * mpmath.sqrt(2 * mpmath.mp.prec + 60) if gaussian else radius
    edges = {mpmath.mpf(0), top, *(mass * 2**i for i in range(-1, 12) if mass * 2**i < top)}
    edges |= {radius * i for i in range(1, int(top / radius) + 1) if radius * i < top}
    if r > 0:
        edges |= {i * mpmath.pi / r for i in range(1, int(top * r / mpmath.pi) + 1)}
    sphere = 2 * mpmath.pi ** (dimension / 2) / mpmath.gamma(dimension / 2)
    return sphere / (2 * mpmath.pi) ** dimension * mpmath.quad(integrand, sorted(edges))


def shell_edge(branch: int, q: Any, a: Any, mass: Any, s: Any) -> Any:
    """Return ``ShellEdge`` at mpmath's working precision."""
    scale = q * 2 * s**2 / a * mpmath.exp(2 * s**2 * (mass**2 - 1 / a))
    if (branch == 1) != (q >= 0) or scale < -mpmath.exp(-1):
        return mpmath.mpf(0)
    root = mpmath.lambertw(scale, 0 if branch == 1 else branch)
    square = 1 / a - mass**2 + mpmath.re(root) / (2 * s**2)
    return mpmath.sqrt(square) if square > 0 else mpmath.mpf(0)
