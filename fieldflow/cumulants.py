"""What are the connected and the full n-point functions of a network of finite width? Exact tensors on a mesh of points.

The moments of one hidden unit come from ``npoint_moments``; how they combine is read off the formulas ``cumulants.G<n>``,
``cumulants.common_scale<n>`` and ``cumulants.moment<n>``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from fieldflow import inputs, memory
from fieldflow.cosnet import CosNet
from fieldflow.errors import BadInput, NoClosedForm
from fieldflow.formulas import deriving
from fieldflow.inputs import Array
from fieldflow.network import MLP
from fieldflow.npoint_moments import moments
from fieldflow.numeric.partition_sums import partition_sum
from fieldflow.numeric.symmetric import entries, packed, sorted_tuples, unpacked
from fieldflow.symbolic import cumulants
from fieldflow.symbolic.finite_width import N
from fieldflow.symbolic.formula import Formula
from fieldflow.symbolic.partitions import LARGEST, set_partitions, sum_symbol, types
from fieldflow.symbolic.symbols import sigma_w

READOUTS = tuple(cumulants.READOUTS)


@dataclass(frozen=True)
class ReadOut:
    """The law of the read-out weights, checked, and what multiplies the hidden outputs at each point."""

    law: str
    scale_moments: tuple[float, ...] | None
    normalisation: Array | None


_Family = Callable[[Any, Array, tuple[int, ...], ReadOut], dict[int, Array]]


def connected(
    net: Any,
    points: Any,
    n: int = 4,
    *,
    readout: str = "gaussian",
    scale_moments: Any = None,
    normalisation: Any = None,
) -> Array:
    """Return the connected n-point function G_c^{(n)} at all n-tuples of points, exact at the network's own width.

    Formulas ``cumulants.G2`` … ``cumulants.G8``: cumulants of independent units add (theory of the connected correlators
    (36)-(38) of arXiv:2405.17538).  Of one output, if there are several.

    Parameters
    ----------
    net : MLP or CosNet
        One hidden layer, with ``widths``; a CosNet has the read-out that it was made with.
    points : array_like (m, d_in)
        They may repeat.
    n : int
        1 <= n <= 8.
    readout : {"gaussian", "signs", "fixed"}
        Weights N(0, s_w), ±√s_w with equal odds, or all √s_w, s_w the network's own read-out variance.  For the first two
        odd functions vanish.
    scale_moments : sequence (E s, E s², …, E s^{n/2}), optional
        Every weight is multiplied by √s with one random s > 0 per network (not for "fixed").  Then neurons are not
        independent and G_c^{(4)} = Var(s) Σ₃KK + O(1/N).
    normalisation : array_like (m,), optional
        c(x): hidden outputs are c(x)σ(z(x)), as in the Gauss-net.

    Returns
    -------
    array (m,)·n
        Fully symmetric.  The variance of the read-out bias is in n = 2 only.

    Raises
    ------
    NoClosedForm
        For more than one hidden layer, and for activations and points outside what ``npoint_moments`` derives.
    BadInput
        For other arguments, and if the tensor would not fit into memory.

    >>> net = MLP(1, widths=(10,), activation="relu")
    >>> G4 = connected(net, [[1.0], [2.0]])
    >>> G4.shape, round(float(G4[0, 0, 0, 0]), 12)
    ((2, 2, 2, 2), 0.375)
    """
    mesh, order, law = _checked(net, points, n, readout, scale_moments, normalisation)
    return _dense(_family(net)(net, mesh, (order,), law)[order], len(mesh), order)


def n_point(
    net: Any,
    points: Any,
    n: int = 4,
    *,
    readout: str = "gaussian",
    scale_moments: Any = None,
    normalisation: Any = None,
) -> Array:
    """Return the full n-point function E[f(x_1)…f(x_n)], exact at the network's own width; arguments as in ``connected``.

    Formulas ``cumulants.moment4`` …: the sum over partitions into connected functions, the read-out bias included.

    >>> net = MLP(1, widths=(10,), activation="relu")
    >>> round(float(n_point(net, [[1.0]]).item()), 12)
    1.125
    """
    mesh, order, law = _checked(net, points, n, readout, scale_moments, normalisation)
    even = law.law != "fixed"
    if even and order % 2:
        return np.zeros((len(mesh),) * order)
    orders = tuple(k for k in range(1, order + 1) if not (even and k % 2))
    tensors = _family(net)(net, mesh, orders, law)
    with deriving():
        formula = cumulants.moment(order, even=even)
    return _dense(_combined(formula, "G", tensors, len(mesh), order, {}), len(mesh), order)


def _dense(values: Array, size: int, n: int) -> Array:
    if not np.all(np.isfinite(values)):
        raise BadInput(f"points: products of {n} field values exceed the range of floats")
    return unpacked(values, size, n)


def _checked(
    net: Any, points: Any, n: Any, readout: Any, scale_moments: Any, normalisation: Any
) -> tuple[Array, int, ReadOut]:
    _family(net)
    mesh = inputs.points("points", points, net.d if isinstance(net, CosNet) else net.d_in)
    order = inputs.integer("n", n, minimum=1, maximum=LARGEST)
    # Beside the dense tensor there are its indices while it is unpacked.
    memory.require(
        8 * (2 * order + 2) * len(mesh) ** order, f"points, n: the tensor of {len(mesh)} points to the power {order}"
    )
    law = inputs.choice("readout", readout, READOUTS)
    return mesh, order, ReadOut(law, _scale(scale_moments, law, order), _factors(normalisation, len(mesh)))


def _family(net: Any) -> _Family:
    for kind, family in _FAMILIES.items():
        if isinstance(net, kind):
            return family
    raise BadInput(f"net: expected {' or '.join(kind.__name__ for kind in _FAMILIES)}, got {type(net).__name__}")


def _scale(given: Any, law: str, n: int) -> tuple[float, ...] | None:
    """Return the moments of a common scale, checked to be those of a positive variable."""
    if given is None:
        return None
    if law == "fixed":
        raise BadInput(
            'scale_moments: expected readout "gaussian" or "signs"; "fixed" would need moments of the root of s'
        )
    found = inputs.real_array("scale_moments", given)
    if found.ndim != 1 or len(found) < n // 2 or np.any(found <= 0.0):
        raise BadInput(f"scale_moments: expected {n // 2} positive numbers E s, E s^2, … for n = {n}, got {given!r}")
    series = np.concatenate([[1.0], found / found[0] ** np.arange(1, len(found) + 1)])
    for first in (0, 1):
        size = (len(series) - first + 1) // 2
        hankel = np.array([[series[first + i + j] for j in range(size)] for i in range(size)])
        scale = np.sqrt(np.diag(hankel))
        if np.linalg.eigvalsh(hankel / np.outer(scale, scale))[0] < -1e-12:
            raise BadInput(f"scale_moments: these are the moments of no positive random number: {given!r}")
    return tuple(float(value) for value in found)


def _factors(given: Any, size: int) -> Array | None:
    if given is None:
        return None
    found = inputs.real_array("normalisation", given)
    if found.shape != (size,):
        raise BadInput(f"normalisation: expected shape ({size},), one factor per point, got {found.shape}")
    return found


def _of_mlp(net: MLP, points: Array, orders: tuple[int, ...], readout: ReadOut) -> dict[int, Array]:
    """Return the packed connected functions of a network with one hidden layer, by order."""
    if net.hidden_layers != 1:
        raise NoClosedForm(
            f"net: connected functions are derived for one hidden layer, got {net.hidden_layers}: only its units are independent"
        )
    values = {N: sp.Integer(net.finite_widths[0])}
    values[sigma_w] = sp.sqrt(sp.Rational(net.readout_variance) * values[N])
    size, top = len(points), max(orders)
    used = [k for k in range(1, top + 1) if readout.law == "fixed" or k % 2 == 0]
    hidden = {k: _scaled(moments(net, points, k), k, readout.normalisation) for k in used}
    with deriving():
        formulas = {k: cumulants.connected(k, readout.law) for k in used}
    found = {k: _combined(formula, "H", hidden, size, k, values) for k, formula in formulas.items()}
    if readout.scale_moments is not None:
        found = _with_common_scale(found, size, readout.scale_moments)
    if 2 in found:
        found[2] = found[2] + net.sigma_b[1] ** 2
    return {k: found[k] if k in found else np.zeros(entries(size, k)) for k in orders}


def _with_common_scale(given: dict[int, Array], size: int, moments_of_scale: tuple[float, ...]) -> dict[int, Array]:
    symbols = cumulants.scale_moments(len(moments_of_scale))
    values = {symbol: sp.Rational(value) for symbol, value in zip(symbols, moments_of_scale, strict=True)}
    with deriving():
        formulas = {k: cumulants.common_scale(k) for k in given}
    return {k: _combined(formula, "G", given, size, k, values) for k, formula in formulas.items()}


def _scaled(values: Array, n: int, factors: Array | None) -> Array:
    if factors is None:
        return values
    scaled: Array = values * np.prod(factors[sorted_tuples(len(factors), n)], axis=1)
    return scaled


def _combined(
    formula: Formula, letter: str, tensors: Mapping[int, Array], size: int, n: int, values: Mapping[sp.Symbol, sp.Expr]
) -> Array:
    """Return a formula linear in the sums over types of partitions, evaluated on packed tensors."""
    total = np.zeros(entries(size, n))
    for kind in types(n):
        weight = sp.diff(formula.expr, sum_symbol(letter, kind)).subs(values)
        if weight != 0:
            with np.errstate(over="ignore", invalid="ignore"):
                total += float(weight) * partition_sum(set_partitions(n)[kind], tensors, size, n)
    return total


def _of_cosnet(net: CosNet, points: Array, orders: tuple[int, ...], readout: ReadOut) -> dict[int, Array]:
    """Return the packed connected functions of a cosine network, whose read-out is its own."""
    if readout.law != "gaussian" or readout.normalisation is not None:
        raise BadInput("readout, normalisation: a CosNet has its own read-out and no normalisation; leave them out")
    return {n: packed(net.connected(points, n, scale_moments=readout.scale_moments)) for n in orders}


_FAMILIES: dict[type, _Family] = {MLP: _of_mlp, CosNet: _of_cosnet}
"""Which networks have exact cumulants: their packed connected functions of several orders."""
