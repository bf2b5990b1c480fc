"""Functions with a name of their own: known to SymPy by their derivative, to mpmath by their value.

Compiled code maps them to carefully rounded or library implementations.
"""

from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy as sp


def _raised(body: str, exp: str | None) -> str:
    """Return LaTeX of ``body`` to a power, as SymPy's printer asks for it."""
    return body if exp is None else rf"\left[{body}\right]^{{{exp}}}"


class DifferenceOfProducts(sp.Function):
    """a·b - c·d; compiled with compensated products, because the plain form loses half the digits near zero."""

    nargs = 4

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the plain expression."""
        a, b, c, d = self.args
        return a * b - c * d

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.doit()._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        return _raised(str(printer._print(self.doit())), exp)


class ExpDifference(sp.Function):
    """e^x - e^y with the third argument x - y; compiled with expm1, because the plain form cancels for small x - y."""

    nargs = 3

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the plain expression."""
        return sp.exp(self.args[0]) - sp.exp(self.args[1])

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.doit()._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        return _raised(str(printer._print(self.doit())), exp)


class Angle(sp.Function):
    """atan2(s, c) for s, c >= 0, with Angle(0, 0) = π/2: a vanishing vector is at right angles to everything."""

    nargs = 2

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the plain expression."""
        return sp.atan2(*self.args)

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.doit()._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        s, c = (printer._print(argument) for argument in self.args)
        return _raised(rf"\operatorname{{atan2}}\left({s}, {c}\right)", exp)


class Chord(sp.Function):
    """s - c·atan2(s, c) for s, c >= 0; compiled without the difference where s << c, because the plain form cancels."""

    nargs = 2

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the plain expression."""
        s, c = self.args
        return s - c * sp.atan2(s, c)

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.doit().evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        s, c = self.args
        return _raised(str(printer._print(s - c * Angle(s, c))), exp)


class Dawson(sp.Function):
    """Dawson's integral F(x) = e^{-x²} ∫_0^x e^{t²} dt."""

    nargs = 1

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        """Return the value where it is immediate: F(0) = 0."""
        return sp.Integer(0) if x.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return F' = 1 - 2xF."""
        return 1 - 2 * self.args[0] * self

    def _eval_evalf(self, prec: int) -> sp.Expr:
        with mpmath.workprec(prec):
            return sp.Expr._from_mpmath(dawson(self.args[0]._to_mpmath(prec)), prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        return _raised(rf"F\left({printer._print(self.args[0])}\right)", exp)


class NormalCdf(sp.Function):
    """Φ(x) = P(ξ <= x) for standard normal ξ; compiled with erfc, which keeps its digits for x << 0."""

    nargs = 1

    def doit(self, **hints: Any) -> sp.Expr:
        """Return (1 + erf(x/√2))/2."""
        return (1 + sp.erf(self.args[0] / sp.sqrt(2))) / 2

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.doit()._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        return _raised(rf"\Phi\left({printer._print(self.args[0])}\right)", exp)


class ScaledErfc(sp.Function):
    """erfcx(x) = e^{x²} erfc(x), which neither overflows nor underflows for x >= 0."""

    nargs = 1

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the plain expression."""
        return sp.exp(self.args[0] ** 2) * sp.erfc(self.args[0])

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return 2x·erfcx(x) - 2/√π."""
        return 2 * self.args[0] * self - 2 / sp.sqrt(sp.pi)

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.doit()._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        return _raised(str(printer._print(self.doit())), exp)


class BivariateNormal(sp.Function):
    """Φ₂(h, k; ρ) = P(ξ <= h, η <= k) for standard normal ξ, η of correlation ρ; compiled to Owen's T."""

    nargs = 3

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return ∂_h Φ₂ = φ(h)Φ((k - ρh)/√(1-ρ²)), the same for k, and ∂_ρ Φ₂ = the density (Plackett)."""
        h, k, rho = self.args
        if argindex == 2:
            h, k = k, h
        rest = sp.sqrt(1 - rho**2)
        if argindex == 3:
            return sp.exp(-(h**2 - 2 * rho * h * k + k**2) / (2 * rest**2)) / (2 * sp.pi * rest)
        return sp.exp(-(h**2) / 2) / sp.sqrt(2 * sp.pi) * (1 + sp.erf((k - rho * h) / (sp.sqrt(2) * rest))) / 2

    def _eval_evalf(self, prec: int) -> sp.Expr:
        h, k, rho = (argument._to_mpmath(prec) for argument in self.args)
        with mpmath.workprec(prec):
            return sp.Expr._from_mpmath(bivariate_normal(h, k, rho), prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        h, k, rho = (printer._print(argument) for argument in self.args)
        return _raised(rf"\Phi_{{2}}\left({h}, {k}; {rho}\right)", exp)


class NormalOrthant(sp.Function):
    """Φ₂(h, k; ρ) with (k - ρh)/√(1-ρ²) and (h - ρk)/√(1-ρ²) given, which cancel for strong correlation."""

    nargs = 5

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the bivariate normal probability."""
        return BivariateNormal(*self.args[:3])

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.doit()._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        return _raised(str(printer._print(self.doit())), exp)


def dawson(x: Any) -> Any:
    """Return Dawson's integral at mpmath's working precision."""
    return mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(-(x**2)) * mpmath.erfi(x)


def bivariate_normal(h: Any, k: Any, rho: Any) -> Any:
    """Return Φ₂(h, k; ρ) at mpmath's working precision: Φ(h)Φ(k) and Plackett's integral over ρ = sin t."""

    def density(t: Any) -> Any:
        return mpmath.exp(-(h**2 - 2 * mpmath.sin(t) * h * k + k**2) / (2 * mpmath.cos(t) ** 2))

    return mpmath.ncdf(h) * mpmath.ncdf(k) + mpmath.quad(density, [0, mpmath.asin(rho)]) / (2 * mpmath.pi)


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


def gamma_density(order: sp.Expr, u: sp.Expr) -> sp.Expr:
    """Return u^{a-1}e^{-u}/Γ(a) for floating point: its factors overflow at a = 171, where the density is harmless.

    >>> round(float(gamma_density(sp.Integer(392), sp.Integer(390))), 6)
    0.020145
    """
    return sp.exp((order - 1) * sp.log(u) - u - sp.loggamma(order))


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


class OwenT(sp.Function):
    """Owen's T(h, a) = (1/2π) ∫_0^a e^{-h²(1 + x²)/2}/(1 + x²) dx."""

    nargs = 2

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return ∂_h T = -φ(h) erf(ah/√2)/2, and ∂_a T = e^{-h²(1 + a²)/2}/(2π(1 + a²))."""
        h, a = self.args
        if argindex == 1:
            return -sp.exp(-(h**2) / 2) * sp.erf(a * h / sp.sqrt(2)) / (2 * sp.sqrt(2 * sp.pi))
        return sp.exp(-(h**2) * (1 + a**2) / 2) / (2 * sp.pi * (1 + a**2))

    def _eval_evalf(self, prec: int) -> sp.Expr:
        h, a = (argument._to_mpmath(prec) for argument in self.args)
        with mpmath.workprec(prec + 10):
            value = mpmath.quad(lambda x: mpmath.exp(-(h**2) * (1 + x**2) / 2) / (1 + x**2), [0, a])
            return sp.Expr._from_mpmath(value / (2 * mpmath.pi), prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        h, a = (printer._print(argument) for argument in self.args)
        return _raised(rf"T\left({h}, {a}\right)", exp)


class NoncentralChiSquared(sp.Function):
    """P(|ξ + μ|² <= x) for d standard normals ξ and |μ|² = m: the arguments are (x, d, m)."""

    nargs = 3

    def _eval_evalf(self, prec: int) -> sp.Expr:
        x, freedom, centre = (argument._to_mpmath(prec) for argument in self.args)
        with mpmath.workprec(prec + 10):

            def term(j: Any) -> Any:
                weight = mpmath.exp(-centre / 2) * (centre / 2) ** j / mpmath.factorial(j)
                return weight * mpmath.gammainc(freedom / 2 + j, 0, x / 2, regularized=True)

            return sp.Expr._from_mpmath(mpmath.nsum(term, [0, mpmath.inf], method="d"), prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        x, freedom, centre = (printer._print(argument) for argument in self.args)
        return _raised(rf"F_{{\chi^{{2}}}}\left({x}; {freedom}, {centre}\right)", exp)
