"""When does throwing information away help? The minimum of the mean loss along the shell flow of a homogeneous network.

K_> = Z K makes the loss a quadratic in Z (``shell.loss``), which may dip between the trained network (Z = 1) and the prior
(Z = 0): coarse graining is then a regulariser.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.formula import Formula, Step, step
from fieldflow.symbolic.shells import loss

_Z = sp.Symbol("Z", nonnegative=True)
_a, _b, _c = sp.symbols("a b c", real=True)


@cache
def factor() -> Formula:
    """Return Z* = b/a, where the loss is least: inside 0 < Z < 1 iff 0 < b < a."""
    polynomial = loss().expr
    (found,) = sp.solve(sp.diff(polynomial, _Z), _Z)
    rise, small = sp.symbols("rho x", positive=True)
    inside = {_b: rise, _a: rise + small}
    return Formula(
        name="shell.optimal",
        lhs=sp.Symbol(r"Z_\ast"),
        expr=found,
        args=(_a, _b),
        domain="0 < b < a, that is <mu y> > 0 and <mu (mu - y)> > <K - Sigma_T> (resample); a, b as in shell.loss",
        validity="infinite width",
        derived_from=("shell.loss",),
        steps=(
            step(sp.diff(polynomial, _Z).subs(_Z, found), sp.Integer(0), "L'(Z) = 2 (a Z - b) = 0"),
            step(sp.diff(polynomial, _Z, 2), 2 * _a, "a minimum iff a > 0"),
            step(sp.diff(polynomial, _Z).subs(_Z, 0), -2 * _b, "the loss falls away from Z = 0 iff b > 0"),
            step(
                sp.diff(polynomial, _Z).subs(_Z, 1).subs(inside), 2 * small, "and still rises at Z = 1 iff a > b: b = a - x"
            ),
            *_meaning(),
        ),
    )  # fmt: skip


def _meaning() -> tuple[Step, ...]:
    """Return a - b > 0 in words of the trained law, for both modes."""
    mu, y, prior, trained = sp.symbols("mu y K_x Sigma_x", real=True)
    a = mu**2 - (prior - trained)
    return (
        step(sp.expand(a - mu * y), sp.expand(mu * (mu - y) - (prior - trained)),
             "resample: a - b = <mu (mu - y)> - <K - Sigma_T>, overfitting against what training has learnt"),
        step(sp.expand(a - (mu * y - prior / 2)), sp.expand(mu * (mu - y) + trained - prior / 2),
             "prune: a - b = <mu (mu - y)> + <Sigma_T> - <K>/2"),
    )  # fmt: skip


@cache
def gain() -> Formula:
    """Return L(1) - L(Z*) = (a - b)²/a, what stopping the flow at Z* gains over the trained network."""
    polynomial = loss().expr
    found = sp.factor(polynomial.subs(_Z, 1) - polynomial.subs(_Z, factor().expr))
    return Formula(
        name="shell.gain",
        lhs=sp.Symbol(r"L(1) - L(Z_\ast)"),
        expr=found,
        args=(_a, _b),
        domain="0 < b < a",
        validity="infinite width",
        derived_from=("shell.optimal",),
        steps=(
            step(found, (_a - _b) ** 2 / _a, "completing the square"),
            step(
                sp.expand(polynomial), sp.expand(_a * (_Z - _b / _a) ** 2 + _c - _b**2 / _a), "L = a (Z - Z*)^2 + L(Z*)"
            ),
        ),
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {"shell.optimal": factor, "shell.gain": gain}
