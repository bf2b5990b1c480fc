"""How fast and how right is neural-tangents 0.6.5 on the networks of ``kernels.py``? Prints JSON.

It needs an environment of its own, because it does not import under JAX >= 0.6 (nor under tf2jax > 0.3.6 with older JAX)::

    python -m venv ntenv
    ntenv/bin/pip install neural-tangents==0.6.5 jax==0.5.3 jaxlib==0.5.3 tf2jax==0.3.6 'numpy<2'
    ntenv/bin/python benchmarks/neural_tangents_baseline.py speed > speed.json
    ntenv/bin/python benchmarks/neural_tangents_baseline.py values > values.json
    ntenv/bin/python benchmarks/neural_tangents_baseline.py predict > predict.json

``speed [threads]``: 2000 × 2000 points. ``values``: generic and degenerate pairs. ``predict``: ensemble means in training.
``python benchmarks/kernels.py --baseline ntenv/bin/python`` runs these and compares. The names above the first function
and the pure NumPy functions are shared with ``kernels.py``, which imports them without importing JAX.
"""

import json
import os
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

SIGMA_W, SIGMA_B = 1.3, 0.4
POINTS, D_IN, DEPTH, REPEATS = 2000, 10, 3, 7
TIMED = ("relu", "erf")
ACTIVATIONS = ("relu", "erf", "sign", "abs", "gelu", "sin", "cos", "rectified square", "rectified cube")
DEPTHS = (1, 3, 5)
BIASES = (0.4, 0.0)
PAIRS = 8  # of each degenerate kind
PREDICT_TIMES = (1.0, 10.0, 100.0)


def speed_points():
    """Return the points of the timed problem, (2000, 10)."""
    return np.random.default_rng(0).standard_normal((POINTS, D_IN))


def point_sets():
    """Return {"generic": (x1, x2)} and, per degenerate kind, points p_0, q_0, p_1, q_1, ... as rows."""
    rng = np.random.default_rng(1)
    p, q, direction = rng.standard_normal((3, PAIRS, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    pairs = {
        "identical": (p, p),
        "1e-3 apart": (p, p + 1e-3 * direction),
        "1e-6 apart": (p, p + 1e-6 * direction),
        "1e-9 apart": (p, p + 1e-9 * direction),
        "antipodal": (p, -p),
        "collinear": (p, 2.0 * p),
        "tiny": (1e-8 * p, 1e-8 * q),
        "huge": (1e6 * p, 1e6 * q),
        "huge, 1e-9 apart": (1e6 * p, 1e6 * (p + 1e-9 * direction)),
        "zero vector": (p, np.zeros_like(p)),
    }
    generic = rng.standard_normal((2, 8, 3))
    return {"generic": tuple(generic), **{kind: np.stack(both, 1).reshape(-1, 3) for kind, both in pairs.items()}}


def entries(kernels, kind, given):
    """Return the two kernels' values: all of generic pairs, K_pp, K_pq, K_qq of degenerate ones; None if refused."""
    try:
        if kind == "generic":
            return [np.asarray(kernel).ravel().tolist() for kernel in kernels(*given)]
        found = [np.asarray(kernel).reshape(PAIRS, 2, PAIRS, 2) for kernel in kernels(given, None)]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    k = np.arange(PAIRS)
    return [np.stack([a[k, 0, k, 0], a[k, 0, k, 1], a[k, 1, k, 1]], 1).tolist() for a in found]


def all_values(kernels_of, activations=ACTIVATIONS):
    """Return {"activation/b/depth/kind": [nngp values, ntk values]} for kernels_of(activation, b, depth)(x1, x2)."""
    found = {}
    for name in activations:
        for bias in BIASES:
            for depth in DEPTHS:
                kernels = kernels_of(name, bias, depth)
                for kind, given in point_sets().items():
                    found[f"{name}/{bias}/{depth}/{kind}"] = entries(kernels, kind, given)
    return found


def predict_problem():
    """Return x_train, y_train, x_test, the activation, the depth and neural-tangents' learning rate."""
    rng = np.random.default_rng(2)
    return rng.standard_normal((6, 3)), rng.standard_normal((6, 2)), rng.standard_normal((3, 3)), "relu", 2, 0.1


def measured(call, small_call):
    """Return seconds of small_call and the first call, median and least of REPEATS more, and the peak beyond outputs.

    The peak (ru_maxrss) is counted from what is resident after small_call, less the two output matrices.
    """
    start = time.perf_counter()
    small_call()
    small = time.perf_counter() - start
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    times = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    warm = sorted(times[1:])
    extra = peak - before - 2 * 8 * POINTS**2 / 1e6
    return {"small_s": small, "first_s": times[0], "warm_s": warm[REPEATS // 2], "least_s": warm[0], "extra_mb": extra}


# --- below: runs in the environment of neural-tangents only -------------------------------------------------------


def quiet_jax():
    """Return jax, on the CPU and in double precision."""
    os.environ.update(JAX_PLATFORMS="cpu", JAX_ENABLE_X64="1", TF_CPP_MIN_LOG_LEVEL="3")
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


def kernel_function(name, bias, depth):
    """Return kernel_fn of the fully connected network."""
    from neural_tangents import stax

    layer = {
        "relu": stax.Relu,
        "erf": stax.Erf,
        "sign": stax.Sign,
        "abs": stax.Abs,
        "gelu": stax.Gelu,
        "sin": stax.Sin,
        "cos": stax.Cos,
        "rectified square": lambda: stax.RectifiedMonomial(2),
        "rectified cube": lambda: stax.RectifiedMonomial(3),
    }[name]

    def dense():
        return stax.Dense(1, W_std=SIGMA_W, b_std=bias, parameterization="ntk")

    return stax.serial(*(part for _ in range(depth) for part in (dense(), layer())), dense())[2]


def kernels_of(name, bias, depth):
    """Return (x1, x2) -> (nngp, ntk), called as its documentation does, without jit."""
    kernel_fn = kernel_function(name, bias, depth)
    return lambda x1, x2: kernel_fn(x1, x2, ("nngp", "ntk"))


def speed_one(name):
    """Return the measurement of one activation in this process."""
    jax = quiet_jax()
    kernel_fn = kernel_function(name, SIGMA_B, DEPTH)
    both = jax.jit(lambda x: tuple(kernel_fn(x, None, ("nngp", "ntk"))))
    x = jax.numpy.asarray(speed_points())
    return measured(lambda: jax.block_until_ready(both(x)), lambda: jax.block_until_ready(both(x[:16])))


def speed(threads="2"):
    """Return the measurements, one process per activation, on that many cores (children inherit the affinity)."""
    cores = sorted(os.sched_getaffinity(0))[: int(threads)]
    os.sched_setaffinity(0, cores)
    command = [sys.executable, __file__, "speed-one"]
    return {name: json.loads(subprocess.check_output([*command, name])) for name in TIMED}


def values():
    """Return the kernels of all activations, biases, depths and kinds of points."""
    quiet_jax()
    return all_values(kernels_of)


def predict():
    """Return the ensemble means on the test points at each time, trained by the tangent kernel."""
    quiet_jax()
    import neural_tangents as nt

    x_train, y_train, x_test, name, depth, rate = predict_problem()
    kernel_fn = kernel_function(name, SIGMA_B, depth)
    ensemble = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x_train, y_train, learning_rate=rate, diag_reg=0.0)
    return {str(t): np.asarray(ensemble(t=t, x_test=x_test, get="ntk")).tolist() for t in PREDICT_TIMES}


def main(mode, *arguments):
    """Print the JSON of one mode."""
    found = {"speed": speed, "speed-one": speed_one, "values": values, "predict": predict}[mode](*arguments)
    if mode != "speed-one":
        names = ("neural-tangents", "jax", "jaxlib", "tf2jax", "numpy", "scipy")
        found = {"versions": {name: version(name) for name in names}, mode: found}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["values"]))
