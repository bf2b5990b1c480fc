"""How are powers and gates removed from a Gaussian expectation? By completing the square and by Stein's lemma.

A gate is a step of one more Gaussian variable, θ(s) with s = a·u + t - κξ, so E[u^n v^m θ(s₁)θ(s₂)] lives on the four
jointly Gaussian variables u, v, s₁, s₂.  Stein's lemma, E[uF] = μ_u E[F] + Σ_x Cov(u, x) E[∂_x F], lowers the power; the
derivative of a step conditions on s = 0.  What is left are the few numbers of ``pieces``: no integral is done here.
"""

from functools import cache

import sympy as sp

Key = tuple[tuple[int, ...], tuple[int, ...]]
"""(gates conditioned on, gates still to be integrated)."""

U, V = "u", "v"

mean_u, mean_v, mean_1, mean_2 = sp.symbols("mu nu h1 h2")
s11, s12, s22 = sp.symbols("s11 s12 s22")
gate_1, gate_2 = sp.symbols("S1 S2")  # variances of s₁ and s₂
slope_1, slope_2 = sp.symbols("a1 a2")
joint = sp.Symbol("S12_determinant")  # Var(s₁)Var(s₂) - Cov(s₁, s₂)²


class _Gaussian:
    """Means and covariances of the labelled variables, and what conditioning on one of them leaves."""

    def __init__(self, mean: dict[object, sp.Expr], cov: dict[frozenset[object], sp.Expr]) -> None:
        self.mean, self.cov = mean, cov

    def between(self, x: object, y: object) -> sp.Expr:
        return self.cov[frozenset((x, y))]

    def given_zero(self, s: int) -> "_Gaussian":
        """Return the law given s = 0; the gates' joint determinant stays one symbol."""
        variance = self.between(s, s)
        rest = [x for x in self.mean if x != s]
        mean = {x: self.mean[x] - self.between(x, s) * self.mean[s] / variance for x in rest}
        cov = {
            frozenset((x, y)): self.between(x, y) - self.between(x, s) * self.between(y, s) / variance
            for x in rest
            for y in rest
        }
        for other in (1, 2):
            if other in rest and other != s:
                cov[frozenset((other,))] = joint / variance
        return _Gaussian(mean, cov)


def _unconditioned(centred: bool) -> _Gaussian:
    means = (mean_u, mean_v, mean_1, mean_2)
    mean: dict[object, sp.Expr] = {x: sp.Integer(0) if centred else m for x, m in zip((U, V, 1, 2), means, strict=True)}
    cov = {
        (U,): s11, (V,): s22, (U, V): s12, (1,): gate_1, (2,): gate_2, (1, 2): slope_1 * slope_2 * s12,
        (U, 1): slope_1 * s11, (V, 1): slope_1 * s12, (U, 2): slope_2 * s12, (V, 2): slope_2 * s22,
    }  # fmt: skip
    return _Gaussian(mean, {frozenset(pair): value for pair, value in cov.items()})


@cache
def pieces(power_u: int, power_v: int, gates: tuple[int, ...], centred: bool) -> dict[Key, sp.Expr]:
    """Return E[u^n v^m Π θ(s_g)] as coefficients of density(s_A = 0)·P(s_B > 0 | s_A = 0), keyed by (A, B).

    The coefficients are rational in the means and covariances.

    >>> pieces(1, 0, (1,), True)
    {((1,), ()): a1*s11}
    """
    return _lower(power_u, power_v, (), gates, _unconditioned(centred), {})


def _lower(
    n: int, m: int, done: tuple[int, ...], left: tuple[int, ...], law: _Gaussian, memo: dict[object, dict[Key, sp.Expr]]
) -> dict[Key, sp.Expr]:
    """Apply Stein's lemma until no power is left; ``done`` are the gates conditioned on."""
    if n == m == 0:
        return {(done, left): sp.Integer(1)}
    at = (n, m, done, left)
    if at in memo:
        return memo[at]
    total: dict[Key, sp.Expr] = {}

    def add(factor: sp.Expr, parts: dict[Key, sp.Expr]) -> None:
        for key, value in parts.items():
            total[key] = total.get(key, sp.Integer(0)) + factor * value

    lowered, x = ((n - 1, m), U) if n else ((n, m - 1), V)
    add(law.mean[x], _lower(*lowered, done, left, law, memo))
    for y, power in ((U, lowered[0]), (V, lowered[1])):
        if power:
            below = (lowered[0] - 1, lowered[1]) if y == U else (lowered[0], lowered[1] - 1)
            add(power * law.between(x, y), _lower(*below, done, left, law, memo))
    for gate in left:
        rest = tuple(g for g in left if g != gate)
        add(law.between(x, gate), _lower(*lowered, tuple(sorted((*done, gate))), rest, law.given_zero(gate), memo))
    memo[at] = {key: value for key, raw in total.items() if (value := sp.expand(raw)) != 0}
    return memo[at]
