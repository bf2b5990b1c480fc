"""The experiment of the paper written in three other ways, to be timed beside the engine (``engine.py``).

Each ``*_member(problem, generator or key)`` draws one network, trains it for ``steps`` sweeps of per-sample descent and
coarse-grains it at all cut-offs; they differ in the training.  Run with JAX as ``python contestants.py jax problem.npz``.
"""

import json
import os
import sys
import time
from collections import namedtuple
from importlib.metadata import version
from itertools import pairwise

import numpy as np
from scipy.linalg import blas, solve_triangular
from threadpoolctl import threadpool_limits

Problem = namedtuple("Problem", "x y test fisher cutoffs widths learning_rate steps")


def load(path):
    """Return the problem of a file written by ``engine.py``."""
    with np.load(path) as file:
        return Problem(**{name: file[name] for name in Problem._fields})


def features_of(problem, weights, x):
    """Return the outputs (width, n) of identity, ReLU, ReLU layers at x (n, d_in)."""
    first, second, third = weights
    return np.maximum(third @ np.maximum(second @ (first @ x.T), 0.0), 0.0)


def drawn(problem, generator):
    """Return the three hidden weight matrices, the read-out and its redraw."""
    sizes = [problem.x.shape[1], *problem.widths]
    hidden = [generator.standard_normal((m, n)) for n, m in pairwise(sizes)]
    return hidden, *generator.standard_normal((2, sizes[-1]))


def shells(problem, hidden, trained, redrawn):
    """Return f at all cut-offs (cutoffs, n_test), one product for all."""
    fisher = np.mean(features_of(problem, hidden, problem.fisher) ** 2, axis=1)
    weights = np.where(fisher >= problem.cutoffs[:, None], trained, redrawn)
    return weights @ features_of(problem, hidden, problem.test)


def primal_training(problem, seen, initial):
    """The authors' algorithm: 200 updates per sweep, each one dot product and one update of all weights (BLAS)."""
    rows, weights, rate = np.ascontiguousarray(seen.T), initial.copy(), 2.0 * float(problem.learning_rate)
    dot, update = blas.ddot, blas.daxpy
    samples = list(zip(rows, problem.y.tolist(), strict=True))
    for _ in range(int(problem.steps)):
        for row, target in samples:
            weights = update(row, weights, a=rate * (target - dot(row, weights)))
    return weights


def dual_training(problem, seen, initial):
    """Arnoldi on the Gram matrix, as the engine does it, by NumPy and LAPACK calls."""
    rate, n = 2.0 * float(problem.learning_rate), len(problem.y)
    kernel = rate * (seen.T @ seen)
    lower = np.tril(kernel, -1) + np.eye(n)
    target = problem.y - initial @ seen
    norm = np.linalg.norm(target)
    basis, matrix = np.zeros((n + 1, n)), np.zeros((n + 1, n))
    basis[0] = target / norm
    check, size = 16, 0
    while True:
        vector = kernel @ solve_triangular(lower, basis[size], lower=True, unit_diagonal=True, check_finite=False)
        size += 1
        for _ in range(2):
            overlap = basis[:size] @ vector
            matrix[:size, size - 1] += overlap
            vector -= overlap @ basis[:size]
        after = matrix[size, size - 1] = np.linalg.norm(vector)
        basis[size] = vector / after
        if size < check:
            continue
        grown = np.zeros((size + 1, size + 1))
        grown[:size, :size] = np.eye(size) - matrix[:size, :size]
        grown[0, size] = grown[size, size] = 1.0
        summed = np.linalg.matrix_power(grown, int(problem.steps))[:size, size]
        if problem.steps * after * abs(summed[-1]) <= 1e-14 * np.linalg.norm(summed):
            break
        check += 4
    dual = solve_triangular(lower, summed @ basis[:size], lower=True, unit_diagonal=True, check_finite=False)
    return initial + seen @ (rate * norm * dual)


def numpy_member(problem, generator, training):
    """Return f at all cut-offs of one member."""
    hidden, initial, redrawn = drawn(problem, generator)
    trained = training(problem, features_of(problem, hidden, problem.x), initial)
    return shells(problem, hidden, trained, redrawn)


def timed(work, repeats):
    """Return median and least process time and wall time of ``work(i)``, and the median over that of one dsyrk beside it."""
    matrix, out = np.random.default_rng(0).standard_normal((2000, 200)), np.zeros((200, 200), order="F")
    times = []
    work(0)
    for i in range(repeats):
        start = time.perf_counter(), time.process_time()
        for _ in range(5):
            blas.dsyrk(1.0, matrix.T, c=out, overwrite_c=1)
        middle = time.perf_counter(), time.process_time()
        work(i)
        end = time.perf_counter(), time.process_time()
        times.append([(middle[1] - start[1]) / 5, end[1] - middle[1], (middle[0] - start[0]) / 5, end[0] - middle[0]])
    array = np.array(times)
    unit, cpu, unit_wall, wall = np.median(array, axis=0)
    return {"unit": unit, "cpu": cpu, "least": array[:, 1].min(), "ratio": float(np.median(array[:, 1] / array[:, 0])),
            "wall": wall, "least_wall": array[:, 3].min(), "ratio_wall": wall / unit_wall}  # fmt: skip


def jax_member(problem, jax):
    """Return the compiled function of a key: the dual form with B^T by repeated squaring on the Gram matrix."""
    jnp, steps, rate = jax.numpy, int(problem.steps), 2.0 * float(problem.learning_rate)
    sizes = [problem.x.shape[1], *(int(width) for width in problem.widths)]
    n = len(problem.y)

    def features(weights, x):
        first, second, third = weights
        return jnp.maximum(third @ jnp.maximum(second @ (first @ x.T), 0.0), 0.0)

    def member(key):
        keys = jax.random.split(key, 5)
        shapes = [*zip(sizes[1:], sizes, strict=False), (sizes[-1],), (sizes[-1],)]
        *hidden, initial, redrawn = (jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True))
        seen = features(hidden, problem.x)
        kernel = rate * (seen.T @ seen)
        lower = jnp.tril(kernel, -1) + jnp.eye(n)
        solve = jax.scipy.linalg.solve_triangular
        update = solve(lower, jnp.eye(n), lower=True, unit_diagonal=True)
        # Σ_{t<T} B^t r by doubling, low bits first: whatever has been summed is moved on by B^(its number of terms).
        power, total = jnp.eye(n) - kernel @ update, jnp.zeros(n)
        term = problem.y - initial @ seen
        bits = steps
        while bits:
            if bits & 1:
                total = term + power @ total
            bits >>= 1
            if bits:
                term = term + power @ term
                power = power @ power
        trained = initial + seen @ (rate * (update @ total))
        fisher = jnp.mean(features(hidden, problem.fisher) ** 2, axis=1)
        weights = jnp.where(fisher >= problem.cutoffs[:, None], trained, redrawn)
        return weights @ features(hidden, problem.test)

    return jax.jit(member)


def jax_main(path):
    """Print timings of the JAX contestant as JSON."""
    import jax

    jax.config.update("jax_enable_x64", True)
    problem = load(path)
    start = time.perf_counter()
    function = jax_member(problem, jax)
    keys = jax.random.split(jax.random.PRNGKey(0), 400)
    function(keys[0]).block_until_ready()
    compiled = time.perf_counter() - start
    threads = len(os.sched_getaffinity(0))
    with threadpool_limits(limits=1):
        result = timed(lambda i: function(keys[i]).block_until_ready(), 60)
    print(json.dumps({**result, "compile": compiled, "threads": threads, "version": version("jax")}))


if __name__ == "__main__":
    jax_main(sys.argv[2])
