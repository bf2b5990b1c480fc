"""What does training do to the read-out? T steps of linear dynamics, evaluated in the dual as one matrix function.

With normalised features the residual obeys r -> B r per step, B = 1 - C: full batch C = ηK; per-sample descent in
fixed order C = K A, A = γ(1 + γL)^{-1} with L the strictly lower triangle of K; gradient flow the limit of many small
full-batch steps.  Only the action on a vector is needed, so an Arnoldi basis of C and a small matrix function replace
the T updates (checked against them in the tests).
"""

import numpy as np

from fieldflow.numeric.jit import fma, jit, merged, vectorised
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
    """Write C·vector to ``change`` and, in the dual, what makes it to ``duals``; all but the kernel are (1, n)."""
    if method == SGD:
        _sweep(kernel, rate, vector[0], change[0], duals[0])
        return
    for i in range(vector.shape[1]):
        duals[0, i] = rate * vector[0, i]
        change[0, i] = 0.0
    add_product(change, duals, kernel)


@merged
def _raised(matrix, squarings, vectors, steps):  # type: ignore[no-untyped-def]
    """Return (matrix^(2^squarings))^steps·vectors by binary powers; ``matrix`` and ``vectors`` are overwritten."""
    scratch, moved = np.empty(matrix.shape), np.empty(vectors.shape)
    while steps > 0:
        if squarings == 0:
            if steps & 1:
                moved[:] = 0.0
                add_product(moved, matrix, vectors)
                vectors, moved = moved, vectors
            steps >>= 1
        else:
            squarings -= 1
        if steps > 0:
            scratch[:] = 0.0
            add_product(scratch, matrix, matrix)
            matrix, scratch = scratch, matrix
    return vectors


@merged
def _flow_step(generator, time):  # type: ignore[no-untyped-def]
    """Overwrite ``generator`` by e^{generator·time·2^-k} with k large enough for a Taylor series; return k."""
    square = 0.0
    for i in range(generator.shape[0]):
        for j in range(generator.shape[1]):
            square += generator[i, j] * generator[i, j]
    norm = np.sqrt(square) * time
    halvings = 0
    while norm > 0.125:
        norm *= 0.5
        halvings += 1
    step = time * 0.5**halvings
    term, total, following = np.zeros(generator.shape), np.zeros(generator.shape), np.empty(generator.shape)
    for i in range(generator.shape[0]):
        term[i, i] = total[i, i] = 1.0
    for order in range(1, 20):
        following[:] = 0.0
        add_product(following, generator, term)
        for i in range(term.shape[0]):
            for j in range(term.shape[1]):
                term[i, j] = following[i, j] * (step / order)
                total[i, j] += term[i, j]
    for i in range(term.shape[0]):
        for j in range(term.shape[1]):
            generator[i, j] = total[i, j]
    return halvings


@merged
def _small_function(hessenberg, size, method, duration):  # type: ignore[no-untyped-def]
    """Return M_T·e and B^T·e of the leading block, e the first unit vector, as columns 0 and 1 of an array.

    Both are columns of the power of one larger matrix: [[B, e], [0, 1]]^T = [[B^T, Σ_{t<T} B^t e], [0, 1]], and of
    e^{t[[-C, e], [0, 0]]} for the flow.
    """
    # Whole vectors: a remainder column by column would cost more than the rest.
    padded = (size + _LANES) // _LANES * _LANES
    matrix, vectors = np.zeros((padded, padded)), np.zeros((padded, _LANES))
    for i in range(size):
        for j in range(size):
            matrix[i, j] = -hessenberg[j, i]
    matrix[0, size] = 1.0
    vectors[size, 0] = 1.0
    vectors[0, 1] = 1.0
    squarings, steps = 0, np.int64(1)
    if method == FLOW:
        squarings = _flow_step(matrix, duration)
    else:
        steps = np.int64(duration)
        for i in range(size + 1):
            matrix[i, i] += 1.0
    return _raised(matrix, squarings, vectors, steps)


@vectorised
def _subtract(vector, factor, direction):  # type: ignore[no-untyped-def]
    """Subtract factor·direction from ``vector``."""
    for i in range(vector.size):
        vector[i] = fma(-factor, direction[i], vector[i])


@merged
def _next_direction(basis, hessenberg, size, vector):  # type: ignore[no-untyped-def]
    """Orthogonalise ``vector`` (twice) and add it; return the norm of what is new in it and of what it came from.

    Column size - 1 of the Hessenberg matrix is row size - 1 of ``hessenberg``.
    """
    before = np.sqrt(np.dot(vector, vector))
    column = hessenberg[size - 1]
    column[:] = 0.0
    for _ in range(2):
        overlap = np.dot(basis[:size], vector)
        for i in range(size):
            column[i] += overlap[i]
            _subtract(vector, overlap[i], basis[i])
    after = np.sqrt(np.dot(vector, vector))
    column[size] = after
    scale = 1.0 / after if after > 0.0 else 0.0
    for i in range(vector.size):
        basis[size, i] = vector[i] * scale
    return after, before


@merged
def _left_out(powers, earlier, size, weight):  # type: ignore[no-untyped-def]
    """Return by how much the solution, column 0 of ``powers``, may be off, and its length.

    What a basis leaves out enters as if each step made an error of |last norm|·|last component|, ``weight`` being steps
    times that norm; but no more than the solution has moved since the ``earlier`` basis.
    """
    length = moved = 0.0
    for i in range(size):
        length += powers[i, 0] ** 2
        before = earlier[i, 0] if i < earlier.shape[0] else 0.0
        moved += (powers[i, 0] - before) ** 2
    return min(weight * np.abs(powers[size - 1, 0]), np.sqrt(moved)), np.sqrt(length)


@jit
def solve(kernel, target, rate, method, duration, first_check):  # type: ignore[no-untyped-def]
    """Return α = M_T·target, the final residual B^T·target, each (n,), and the size of the basis that it took.

    Parameters: the Gram matrix ``kernel`` (n, n) of normalised features; ``rate`` the factor η (full batch, flow) or γ
    (per-sample) in front of it; ``method`` one of GD, SGD, FLOW; ``duration`` the number of steps (or the flow time);
    ``first_check`` the size at which to look first whether the basis is large enough, 0 if one has no idea.
    """
    n = target.size
    norm = np.sqrt(np.dot(target, target))
    if norm == 0.0 or duration == 0.0:
        return np.zeros(n), target.copy(), 0
    basis, hessenberg = np.empty((n + 1, n)), np.empty((n, n + 1))
    vector, duals = np.empty((1, n)), np.empty((1, n))
    for i in range(n):
        basis[0, i] = target[i] / norm
    powers = np.zeros((1, 2))
    size = 0
    usual = _FIRST_CHECK if method != SGD else 2 * _FIRST_CHECK
    check = min(first_check if first_check > 0 else usual, n)
    while True:
        _apply(kernel, rate, method, basis[size : size + 1], vector, duals)
        size += 1
        after, before = _next_direction(basis, hessenberg, size, vector[0])
        closed = size == n or after <= 1e-15 * before
        if not closed and size < check:
            continue
        earlier = powers
        powers = _small_function(hessenberg, size, method, duration)
        error, length = _left_out(powers, earlier, size, duration * after)
        # Not finite means overflow: more directions cannot help, and the caller sees it.
        if closed or error <= _TOLERANCE * length or not np.isfinite(length):
            break
        check = min(size + _NEXT_CHECK, n)
    residual = np.dot(powers[:size, 1].copy(), basis[:size])
    summed = np.dot(powers[:size, 0].copy(), basis[:size]).reshape((1, n))
    _apply(kernel, rate, method, summed, vector, duals)
    for i in range(n):
        duals[0, i] *= norm
        residual[i] *= norm
    return duals[0], residual, size


@jit
def dual_solution(kernel, target, rate, method, duration):  # type: ignore[no-untyped-def]
    """Return α = M_T·target and the final residual B^T·target, each (n,); see ``solve``."""
    solution, residual, _ = solve(kernel, target, rate, method, duration, 0)
    return solution, residual
