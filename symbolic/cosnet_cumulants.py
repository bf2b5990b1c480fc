"""What are the exact n-point functions of a cosine network at any width? Cumulants of one neuron, added up N times.

f = N^{-1/2} Σ_i ω_i (b_i² + m²)^{α/2} cos(b_i·x + c_i) with ω Gaussian or ω = √(2Ω_α).  The average over the phase keeps
products of cosines whose signs cancel, so every moment of one neuron is a sum of I_p, p = 1 + α - nα/2, at signed sums of
the points; the cumulants of a sum of N independent neurons are N times those of one.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations
from typing import Any

import sympy as sp
from sympy.utilities.iterables import multiset_partitions

from fieldflow.symbolic.cosnet import N, alpha, k, mass, regulator, volume
from fieldflow.symbolic.cosnet_transform import SOURCE
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.symbols import sigma_w

Blocks = tuple[tuple[int, ...], ...]

_NETWORK = (
    "f = N^{-1/2} sum w (b^2 + m^2)^{alpha/2} cos(b.x + c), density of b f_R (b^2 + m^2)^{-alpha-1}/((2 pi)^d Omega)"
)
legs = sp.Symbol("n", positive=True, even=True)
signs = sp.Symbol("S", real=True)
_PAIRINGS = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))


@cache
def cumulant_terms(n: int) -> tuple[tuple[int, Blocks], ...]:
    """Return κ_n of variables without odd moments: (coefficient, blocks) with κ = Σ coefficient Π M(block).

    >>> [(number, blocks) for number, blocks in cumulant_terms(4)][:2]
    [(1, ((0, 1, 2, 3),)), (-1, ((0, 1), (2, 3)))]
    """
    found = []
    for blocks in even_partitions(n):
        count = len(blocks)
        found.append(((-1) ** (count - 1) * int(sp.factorial(count - 1)), blocks))
    return tuple(found)


@cache
def even_partitions(n: int) -> tuple[Blocks, ...]:
    """Return the partitions of 0 … n - 1 into blocks of even size."""
    every: Iterator[list[list[int]]] = multiset_partitions(list(range(n)))
    return tuple(
        tuple(tuple(block) for block in blocks) for blocks in every if all(len(block) % 2 == 0 for block in blocks)
    )


@cache
def scale_terms(powers: tuple[int, ...]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Return the joint cumulant of s^a, a in ``powers``: (coefficient, moments) with κ = Σ coefficient Π E s^moment.

    >>> scale_terms((1, 1))
    ((1, (2,)), (-1, (1, 1)))
    """
    found = []
    for blocks in multiset_partitions(list(range(len(powers)))):
        number = (-1) ** (len(blocks) - 1) * int(sp.factorial(len(blocks) - 1))
        found.append((number, tuple(sum(powers[i] for i in block) for block in blocks)))
    return tuple(found)


@cache
def sign_choices(n: int) -> tuple[tuple[int, ...], ...]:
    """Return one of each pair ±s of sign choices with Σs = 0: n!/(2 (n/2)!²) of them.

    >>> sign_choices(4)
    ((1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))
    """
    return tuple(
        tuple(1 if i == 0 or i in chosen else -1 for i in range(n)) for chosen in combinations(range(1, n), n // 2 - 1)
    )


@cache
def phase_step(n: int) -> Step:
    """Return E_c Π cos(u_i + c) = 2^{1-n} Σ cos(Σ s_i u_i) over ``sign_choices``."""
    angles = sp.symbols(f"u_1:{n + 1}", real=True)
    waves = sp.symbols(f"e_1:{n + 1}", positive=True)
    turn = sp.Symbol("e_c", positive=True)
    product = sp.Integer(1)
    for wave in waves:
        product = sp.expand(product * (wave * turn + 1 / (wave * turn)) / 2)
    kept = product.coeff(turn, 0)
    exponentials = kept.subs({wave: sp.exp(sp.I * angle) for wave, angle in zip(waves, angles, strict=True)})
    sums = [sum(s * u for s, u in zip(choice, angles, strict=True)) for choice in sign_choices(n)]
    right = sum((sp.cos(total) for total in sums), sp.Integer(0)) * sp.Rational(2, 2**n)
    return step(
        sp.expand(exponentials), right, f"the phase average keeps what does not turn with c: n = {n}, signs that cancel"
    )


@cache
def moment_power() -> Formula:
    """Return p = 1 + α - nα/2 of the n-point function of one neuron."""
    expr = 1 + alpha - legs * alpha / 2
    one = sp.Symbol("x", positive=True)
    return Formula(
        name="cosnet.moment_power",
        lhs=sp.Symbol("p_{n}"),
        expr=expr,
        args=(alpha, legs),
        domain=_NETWORK,
        validity="exact",
        references=SOURCE,
        derived_from=("cosnet.spectrum_general",),
        steps=(
            step(one ** (-alpha - 1) * one ** (legs * alpha / 2), one**-expr,
                 "density times n amplitudes, x = k^2 + m^2"),
            step(expr.subs(legs, 2), sp.Integer(1), "n = 2: the propagator, whatever alpha"),
        ),
    )  # fmt: skip


def _readout_moment(fixed: bool) -> sp.Expr:
    """Return E ω^n."""
    if fixed:
        return (2 * volume) ** (legs / 2)
    return sigma_w**legs * 2 ** (legs / 2) * sp.gamma((legs + 1) / 2) / sp.sqrt(sp.pi)


def _readout_step(fixed: bool) -> Step:
    if fixed:
        return definition(
            sp.Symbol(r"\omega"), sp.sqrt(2 * volume), "fixed amplitude: E omega^2 I_1/(2 Omega) = I_1, see n = 2"
        )
    w = sp.Symbol("w", positive=True)
    power = sp.Symbol("n", positive=True)
    average = 2 * sp.integrate(w**power * sp.exp(-(w**2) / 2) / sp.sqrt(2 * sp.pi), (w, 0, sp.oo))
    right = 2 ** (power / 2) * sp.gamma((power + 1) / 2) / sp.sqrt(sp.pi)
    return step(sp.simplify(average), right, "E omega^n = sigma_w^n (n - 1)!!: 1, 3, 15, 105")


@cache
def moment(fixed: bool) -> Formula:
    """Return the n-point function of one neuron, M_n = E ω^n S/(2^{n-1}Ω), S = Σ I_p(|Σ s_i x_i|) over ``sign_choices``."""
    expr = _readout_moment(fixed) * signs / (2 ** (legs - 1) * volume)
    strength = volume * 2 if fixed else sigma_w**2
    density = regulator * (k**2 + mass**2) ** (-alpha - 1) / volume
    amplitude = (k**2 + mass**2) ** (alpha / 2)
    return Formula(
        name="cosnet.moment_" + ("fixed" if fixed else "gaussian"),
        lhs=sp.Symbol("M_{n}"),
        expr=expr,
        args=(signs, legs, volume) if fixed else (signs, legs, volume, sigma_w),
        domain=_NETWORK + "; S: sum of I_p over signs that cancel, one of each pair +-s",
        validity="exact",
        references=SOURCE,
        derived_from=("cosnet.moment_power", "cosnet.spectrum_general"),
        steps=(
            *(phase_step(n) for n in (2, 4, 6)),
            step(density * amplitude**4, regulator * (k**2 + mass**2) ** (alpha - 1) / volume, "n = 4: p = 1 - alpha"),
            _readout_step(fixed),
            step(sp.simplify(expr.subs(legs, 2)), strength * signs / (2 * volume), "n = 2: S = I_1"),
            step(sp.simplify(expr.subs(legs, 4)),
                 strength**2 * signs * (1 if fixed else 3) / (8 * volume), "n = 4: S is a sum of three I_{1-alpha}"),
        ),
    )  # fmt: skip


_t = sp.symbols("t_1:5", real=True)


def _symbols(letter: str, blocks: Blocks) -> list[sp.Symbol]:
    return [sp.Symbol(letter + "".join(str(i + 1) for i in block), real=True) for block in blocks]


def _pair_sum(letter: str) -> sp.Expr:
    """Return Σ₃ of products of two two-point functions."""
    return sum((sp.prod(_symbols(letter, pairing)) for pairing in _PAIRINGS), sp.Integer(0))


_PAIRS = tuple(symbol for pairing in _PAIRINGS for symbol in _symbols("M", pairing))
_GS = tuple(symbol for pairing in _PAIRINGS for symbol in _symbols("G", pairing))
_FOUR = _symbols("M", ((0, 1, 2, 3),))[0]
_TRANSFORMS = sp.symbols("I12_34 I13_24 I14_23", real=True)


def _neuron() -> sp.Expr:
    """Return E e^{t·u/√N} of one neuron, as far as t_1 t_2 t_3 t_4."""
    pairs = sum(
        (symbol * _t[a] * _t[b] for pairing in _PAIRINGS
         for symbol, (a, b) in zip(_symbols("M", pairing), pairing, strict=True)), sp.Integer(0),
    )  # fmt: skip
    return 1 + pairs / N + _FOUR * sp.prod(_t) / N**2


def _at_zero(expr: sp.Expr) -> sp.Expr:
    return sp.diff(expr, *_t).subs(dict.fromkeys(_t, 0))


@cache
def four_point(fixed: bool) -> Formula:
    """Return G⁽⁴⁾ = (1 - 1/N) Σ₃ G₂G₂ + (Ω/2N) Σ₃ I_{1-α}, with 3σ_w⁴/8Ω for Ω/2 where the read-out is Gaussian."""
    total = sum(_TRANSFORMS, sp.Integer(0))
    one = sp.simplify(moment(fixed).expr.subs({legs: 4, signs: total}))
    expr = (1 - 1 / N) * _pair_sum("G") + one / N
    every = sp.expand(_at_zero(_neuron() ** N))
    named = dict(zip(_PAIRS, _GS, strict=True))
    return Formula(
        name="cosnet.four_point" + ("" if fixed else "_gaussian"),
        lhs=sp.Symbol(r"G^{(4)}"),
        expr=expr,
        args=(N, volume, *_GS, *_TRANSFORMS) if fixed else (N, volume, sigma_w, *_GS, *_TRANSFORMS),
        domain=_NETWORK + "; I12_34 = I_{1-alpha}(|x_1 + x_2 - x_3 - x_4|)",
        validity="exact at any width",
        references=SOURCE,
        derived_from=("cosnet.moment_fixed" if fixed else "cosnet.moment_gaussian",),
        steps=(
            step(every, sp.expand((1 - 1 / N) * _pair_sum("M") + _FOUR / N),
                 "E e^{t.f} = (one neuron)^N: all four legs on one neuron, or two and two"),
            step(sp.expand(((1 - 1 / N) * _pair_sum("M") + _FOUR / N).subs({**named, _FOUR: one})), sp.expand(expr),
                 "M_2 = G_2, and M_4 of one neuron"),
        ),
    )  # fmt: skip


def _on_one_point(n: int) -> tuple[sp.Expr, sp.Expr]:
    """Return κ_n of one variable by ``cumulant_terms``, and by differentiating ln E e^{tu}."""
    t = sp.Symbol("t", real=True)
    values = {size: sp.Symbol(f"m_{size}", real=True) for size in range(2, n + 1, 2)}
    table = sum(
        (number * sp.prod([values[len(block)] for block in blocks]) for number, blocks in cumulant_terms(n)),
        sp.Integer(0),
    )
    series = sum((value * t**size / sp.factorial(size) for size, value in values.items()), sp.Integer(0))
    logarithm = sum(((-1) ** (j + 1) * series**j / j for j in range(1, n // 2 + 1)), sp.Integer(0))
    return sp.expand(table), sp.expand(sp.factorial(n) * sp.expand(logarithm).coeff(t, n))


@cache
def connected() -> Formula:
    """Return G_c⁽⁴⁾ = (M_1234 - Σ₃ M M)/N; in general G_c⁽ⁿ⁾ = N^{1-n/2} κ_n of one neuron."""
    expr = (_FOUR - _pair_sum("M")) / N
    table = sum(
        (number * sp.prod(_symbols("M", blocks)) for number, blocks in cumulant_terms(4)), sp.Integer(0)
    )  # fmt: skip
    return Formula(
        name="cosnet.connected",
        lhs=sp.Symbol(r"G_{c}^{(4)}"),
        expr=expr,
        args=(N, _FOUR, *_PAIRS),
        domain=_NETWORK,
        validity="exact at any width",
        references=SOURCE,
        derived_from=("cosnet.moment_fixed", "cosnet.moment_gaussian"),
        steps=(
            step(sp.expand(_at_zero(N * sp.log(_neuron()))), sp.expand(expr), "ln E e^{t.f} = N ln of one neuron"),
            step(sp.expand(table / N), sp.expand(expr), "Moebius: (-1)^{b-1} (b-1)! for b blocks"),
            *(step(*_on_one_point(n), f"the same at one point, n = {n}") for n in (6, 8)),
        ),
    )


@cache
def weight() -> Formula:
    """Return N^{1-n/2}, what the width does to the n-th cumulant."""
    c = sp.symbols("c_2:9", real=True)
    t = sp.Symbol("t", positive=True)
    one = sum((value * t**i / sp.factorial(i) for i, value in enumerate(c, start=2)), sp.Integer(0))
    network = sp.expand(N * one.subs(t, t / sp.sqrt(N)))
    expr = N ** (1 - legs / 2)
    return Formula(
        name="cosnet.width_factor",
        lhs=sp.Symbol(r"G_{c}^{(n)}/\kappa_{n}"),
        expr=expr,
        args=(N, legs),
        domain=_NETWORK,
        validity="exact at any width",
        derived_from=("cosnet.connected",),
        steps=tuple(
            step(sp.factorial(n) * network.coeff(t, n), expr.subs(legs, n) * c[n - 2], f"W(t) = N w(t/sqrt N), n = {n}")
            for n in (2, 4, 6, 8)
        ),
    )


@cache
def scaled() -> Formula:
    """Return G_c⁽⁴⁾ = E[s²]G_c⁽⁴⁾|_{s=1} + Var(s) Σ₃ G₂G₂ where all read-out weights share a random factor √s."""
    first, second = sp.symbols("s_1 s_2", positive=True)
    base = sp.Symbol("G1234", real=True)
    variance = second - first**2
    expr = second * base + variance * _pair_sum("G")
    s = sp.Symbol("s", real=True)
    given = s**2 * base * sp.prod(_t)
    given += s * sum(
        (symbol * _t[a] * _t[b] for pairing in _PAIRINGS
         for symbol, (a, b) in zip(_symbols("G", pairing), pairing, strict=True)), sp.Integer(0),
    )  # fmt: skip
    every = sp.expand(given + given**2 / 2)
    mean = sum((value * every.coeff(s, i) for i, value in enumerate((first, second), start=1)), sp.Integer(0))
    found = _at_zero(mean - mean**2 / 2)
    table = sum((number * sp.prod([(first, second)[i - 1] for i in moments]) for number, moments in scale_terms((1, 1))),
                sp.Integer(0))  # fmt: skip
    return Formula(
        name="cosnet.scaled",
        lhs=sp.Symbol(r"G_{c}^{(4)}"),
        expr=expr,
        args=(first, second, base, *_GS),
        domain=_NETWORK + "; w -> sqrt(s) w with one s per network, E s = s_1, E s^2 = s_2; G: s = 1",
        validity="exact at any width",
        derived_from=("cosnet.connected",),
        steps=(
            step(sp.expand(found), sp.expand(expr), "ln E_s exp of the cumulants given s: s G_2, s^2 G_4"),
            step(table, variance, "the pairs meet the second cumulant of s: neurons are not independent"),
            step(expr.subs(base, 0), variance * _pair_sum("G"), "N -> infinity: Var(s) sum_3 G_2 G_2"),
        ),
    )


FORMULAS: dict[str, Callable[[], Any]] = {
    "cosnet.moment_power": moment_power,
    "cosnet.moment_fixed": lambda: moment(True),
    "cosnet.moment_gaussian": lambda: moment(False),
    "cosnet.four_point": lambda: four_point(True),
    "cosnet.four_point_gaussian": lambda: four_point(False),
    "cosnet.connected": connected,
    "cosnet.width_factor": weight,
    "cosnet.scaled": scaled,
}
