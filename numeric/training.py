"""What does training do to the read-out? T steps of linear dynamics, evaluated in the dual as one matrix function.

With normalised features the residual obeys r -> B r per step, B = 1 - C: full batch C = ηK; per-sample descent in
fixed order C = K A, A = γ(1 + γL)^{-1} with L the strictly lower triangle of K; gradient flow the limit of many small
full-batch steps.  Only the action on a vector is needed, so an Arnoldi basis of C and a small matrix function replace
the T updates (checked against them in the tests).
"""

import numpy as np

from fieldflow.numeric.blas import solve_unit_lower
from fieldflow.numeric.jit import jit

GD, SGD, FLOW = 0, 1, 2
METHODS = {"gd": GD, "sgd": SGD, "gradient_flow": FLOW}

_TOLERANCE = 1e-14
_FIRST_CHECK = 12


@jit
def _apply(scaled, method, vector):  # type: ignore[no-untyped-def]
    """Return C·vector for ``scaled`` = rate·K."""
    if method == SGD:
        swept = vector.copy()
        solve_unit_lower(scaled, swept)
        return np.dot(scaled, swept)
    return np.dot(scaled, vector)


@jit
def _discrete_powers(small, steps):  # type: ignore[no-untyped-def]
    """Return (Σ_{t<T} b^t, b^T) for b = 1 - small, by binary doubling S_{2t} = S_t + b^t S_t."""
    size = small.shape[0]
    base = np.eye(size) - small
    total = np.zeros((size, size))
    power = np.eye(size)
    bit = 1
    while bit <= steps:
        bit *= 2
    while bit > 1:
        bit //= 2
        total = total + np.dot(power, total)
        power = np.dot(power, power)
        if steps & bit:
            total = np.eye(size) + np.dot(base, total)
            power = np.dot(base, power)
    return total, power


@jit
def _continuous_powers(small, time):  # type: ignore[no-untyped-def]
    """Return (∫_0^t e^{-s·small} ds, e^{-t·small}) by a Taylor series on a short interval and doubling."""
    size = small.shape[0]
    norm = np.sqrt(np.sum(small * small)) * time
    halvings = 0
    while norm > 0.125:
        norm *= 0.5
        halvings += 1
    step = time * 0.5**halvings
    total = np.zeros((size, size))
    term = np.eye(size) * step
    for order in range(1, 20):
        total = total + term
        term = np.dot(small, term) * (-step / (order + 1))
    power = np.eye(size) - np.dot(small, total)
    for _ in range(halvings):
        total = total + np.dot(power, total)
        power = np.dot(power, power)
    return total, power


@jit
def _small_function(hessenberg, size, method, duration):  # type: ignore[no-untyped-def]
    """Return the first columns of the summed and of the final power of the leading block, each (size,)."""
    block = np.ascontiguousarray(hessenberg[:size, :size])
    if method == FLOW:
        total, power = _continuous_powers(block, duration)
    else:
        total, power = _discrete_powers(block, np.int64(duration))
    return total[:, 0].copy(), power[:, 0].copy()


@jit
def _next_direction(scaled, method, basis, hessenberg, size):  # type: ignore[no-untyped-def]
    """Add one Arnoldi vector (orthogonalised twice); return the norm of what is new in it and of what it came from."""
    vector = _apply(scaled, method, basis[size - 1])
    before = np.sqrt(np.dot(vector, vector))
    for _ in range(2):
        overlap = np.dot(basis[:size], vector)
        hessenberg[:size, size - 1] += overlap
        vector -= np.dot(overlap, basis[:size])
    after = np.sqrt(np.dot(vector, vector))
    hessenberg[size, size - 1] = after
    if after > 0.0:
        basis[size] = vector / after
    return after, before


@jit
def dual_solution(kernel, target, rate, method, duration):  # type: ignore[no-untyped-def]
    """Return α = M_T·target and the final residual B^T·target, each (n,).

    Parameters: the Gram matrix ``kernel`` (n, n) of normalised features; ``rate`` the factor η (full batch, flow) or γ
    (per-sample) in front of it; ``method`` one of GD, SGD, FLOW; ``duration`` the number of steps (or the flow time).
    """
    n = target.size
    norm = np.sqrt(np.dot(target, target))
    if norm == 0.0 or duration == 0.0:
        return np.zeros(n), target.copy()
    scaled = rate * kernel
    basis = np.zeros((n + 1, n))
    hessenberg = np.zeros((n + 1, n))
    basis[0] = target / norm
    summed = np.zeros(n)
    final = np.zeros(n)
    size = 0
    check = min(_FIRST_CHECK if method != SGD else 2 * _FIRST_CHECK, n)
    while size < n:
        size += 1
        after, before = _next_direction(scaled, method, basis, hessenberg, size)
        closed = size == n or after <= 1e-15 * before
        if not closed and size < check:
            continue
        total, power = _small_function(hessenberg, size, method, duration)
        new_summed = norm * np.dot(total, basis[:size])
        new_final = norm * np.dot(power, basis[:size])
        change = max(np.max(np.abs(new_summed - summed)) / np.max(np.abs(new_summed)), 0.0)
        drift = np.max(np.abs(new_final - final)) / max(np.max(np.abs(new_final)), np.max(np.abs(target)) * 1e-3)
        summed, final = new_summed, new_final
        # A NaN here means overflow: more directions cannot help, and the caller sees non-finite numbers.
        if closed or max(change, drift) <= _TOLERANCE or not np.isfinite(change + drift):
            break
        check = min(size + max(4, size // 3), n)
    if method == SGD:
        solve_unit_lower(scaled, summed)
    return rate * summed, final
