"""Networks per second, drawn and summed into all 2-, 4- and 6-point moments, beside NumPy (and JAX if installed).

Width 100, one input, six points: the settings of arXiv:2008.08601. Run as ``python benchmarks/npoint.py [members]``.
Each case runs in a process of its own, without the variables that choose a BLAS kernel for another machine.
"""

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
from scipy.special import erf
from threadpoolctl import threadpool_limits

import fieldflow as ff
from fieldflow.numeric.symmetric import sorted_tuples

WIDTH = 100
INPUTS = {
    "relu": (0.0, np.array([0.2, 0.4, 0.6, 0.8, 1.0, 1.2])),
    "erf": (1.0, np.array([-1.0, -0.6, -0.2, 0.2, 0.6, 1.0])),
    "exp": (1.0, 0.01 * np.array([-1.0, -0.6, -0.2, 0.2, 0.6, 1.0])),
}
BATCHES = (256, 1024, 4096)
REPEATS = 5
PAIRS, TRIPLES = (sorted_tuples(6, n).T for n in (2, 3))
CHOSEN = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def ours(name, members, threads, rao_blackwell):
    """Return the function that draws ``members`` networks."""
    sigma_b, x = INPUTS[name]
    net = ff.MLP(1, widths=(WIDTH,), activation=name, sigma_b=(sigma_b, 0.0))
    return lambda: ff.sample_correlators(net, x[:, None], members, threads=threads, rao_blackwell=rao_blackwell)


def by_numpy(name, batch):
    """Return the function that draws one batch and its moments with NumPy."""
    sigma_b, x = INPUTS[name]
    draw = np.random.Generator(np.random.SFC64(0))
    act = {
        "relu": lambda z: np.maximum(z, 0.0, out=z),
        "erf": lambda z: erf(z, out=z),
        "exp": lambda z: np.exp(z, out=z),
    }

    def run():
        hidden, bias, readout = (draw.standard_normal((batch, WIDTH)) for _ in range(3))
        z = hidden[:, :, None] * x + sigma_b * bias[:, :, None]
        f = np.einsum("bn,bnp->pb", readout, act[name](z)) / np.sqrt(WIDTH)
        two, three = f[PAIRS[0]] * f[PAIRS[1]], f[TRIPLES[0]] * f[TRIPLES[1]] * f[TRIPLES[2]]
        return f @ f.T, two @ two.T, three @ three.T

    return run


def by_jax(name, batch):
    """Return the same with JAX, compiled, in double precision."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    sigma_b, x = INPUTS[name]
    act = {"relu": lambda z: jnp.maximum(z, 0.0), "erf": jax.scipy.special.erf, "exp": jnp.exp}[name]

    @jax.jit
    def moments(key):
        hidden, bias, readout = jax.random.normal(key, (3, batch, WIDTH))
        f = jnp.einsum("bn,bnp->pb", readout, act(hidden[:, :, None] * x + sigma_b * bias[:, :, None])) / np.sqrt(WIDTH)
        two, three = f[PAIRS[0]] * f[PAIRS[1]], f[TRIPLES[0]] * f[TRIPLES[1]] * f[TRIPLES[2]]
        return f @ f.T, two @ two.T, three @ three.T

    key = jax.random.PRNGKey(0)
    return lambda: jax.block_until_ready(moments(key))


OTHERS = {"numpy": by_numpy, "jax": by_jax}


def per_second(run, networks, repeats=REPEATS):
    """Return thousand networks per second of the fastest run after a warm one: other processes only ever add time."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return networks / min(times) / 1e3


def one(who, name, threads, members):
    """Return thousand networks per second of one contender, of its best batch."""
    if who.startswith("ours"):
        return per_second(ours(name, members, threads, who == "ours"), members)
    if threads == 1 and hasattr(os, "sched_setaffinity"):  # XLA takes every processor it may use
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with threadpool_limits(limits=threads):
        return max(per_second(OTHERS[who](name, batch), batch, repeats=20) for batch in BATCHES)


def in_child(who, name, threads, members):
    """Return ``one`` of a new process with that number of threads."""
    number = str(threads)
    environment = {key: value for key, value in os.environ.items() if key not in CHOSEN}
    environment |= {"OMP_NUM_THREADS": number, "OPENBLAS_NUM_THREADS": number}
    command = [sys.executable, __file__, "--one", who, name, number, str(members)]
    return json.loads(subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout)


def main(members=1_000_000):
    """Print the table."""
    others = [who for who in OTHERS if find_spec(who)]
    print("also run:", ", ".join(others), "; not installed:", ", ".join(sorted(set(OTHERS) - set(others))) or "none")
    print(
        "| activation | threads | ours, read-out integrated | ours, plain |",
        " | ".join(others),
        "| ratio to the best |",
    )
    print("|" + "---|" * (5 + len(others)))
    for name in INPUTS:
        for threads in (1, 2):
            speeds = [in_child(who, name, threads, members) for who in ("ours", "ours-plain", *others)]
            cells = [f"{speed:.0f}" for speed in speeds]
            print("|", " | ".join([name, str(threads), *cells, f"{speeds[0] / max(speeds[2:]):.1f}"]), "|", flush=True)
    print(
        f"(thousand networks per second; ours: {members} networks a run, errors and all; others: best of batches {BATCHES})"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))))
    else:
        main(*(int(argument) for argument in sys.argv[1:2]))
