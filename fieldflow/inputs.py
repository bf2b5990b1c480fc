"""What may come in? Every array and number from a caller is checked here, once, before anything compiled sees it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldflow.errors import BadInput

Array = NDArray[np.float64]


def real_array(name: str, value: Any) -> Array:
    """Return ``value`` as a float64 array; complex, object, bool, text, NaN and inf are BadInput naming ``name``.

    >>> real_array("x", [[1, 2]]).tolist()
    [[1.0, 2.0]]
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise BadInput(f"{name}: expected a rectangular array of real numbers, got ragged rows") from error
    if array.dtype.kind not in "iuf":
        raise BadInput(f"{name}: expected real numbers (integers or floats), got {array.dtype}")
    array = np.asarray(array, dtype=np.float64, order="C")
    if not np.all(np.isfinite(array)):
        raise BadInput(f"{name}: expected finite numbers, found NaN or infinity")
    return array


def points(name: str, value: Any, d_in: int) -> Array:
    """Return input points as float64 (n, d_in), n >= 1."""
    array = real_array(name, value)
    if array.ndim != 2 or array.shape[1] != d_in or array.shape[0] == 0:
        raise BadInput(f"{name}: expected shape (n, {d_in}) with n >= 1, got {array.shape}")
    return array


def per_coordinate(name: str, value: Any, d_in: int) -> Array:
    """Return one number per input coordinate, (d_in,), from one for all or from exactly ``d_in``."""
    array = real_array(name, value)
    if array.shape not in ((), (1,), (d_in,)):
        raise BadInput(f"{name}: expected a number or {d_in} of them, one per input, got shape {array.shape}")
    return np.broadcast_to(array, (d_in,))


def targets(name: str, value: Any, n: int, d_out: int) -> Array:
    """Return targets as float64 (n,) (one output) or (n, d_out)."""
    array = real_array(name, value)
    accepted = [(n, d_out)] + ([(n,)] if d_out == 1 else [])
    if array.shape not in accepted:
        raise BadInput(f"{name}: expected shape {' or '.join(map(str, accepted))}, got {array.shape}")
    return array


def real(name: str, value: Any, *, minimum: float = -np.inf, maximum: float = np.inf, strict: bool = False) -> float:
    """Return a finite float in [minimum, maximum] (> minimum if ``strict``)."""
    array = real_array(name, value)
    bound = f"> {minimum:g}" if strict else f">= {minimum:g}"
    wanted = "a finite number" + (f" {bound}" if np.isfinite(minimum) else "")
    wanted += f" and <= {maximum:g}" if np.isfinite(maximum) else ""
    number = float(array) if array.ndim == 0 else np.nan
    if not (minimum <= number <= maximum) or (strict and number == minimum):
        raise BadInput(f"{name}: expected {wanted}, got {value!r}")
    return number


def integer(name: str, value: Any, *, minimum: int = 0, maximum: int = 2**62) -> int:
    """Return an int in [minimum, maximum]; bool and fractions are refused."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))
    if not whole or not minimum <= int(value) <= maximum:
        raise BadInput(f"{name}: expected an integer from {minimum} to {maximum}, got {value!r}")
    return int(value)


def flag(name: str, value: Any) -> bool:
    """Return True or False; anything else is refused."""
    if not isinstance(value, (bool, np.bool_)):
        raise BadInput(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def choice(name: str, value: Any, accepted: Sequence[str]) -> str:
    """Return ``value`` if it is one of the accepted words."""
    if not isinstance(value, str) or value not in accepted:
        raise BadInput(f"{name}: expected one of {', '.join(accepted)}, got {value!r}")
    return value


def per_layer(name: str, value: Any, layers: int) -> tuple[float, ...]:
    """Return one non-negative number per layer, from one number for all or a sequence of exactly ``layers``."""
    if isinstance(value, (tuple, list, np.ndarray)):
        if len(value) != layers:
            raise BadInput(f"{name}: expected a number or {layers} of them (input layer first), got {len(value)}")
        return tuple(real(f"{name}[{i}]", entry, minimum=0.0) for i, entry in enumerate(value))
    return (real(name, value, minimum=0.0),) * layers


def cutoffs(value: Any) -> tuple[Array, bool]:
    """Return cut-offs as an increasing array (c,) and whether a scalar was given; infinity is allowed, NaN is not."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.ndim > 1 or array.size == 0:
        raise BadInput(f"cutoff: expected a number or an increasing one-dimensional array, got {value!r}")
    flat = np.atleast_1d(array).astype(np.float64)
    if np.any(np.isnan(flat)) or flat[0] < 0 or np.any(np.diff(flat) <= 0):
        raise BadInput("cutoff: expected non-negative numbers in strictly increasing order")
    return flat, array.ndim == 0
