"""What does training do to the read-out? T steps of linear dynamics, evaluated in the dual as one matrix function.

With normalised features the residual obeys r -> B r per step, B = 1 - C: full batch C = ηK; per-sample descent in
fixed order C = K A, A = γ(1 + γL)^{-1} with L the strictly lower triangle of K; gradient flow the limit of many small
full-batch steps.  Only the action on a vector is needed, so an Arnoldi basis of C and a small matrix function replace
the T updates (checked against them in the tests).
"""

import numpy as np

from fieldflow.numeric.jit import fma, jit, vectorised
from fieldflow.numeric.tiles import add_product

GD, SGD, FLOW = 0, 1, 2
METHODS = {"gd": GD, "sgd": SGD, "gradient_flow": FLOW}

_TOLERANCE = 1e-14
_FIRST_CHECK = 8
_NEXT_CHECK = 4
_LANES = 8


@vectorised
def _sweep(kernel, rate, vector, change, duals):  # type: ignore[no-untyped-def]
    """Go once through the rows: ``duals`` = A·vector, ``change`` = K·A·vector (in the order of the samples)."""
    n = vector.size
    change[:] = 0.0
    for i in range(n):
        step = rate * (vector[i] - change[i])
        duals[i] = step
        row = kernel[i]
        for j in range(n):
            change[j] = fma(step, row[j], change[j])


@jit
def _apply(kernel, rate, method, vector, change, duals):  # type: ignore[no-untyped-def]
    """Write C·vector to ``change`` and, in the dual, what makes it to ``duals``."""
    if method == SGD:
        _sweep(kernel, rate, vector, change, duals)
        return
    duals[:] = rate * vector
    change[:] = 0.0
    add_product(change.reshape((1, -1)), duals.reshape((1, -1)), kernel)


@jit
def _squared(matrix, scratch):  # type: ignore[no-untyped-def]
    """Write matrix·matrix to ``scratch``."""
    scratch[:] = 0.0
    add_product(scratch, matrix, matrix)


@jit
def _raised(matrix, steps, vectors):  # type: ignore[no-untyped-def]
    """Return matrix^steps·vectors by binary powers; ``matrix`` is overwritten, ``vectors`` (size, columns) too."""
    scratch = np.empty_like(matrix)
    while steps > 0:
        if steps & 1:
            grown = np.zeros_like(vectors)
            add_product(grown, matrix, vectors)
            vectors = grown
        steps >>= 1
        if steps > 0:
            _squared(matrix, scratch)
            matrix, scratch = scratch, matrix
    return vectors


@jit
def _flow_step(generator, time):  # type: ignore[no-untyped-def]
    """Return (e^{generator·time·2^-k}, k) with k large enough for a Taylor series."""
    size = generator.shape[0]
    norm = np.sqrt(np.sum(generator * generator)) * time
    halvings = 0
    while norm > 0.125:
        norm *= 0.5
        halvings += 1
    step = time * 0.5**halvings
    term = np.eye(size)
    total = np.eye(size)
    for order in range(1, 20):
        following = np.zeros((size, size))
        add_product(following, generator, term)
        term = following * (step / order)
        total += term
    return total, halvings


@jit
def _small_function(hessenberg, size, method, duration):  # type: ignore[no-untyped-def]
    """Return M_T·e and B^T·e of the leading block, e the first unit vector, each (size,).

    Both are columns of the power of one larger matrix: [[B, e], [0, 1]]^T = [[B^T, Σ_{t<T} B^t e], [0, 1]], and of
    e^{t[[-C, e], [0, 0]]} for the flow.
    """
    # Whole vectors: a remainder column by column would cost more than the rest.
    padded = (size + _LANES) // _LANES * _LANES
    matrix = np.zeros((padded, padded))
    matrix[:size, :size] = -hessenberg[:size, :size].T
    matrix[0, size] = 1.0
    vectors = np.zeros((padded, _LANES))
    vectors[size, 0] = 1.0
    vectors[0, 1] = 1.0
    if method == FLOW:
        matrix, halvings = _flow_step(matrix, duration)
        for _ in range(halvings):
            scratch = np.empty_like(matrix)
            _squared(matrix, scratch)
            matrix = scratch
        vectors = _raised(matrix, 1, vectors)
    else:
        for i in range(size + 1):
            matrix[i, i] += 1.0
        vectors = _raised(matrix, np.int64(duration), vectors)
    return vectors[:size, 0].copy(), vectors[:size, 1].copy()


@jit
def _next_direction(basis, hessenberg, size, vector):  # type: ignore[no-untyped-def]
    """Orthogonalise ``vector`` (twice) and add it; return the norm of what is new in it and of what it came from.

    Column size - 1 of the Hessenberg matrix is row size - 1 of ``hessenberg``.
    """
    before = np.sqrt(np.dot(vector, vector))
    column = hessenberg[size - 1]
    column[:] = 0.0
    for _ in range(2):
        overlap = np.dot(basis[:size], vector)
        column[:size] += overlap
        vector -= np.dot(overlap, basis[:size])
    after = np.sqrt(np.dot(vector, vector))
    column[size] = after
    if after > 0.0:
        basis[size] = vector / after
    return after, before


@jit
def _arnoldi(kernel, target, rate, method, duration, limit):  # type: ignore[no-untyped-def]
    """Return a basis (size, n) and in it M_T·target and B^T·target of C, each (size,), in units of |target|.

    What a basis leaves out enters as if each step made an error of |last norm|·|last component of the solution|.  The
    basis is large enough when that is rounding beside the solution, or the solution stays where it was; if only the size
    of B^T·target beside ``limit`` (unless 0) is asked for, when that is certain.
    """
    n = target.size
    basis = np.empty((n + 1, n))
    hessenberg = np.empty((n, n + 1))
    basis[0] = target / np.sqrt(np.dot(target, target))
    vector, duals = np.empty(n), np.empty(n)
    summed = np.zeros(1)
    size = 0
    check = min(_FIRST_CHECK if method != SGD else 2 * _FIRST_CHECK, n)
    while True:
        _apply(kernel, rate, method, basis[size], vector, duals)
        size += 1
        after, before = _next_direction(basis, hessenberg, size, vector)
        closed = size == n or after <= 1e-15 * before
        if not closed and size < check:
            continue
        previous = summed
        summed, final = _small_function(hessenberg, size, method, duration)
        length = np.sqrt(np.dot(summed, summed))
        moved = summed.copy()
        moved[: previous.size] -= previous
        error = min(duration * after * np.abs(summed[size - 1]), np.sqrt(np.dot(moved, moved)))
        enough = error <= _TOLERANCE * length
        if limit > 0.0:
            # The residual is the target less C times the solution.
            block = hessenberg[:size, :size]
            enough = np.sqrt(np.sum(block * block)) * error < np.abs(np.sqrt(np.dot(final, final)) - limit)
        # Not finite means overflow: more directions cannot help, and the caller sees it.
        if closed or enough or not np.isfinite(length):
            return basis[:size], summed, final
        check = min(size + _NEXT_CHECK, n)


@jit
def dual_solution(kernel, target, rate, method, duration):  # type: ignore[no-untyped-def]
    """Return α = M_T·target and the final residual B^T·target, each (n,).

    Parameters: the Gram matrix ``kernel`` (n, n) of normalised features; ``rate`` the factor η (full batch, flow) or γ
    (per-sample) in front of it; ``method`` one of GD, SGD, FLOW; ``duration`` the number of steps (or the flow time).
    """
    norm = np.sqrt(np.dot(target, target))
    if norm == 0.0 or duration == 0.0:
        return np.zeros(target.size), target.copy()
    basis, summed, final = _arnoldi(kernel, target, rate, method, duration, 0.0)
    change, duals = np.empty(target.size), np.empty(target.size)
    _apply(kernel, rate, method, norm * np.dot(summed, basis), change, duals)
    return duals, norm * np.dot(final, basis)


@jit
def grows_beyond(kernel, target, rate, method, duration, limit):  # type: ignore[no-untyped-def]
    """Return whether |B^T·target| > limit·|target|, or is not finite: does training from zero diverge?"""
    if duration == 0.0 or not np.any(target):
        return False
    _, _, final = _arnoldi(kernel, target, rate, method, duration, limit)
    return not np.sqrt(np.dot(final, final)) <= limit
