"""How does a network's kernel become one compiled loop? Source code for all its layers, composed per pair of points.

Each layer is a function of (q11, c, q22, D, δ), printed from the closed forms of the symbolic layer.  D = q11 q22 - c² and
δ = q11 + q22 - 2c are carried along because they cannot be recovered from rounded covariances of nearly equal points.
Layers without a closed form take Hermite coefficients of both points (``hermite``).
"""

from functools import cache
from typing import Any

import sympy as sp

from fieldflow import codegen, guarded
from fieldflow.compile import load_functions
from fieldflow.formulas import carried_expectation, gaussian_expectation
from fieldflow.symbolic.activations import Activation, implemented, kinks
from fieldflow.symbolic.formula import Formula
from fieldflow.symbolic.homogeneous import carried, quarter_turn_minus_angle
from fieldflow.symbolic.nearby import determinant, distance
from fieldflow.symbolic.nngp import ABOVE, E_PAIR, SLOPE_PAIR, TANGENT
from fieldflow.symbolic.nngp import FORMULAS as nngp_formulas
from fieldflow.symbolic.pair import det, gap
from fieldflow.symbolic.symbols import a_l, c, q11, q22, sigma_b, sigma_w, z

_NAMES = [str(symbol) for symbol in (q11, c, q22, det, gap)]


def closed(activation: Activation) -> bool:
    """Return whether E[σσ] and E[σ'σ'] both have a closed form."""
    return all(carried_expectation(expr) is not None for expr in (activation.expr, activation.derivative))


def _layer(number: int, activation: Activation) -> str:
    """Return ``layer_number(q11, c, q22, D, delta)`` -> E, E', and with degree 0 or 1 the next determinant and distance."""
    formulas = [gaussian_expectation(expr) for expr in (activation.expr, activation.derivative)]
    if any(formula.integral is not None for formula in formulas):
        return _guarded_layer(number, activation, formulas)
    found = (carried_expectation(expr) for expr in (activation.expr, activation.derivative))
    values = [value for value in found if value is not None]
    forms = carried(activation)
    if forms is not None:
        # One arc tangent of the smaller angle serves them all.
        values = [value.replace(sp.atan2, lambda *_: quarter_turn_minus_angle()) for value in values] + list(forms)
    source = codegen.scalar_body(values, _NAMES, name=f"layer_{number}")
    return source.replace("math.atan(", "_atan(")


def _guarded_layer(number: int, activation: Activation, formulas: list[Formula]) -> str:
    """Return the same with closed forms that give way to their integrals where rounding swamps them."""
    parts, called = [], []
    for label, expr, formula in zip("es", (activation.expr, activation.derivative), formulas, strict=True):
        name = f"layer_{number}_{label}"
        value = carried_expectation(expr)
        if formula.integral is None:
            parts.append(codegen.scalar_body(value, _NAMES, name=name))
        else:
            parts.append(guarded.source(value, formula.integral, formula.breaks, _NAMES, name=name, some=_NAMES[:3]))
        called.append(f"{name}({', '.join(_NAMES)})")
    return "".join([*parts, f"\ndef layer_{number}({', '.join(_NAMES)}):\n    return {', '.join(called)}\n"])


def _recursions() -> str:
    """Return ``advance`` and ``tangent_above``, printed from the catalogued recursions."""
    weight, bias = sp.symbols("weight bias")
    above, tangent = (
        nngp_formulas[name]().expr.subs({sigma_w: sp.sqrt(weight), sigma_b: sp.sqrt(bias), a_l: 1})
        for name in ("nngp.recursion", "ntk.recursion")
    )
    arguments = [str(symbol) for symbol in (ABOVE, weight, SLOPE_PAIR, TANGENT)]
    return codegen.scalar_body(above, ["weight", "bias", str(E_PAIR)], name="advance") + codegen.scalar_body(
        tangent, arguments, name="tangent_above"
    )


_TILE = 128
"""Points per tile.  All scratch is one array with rows at literal offsets: then the compiler sees that they do not overlap."""

_NARROW = 1e-6
"""Squared sine of an angle below which rounding of the plain difference shows."""

_C, _DET, _GAP, _TANGENT, _SAME, _Q2, _OVER, _NEXT, _E, _NEARBY, _END = (
    _TILE * row for row in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13)
)

_LOAD = f"""
    for k in range(width):
        work[k + {_Q2}], work[k + {_NEXT}] = second[{{l}}, low + k], second[{{n}}, low + k]
        work[k + {_OVER}] = over[{{l}}, low + k]
    q1, q1_next, at_1 = first[{{l}}, i], first[{{n}}, i], at[{{l}}, i]
"""

_CLOSED = f"""    for k in range(width):
        q2, c, D, delta = work[k + {_Q2}], work[k + {_C}], work[k + {_DET}], work[k + {_GAP}]
        {{outputs}} = layer_{{l}}(q1, c, q2, D, delta)
"""

_SERIES = f"""    for k in range(width):
        q2, c, D, delta = work[k + {_Q2}], work[k + {_C}], work[k + {_DET}], work[k + {_GAP}]
        e, slope = series(first_{{l}}[i], second_{{l}}[low + k], q1, c, q2)
"""

_CARRIED = f"""        gone = q1 == 0.0 or q2 == 0.0
        over_2 = work[k + {_OVER}]
        determinant = max(0.0, _difference_of_products(at_1, over_2, e, e)) if gone else determinant
        distance = max(0.0, at_1 + over_2 - 2.0 * e) if gone else distance
        D = weight[{{n}}] * (weight[{{n}}] * determinant + bias[{{n}}] * distance)
        delta = weight[{{n}}] * distance
        above = advance(weight[{{n}}], bias[{{n}}], e)
"""

_NEAR = 1e-8
"""Var w E[σ''²]/E[σ'²], the relative error of ``nngp.nearby_determinant``, below which it beats rounded covariances."""

_LOAD_NEARBY = f"""    for row in range(4):
        own = near_first[{{l}}, row, i]
        for k in range(width):
            work[k + ({_NEARBY} + {_TILE} * row)] = own + near_second[{{l}}, row, low + k]
"""

_SMOOTH = f"""        above = advance(weight[{{n}}], bias[{{n}}], e)
        over_2 = work[k + {_OVER}]
        g, middle = 0.5 * (q2 - q1), 0.25 * (q1 + q2) + 0.5 * abs(c)
        mixed, sloped = work[k + {_NEARBY}], work[k + {_NEARBY + _TILE}]
        steep, bent = work[k + {_NEARBY + 2 * _TILE}], work[k + {_NEARBY + 3 * _TILE}]
        # All of it for every pair, then a choice: with a branch the loop would stay scalar.
        near = (middle > 0.0) & ((c > 0.0) | {{mirrored}}) & ((D + g * g) * bent < {_NEAR} * middle * steep)
        determinant, distance = nearby(D, middle, g, 0.5 * (at_1 + over_2), 0.5 * mixed, 0.5 * sloped, 0.5 * steep)
        distance = distance if (c > 0.0) | {{even}} else at_1 + over_2 - 2.0 * e
        plain = max(0.0, _difference_of_products(q1_next, work[k + {_NEXT}], above, above))
        carried = weight[{{n}}] * (weight[{{n}}] * max(0.0, determinant) + bias[{{n}}] * distance)
        D = carried if near else plain
        delta = weight[{{n}}] * distance if near else max(0.0, q1_next + work[k + {_NEXT}] - 2.0 * above)
"""

_RECOMPUTED = f"""        above = advance(weight[{{n}}], bias[{{n}}], e)
        D = max(0.0, _difference_of_products(q1_next, work[k + {_NEXT}], above, above))
        delta = max(0.0, q1_next + work[k + {_NEXT}] - 2.0 * above)
"""

_STORE = f"""        equal = work[k + {_SAME}] > 0.0
        above = q1_next if equal else above
        work[k + {_C}] = above
        work[k + {_DET}] = 0.0 if equal else D
        work[k + {_GAP}] = 0.0 if equal else delta
        work[k + {_TANGENT}] = tangent_above(above, weight[{{n}}], slope, work[k + {_TANGENT}])
"""


@cache
def expands(activation: Activation) -> bool:
    """Return whether nearly equal points take ``nngp.nearby_determinant``: σ' continuous, and no carried determinant.

    >>> from fieldflow.symbolic.activations import activation
    >>> expands(activation("gelu")), expands(activation("relu")), expands(activation("identity"))
    (True, False, False)
    """
    slope = activation.derivative
    if implemented(activation.expr) or carried(activation) is not None:
        return False
    ends = [
        [sp.limit(expr, z, place, side) for side in "+-"] for expr in (activation.expr, slope) for place in kinks(expr)
    ]
    return all(high == low and high.is_finite for high, low in ends)


def _parity(expr: sp.Expr) -> int:
    """Return 1 for even, -1 for odd, 0 for neither."""
    mirrored = expr.subs(z, -z)
    return next((sign for sign in (1, -1) if sp.expand(mirrored - sign * expr) == 0), 0)


def _nearby() -> str:
    arguments = [str(symbol) for symbol in determinant().args]
    return codegen.scalar_body([determinant().expr, distance().expr], arguments, name="nearby")


def _through_layers(activations: tuple[Activation, ...], kinds: list[bool]) -> str:
    """Return ``through``: the layers one after the other, each over all points of a tile."""
    head = "i, low, width, work, first, second, at, over, near_first, near_second, weight, bias"
    lines = [f"\ndef through({head}{_coefficient_names(kinds)}):"]
    for layer, (activation, is_closed) in enumerate(zip(activations, kinds, strict=True)):
        homogeneous = is_closed and carried(activation) is not None
        outputs = "e, slope, determinant, distance" if homogeneous else "e, slope"
        parity = _parity(activation.expr)
        smooth = not homogeneous and expands(activation)
        rest = _CARRIED if homogeneous else (_SMOOTH if smooth else _RECOMPUTED)
        body = "".join([_LOAD, _LOAD_NEARBY * smooth, _CLOSED if is_closed else _SERIES, rest, _STORE])
        lines.append(body.format(l=layer, n=layer + 1, outputs=outputs, mirrored=parity != 0, even=parity == 1))
    return "\n".join([*lines, "    return None", ""])


def _coefficient_names(kinds: list[bool]) -> str:
    return "".join(f", first_{layer}, second_{layer}" for layer, is_closed in enumerate(kinds) if not is_closed)


_SERIES_SOURCE = '''
def series(a, b, q1, c, q2):
    """Return sum a_n b_n rho^n and its derivative in c (Mehler's formula)."""
    scale = math.sqrt(q1 * q2)
    rho = max(-1.0, min(1.0, c / scale)) if scale > 0.0 else 0.0
    e, slope = 0.0, 0.0
    for n in range(a.size - 1, -1, -1):
        slope = slope * rho + e
        e = e * rho + a[n] * b[n]
    return e, slope / scale if scale > 0.0 else 0.0
'''

_FILL = f'''
def residual(x, y, i, j):
    """Return |r|^2, r the part of y at right angles to x: y - t x with t to twice the precision of a float."""
    top = top_low = bottom = bottom_low = 0.0
    for r in range(x.shape[0]):
        product, error = _two_product(x[r, i], y[r, j])
        top_low += error + _lost(top, product)
        top += product
        product, error = _two_product(x[r, i], x[r, i])
        bottom_low += error + _lost(bottom, product)
        bottom += product
    t = top / bottom
    product, error = _two_product(t, bottom)
    t_low = ((top - product) - error + top_low - t * bottom_low) / bottom
    total = 0.0
    for r in range(x.shape[0]):
        rest = _difference_of_products(1.0, y[r, j], t, x[r, i]) - t_low * x[r, i]
        total += rest * rest
    return total


def _lost(a, b):
    """Return what rounding loses in a + b (Knuth)."""
    total = a + b
    part = total - a
    return (a - (total - part)) + (b - part)


def products(i, low, width, x, y, square, weight, bias, q1, work):
    """Fill c, D, delta of the first layer for point i and points low ... from differences of the points.

    The Gram determinant is |x|^2 |r|^2, r the part of y at right angles to x.  It is taken from y - x (y + x) where y is
    nearer to x (to -x) than to zero, so that r keeps its digits; points on nearly one line with zero take ``residual``.
    """
    for k in range(width):
        work[k + {_C}] = work[k + {_DET}] = work[k + {_GAP}] = work[k + {_E}] = 0.0
    for r in range(x.shape[0]):
        own, row = x[r, i], y[r, low : low + width]
        for k in range(width):
            difference = row[k] - own
            work[k + {_GAP}] += difference * difference
            work[k + {_E}] += own * row[k]
    for k in range(width):
        dot = work[k + {_E}]
        work[k + {_E}] = 1.0 if dot > 0.5 * square else (-1.0 if dot < -0.5 * square else 0.0)
    for r in range(x.shape[0]):
        own, row = x[r, i], y[r, low : low + width]
        for k in range(width):
            work[k + {_C}] += own * (row[k] - work[k + {_E}] * own)
    inverse = 1.0 / square if square > 0.0 else 0.0
    for r in range(x.shape[0]):
        own, row = x[r, i], y[r, low : low + width]
        for k in range(width):
            rest = (row[k] - work[k + {_E}] * own) - (work[k + {_C}] * inverse) * own
            work[k + {_DET}] += rest * rest
    narrow = 0
    for k in range(width):
        dot = work[k + {_C}] + work[k + {_E}] * square
        work[k + {_SAME}] = 1.0 if square * work[k + {_DET}] < {_NARROW} * dot * dot else 0.0
        narrow += work[k + {_SAME}] > 0.0
    if narrow > 0:
        for k in range(width):
            if work[k + {_SAME}] > 0.0 and work[k + {_GAP}] > 0.0:
                work[k + {_DET}] = residual(x, y, i, low + k)
    for k in range(width):
        apart = work[k + {_GAP}]
        dot = work[k + {_C}] + work[k + {_E}] * square
        c = q1 if apart == 0.0 else bias + weight * dot
        work[k + {_C}] = work[k + {_TANGENT}] = c
        work[k + {_DET}] = weight * (weight * square * work[k + {_DET}] + bias * apart)
        work[k + {_GAP}] = weight * apart
        work[k + {_SAME}] = 1.0 if apart == 0.0 else 0.0


def fill(start, stop, same, x, y, first, second, at, over, near_first, near_second, weight, bias, kernel, tangent{{names}}):
    """Write rows start ... stop - 1 of both kernels; with ``same`` only j >= i is computed and mirrored."""
    work = np.empty({_END})
    for i in range(start, stop):
        square = 0.0
        for r in range(x.shape[0]):
            square += x[r, i] * x[r, i]
        low = i if same else 0
        while low < y.shape[1]:
            width = min({_TILE}, y.shape[1] - low)
            products(i, low, width, x, y, square, weight[0], bias[0], first[0, i], work)
            through(i, low, width, work, first, second, at, over, near_first, near_second, weight, bias{{names}})
            for k in range(width):
                kernel[i, low + k] = work[k + {_C}]
                tangent[i, low + k] = work[k + {_TANGENT}]
            if same:
                for k in range(width):
                    kernel[low + k, i] = work[k + {_C}]
                    tangent[low + k, i] = work[k + {_TANGENT}]
            low += width
'''


@cache
def compiled_fill(activations: tuple[Activation, ...]) -> Any:
    """Return ``fill`` for a network with these hidden activations; it releases the GIL."""
    kinds = [closed(activation) for activation in activations]
    names = _coefficient_names(kinds)
    sources = [
        _layer(layer, a) for layer, (a, is_closed) in enumerate(zip(activations, kinds, strict=True)) if is_closed
    ]
    inlined = [*(f"layer_{layer}" for layer in range(len(kinds))), "advance", "tangent_above", "nearby"]
    if not all(kinds):
        sources.append(_SERIES_SOURCE)
    sources += [_recursions(), _nearby(), _through_layers(activations, kinds), _FILL.format(names=names)]
    return load_functions("".join(sources), "fill", needs=["_difference_of_products"], inlined=inlined)
