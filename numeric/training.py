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
_GROWTH_TOLERANCE = 1e-6
_FIRST_CHECK = 8
_NEXT_CHECK = 4
_LANES = 8


@vectorised
def _sweep(kernel, order, rate, vector, change, duals):  # type: ignore[no-untyped-def]
    """Go once through the rows in ``order``: ``duals`` = A·vector, ``change`` = K·A·vector."""
    n = vector.size
    change[:] = 0.0
    for i in order:
        step = rate * (vector[i] - change[i])
        duals[i] = step
        row = kernel[i]
        for j in range(n):
            change[j] = fma(step, row[j], change[j])


@jit
def _apply(kernel, order, rate, method, vector, change, duals):  # type: ignore[no-untyped-def]
    """Write C·vector to ``change`` and, in the dual, what makes it to ``duals``."""
    if method == SGD:
        _sweep(kernel, order, rate, vector, change, duals)
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
def _arnoldi(kernel, order, target, rate, method, duration, tolerance):  # type: ignore[no-untyped-def]
    """Return a basis (size, n) and in it M_T·target and B^T·target of C, each (size,), in units of |target|.

    What a basis leaves out enters as if each step made the error duration·|e|·(the last component): when that is below
    ``tolerance`` times the solution, or the solution stays where it was, the basis is large enough.
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
        _apply(kernel, order, rate, method, basis[size], vector, duals)
        size += 1
        after, before = _next_direction(basis, hessenberg, size, vector)
        closed = size == n or after <= 1e-15 * before
        if not closed and size < check:
            continue
        previous = summed
        summed, final = _small_function(hessenberg, size, method, duration)
        length = np.sqrt(np.dot(summed, summed))
        defect = duration * after * np.abs(summed[size - 1])
        moved = summed.copy()
        moved[: previous.size] -= previous
        error = min(defect, np.sqrt(np.dot(moved, moved)))
        # Not finite means overflow: more directions cannot help, and the caller sees it.
        if closed or error <= tolerance * length or not np.isfinite(length):
            return basis[:size], summed, final
        check = min(size + _NEXT_CHECK, n)


@jit
def ordered_solution(kernel, order, target, rate, method, duration):  # type: ignore[no-untyped-def]
    """Return α = M_T·target (n,) and the final residual B^T·target, where per-sample descent goes by ``order`` (n,).

    Parameters: the Gram matrix ``kernel`` (n, n) of normalised features; ``rate`` the factor η (full batch, flow) or γ
    (per-sample) in front of it; ``method`` one of GD, SGD, FLOW; ``duration`` the number of steps (or the flow time).
    """
    norm = np.sqrt(np.dot(target, target))
    if norm == 0.0 or duration == 0.0:
        return np.zeros(target.size), target.copy()
    basis, summed, final = _arnoldi(kernel, order, target, rate, method, duration, _TOLERANCE)
    change, duals = np.empty(target.size), np.empty(target.size)
    _apply(kernel, order, rate, method, norm * np.dot(summed, basis), change, duals)
    return duals, norm * np.dot(final, basis)


@jit
def dual_solution(kernel, target, rate, method, duration):  # type: ignore[no-untyped-def]
    """Return ``ordered_solution`` for samples in the order of the rows."""
    return ordered_solution(kernel, np.arange(target.size), target, rate, method, duration)


@jit
def growth(kernel, order, target, rate, method, duration):  # type: ignore[no-untyped-def]
    """Return |B^T·target| / |target|, the growth of the residual of a read-out that starts from zero."""
    if duration == 0.0 or not np.any(target):
        return 1.0
    _, _, final = _arnoldi(kernel, order, target, rate, method, duration, _GROWTH_TOLERANCE)
    return np.sqrt(np.dot(final, final))
