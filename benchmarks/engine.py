"""What does one member of the paper's experiment cost, beside what else one might use? Writes docs/performance.md.

Run as ``python benchmarks/engine.py [--jax PYTHON] [--members N] [--many N] [--out FILE]``; PYTHON is an interpreter that has JAX,
NumPy, SciPy and threadpoolctl.  Every measurement runs in a process of its own, with the machine's own BLAS kernels.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import contestants
import numba
import numpy as np
from threadpoolctl import threadpool_limits

from fieldflow.numeric.ensemble import Shell, Training, empty_sample, simulate_block
from fieldflow.numeric.mlp import Architecture
from fieldflow.numeric.training import SGD
from fieldflow.workers import BLOCK, in_blocks

_IN_PLACE = numba.types.void(numba.types.float64[::1])


def relu(values):
    """Rectify in place."""
    for i in range(values.size):
        values[i] = values[i] if values[i] > 0.0 else 0.0


def identity(values):
    """Leave the values as they are."""


def engine_block(problem, first=0, members=BLOCK):
    """Run members of ``problem`` through the compiled engine alone; return what ``simulate_block`` fills."""
    widths = np.array(problem.widths, dtype=np.int64)
    net = Architecture(2, widths, np.ones(len(widths) + 1), np.zeros(len(widths) + 1))
    training = Training(
        np.ascontiguousarray(problem.x.T), problem.y[:, None], 2.0 * float(problem.learning_rate), SGD,
        float(problem.steps),
    )  # fmt: skip
    shell = Shell(problem.cutoffs, np.ascontiguousarray(problem.fisher.T), 1.0, True)
    out = empty_sample(members, len(problem.cutoffs), len(problem.test), len(problem.x), 1)
    activations = tuple(_COMPILED[name] for name in ("identity", "relu", "relu"))
    points, stop = np.ascontiguousarray(problem.test.T), np.zeros(1, np.uint8)
    simulate_block(net, activations, np.uint64(0), first, points, training, shell, np.empty((0, 0)), out, stop)
    return out


_COMPILED = {"identity": numba.cfunc(_IN_PLACE)(identity), "relu": numba.cfunc(_IN_PLACE)(relu)}


def peak_megabytes():
    """Return the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reduced(problem, members, threads):
    """Sample members on a pool of threads, keeping of each block only its sum of outputs, as an ensemble of any size does."""

    def work(first, count, stop):
        return engine_block(problem, first, count).outputs.sum(axis=0)

    return sum(in_blocks(work, members, threads=threads))


def child_engine(path):
    """Time the engine alone, in a process that imports NumPy, SciPy (for Numba) and Numba."""
    problem = contestants.load(path)
    heavy = [name for name in ("sympy", "jax", "torch", "matplotlib", "pydantic") if name in sys.modules]
    with threadpool_limits(limits=1):
        one = contestants.timed(lambda i: engine_block(problem, 0), 30)
        two = contestants.timed(lambda i: reduced(problem, 4 * BLOCK, 2), 30)
    return {"one": one, "two": two, "memory": peak_megabytes(), "imports": heavy}


def child_contestant(path, name, repeats):
    """Time one of the other ways on however many threads this process may use."""
    problem, generator = contestants.load(path), np.random.default_rng(0)
    training = getattr(contestants, f"{name}_training")
    with threadpool_limits(limits=len(os.sched_getaffinity(0))):
        result = contestants.timed(lambda i: contestants.numpy_member(problem, generator, training), int(repeats))
    return {**result, "memory": peak_megabytes()}


def child_agreement(path):
    """Return the largest relative difference of f (at Λ = 0) between step-by-step training, NumPy's dual and the engine."""
    problem = contestants.load(path)._replace(cutoffs=np.zeros(1))
    from fieldflow.numeric import rng

    sizes = [2, *problem.widths]
    counts = [m * (n + 1) for n, m in pairwise(sizes)]
    worst = np.zeros(2)
    for member in range(3):
        numbers = np.split(rng.normals(sum(counts), seed=0, member=member, stream=rng.HIDDEN), np.cumsum(counts)[:-1])
        hidden = [part.reshape(m, -1)[:, :-1] for part, m in zip(numbers, sizes[1:], strict=False)]
        initial = rng.normals(sizes[-1], seed=0, member=member, stream=rng.READOUT)
        seen = contestants.features_of(problem, hidden, problem.x)
        found = [train(problem, seen, initial) for train in (contestants.primal_training, contestants.dual_training)]
        stepwise, dual = (contestants.shells(problem, hidden, weights, initial)[0] for weights in found)
        ours = engine_block(problem, member, 1).outputs[0, 0, :, 0]
        scale = np.abs(stepwise).max()
        worst = np.maximum(worst, [np.abs(ours - stepwise).max() / scale, np.abs(dual - stepwise).max() / scale])
    return {"engine": worst[0], "numpy": worst[1]}


def child_slopes(path):
    """Return ms per member for a range of each size, with the others as in the paper."""
    problem, generator = contestants.load(path), np.random.default_rng(5)
    more = generator.normal(1.0, 1.0, (800, 2))
    target = (1 - more[:, 0]) ** 2 - (more[:, 1] - more[:, 0] ** 2) / 2
    cases = {
        "width N": [(n, problem._replace(widths=np.array([10, 10, n])), BLOCK) for n in (500, 1000, 2000, 4000, 8000)],
        "members": [(m, problem, m) for m in (64, 128, 256, 512)],
        "training samples": [(n, problem._replace(x=more[:n], y=target[:n]), 32) for n in (50, 100, 200, 400, 800)],
        "cut-offs": [(c, problem._replace(cutoffs=np.geomspace(1e-4, 1e5, c)), BLOCK) for c in (1, 10, 26, 100, 300)],
        "test inputs": [(n, problem._replace(test=more[:n]), BLOCK) for n in (50, 100, 200, 400, 800)],
    }
    result = {}
    with threadpool_limits(limits=1):
        engine_block(problem)
        for name, rows in cases.items():
            result[name] = []
            for size, case, members in rows:
                times = []
                for _ in range(3):
                    start = time.process_time()
                    for first in range(0, members, BLOCK):
                        engine_block(case, first, min(BLOCK, members))
                    times.append(time.process_time() - start)
                result[name].append((size, min(times) / (1 if name == "members" else members)))
    return result


def child_start(path):
    """Sample one block and return the time since this process was started."""
    engine_block(contestants.load(path))
    return {"seconds": time.time() - float(os.environ["STARTED"]), "memory": peak_megabytes()}


def child_public(path, members):
    """Sample ``members`` of the shipped experiment through ``Ensemble`` on two threads, keeping mean losses per block."""
    from fieldflow.experiment import load_experiment
    from fieldflow.studies.shell import case_of

    case = case_of(load_experiment("paper", members=int(members)), 0, 2)
    start, cpu = time.perf_counter(), time.process_time()

    def losses(block):
        with np.errstate(over="ignore", invalid="ignore"):
            return np.mean((block.outputs[..., 0] - case.y_test) ** 2, axis=(0, 2)), int(block.diverged.sum())

    parts = case.ensemble().simulate(case.x_test, losses)
    seconds, busy = time.perf_counter() - start, time.process_time() - cpu
    total = time.time() - float(os.environ["STARTED"])
    diverged = sum(part[1] for part in parts)
    return {"seconds": seconds, "cpu": busy, "process": total, "memory": peak_megabytes(), "diverged": diverged}


def child_statistics(path, members):
    """Return what mean, covariance, moments, histograms and quantiles of f at four test inputs and all cut-offs take."""
    import fieldflow as ff

    problem = contestants.load(path)
    net = ff.MLP(2, widths=problem.widths.tolist(), activation=("identity", "relu", "relu"), scaling="unscaled")
    trained = ff.Ensemble(net, int(members), threads=2).train(
        problem.x, problem.y, learning_rate=float(problem.learning_rate), steps=int(problem.steps), method="sgd"
    )
    start = time.perf_counter()
    found = trained.coarse_grain(problem.cutoffs, fisher=problem.fisher).statistics(problem.test[:4], progress=False)
    seconds = time.perf_counter() - start
    answers = found.covariance_std_error, found.moment_std_error(6), found.quantile(0.01), *found.histogram(0, 0)
    if not all(np.all(np.isfinite(part)) for part in answers):
        raise ValueError("a statistic is not finite")
    return {"seconds": seconds, "memory": peak_megabytes(), "members": int(members)}


CHILDREN = {name.removeprefix("child_"): function for name, function in globals().items() if name.startswith("child_")}


def run(arguments, cache, *, python=sys.executable, script=__file__, cores=None):
    """Run one measurement in a process of its own (on the first ``cores`` processors) and return its JSON."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    if cores == 1:
        environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    environment |= {"FIELDFLOW_CACHE_DIR": str(cache), "STARTED": repr(time.time())}
    allowed = sorted(os.sched_getaffinity(0))

    def confine():
        if cores:
            os.sched_setaffinity(0, allowed[-cores:])

    command = [python, str(script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, preexec_fn=confine)
    return json.loads(done.stdout.splitlines()[-1])


def paper_problem(path):
    """Write the data and settings of the shipped experiment ``paper``."""
    from fieldflow.experiment import load_experiment
    from fieldflow.studies.shell import case_of

    case = case_of(load_experiment("paper"), 0, 1)
    np.savez(
        path, x=case.x_train, y=case.y_train, test=case.x_test, fisher=case.law.points, cutoffs=case.cutoffs,
        widths=np.array(case.net.finite_widths), learning_rate=case.trained.learning_rate, steps=case.trained.steps,
    )  # fmt: skip


def measure(jax, members, many):
    """Return everything that is measured."""
    with tempfile.TemporaryDirectory() as place:
        cache, path = Path(place) / "cache", Path(place) / "problem.npz"
        paper_problem(path)
        result = {"cold": run(["start", path], Path(place) / "fresh")}
        result["warm"] = min(
            (run(["start", path], Path(place) / "fresh") for _ in range(3)), key=lambda r: r["seconds"]
        )
        result["public cold"] = run(["public", path, 64], cache)
        result["public warm"] = min((run(["public", path, 64], cache) for _ in range(3)), key=lambda r: r["process"])
        result["agreement"] = run(["agreement", path], cache)
        result["engine"] = run(["engine", path], cache)
        for name, repeats in (("dual", 60), ("primal", 3)):
            for cores in (1, 2) if name == "dual" else (1,):
                result[f"{name} {cores}"] = run(["contestant", path, name, repeats], cache, cores=cores)
        if jax:
            script = Path(__file__).parent / "contestants.py"
            for cores in (1, 2):
                result[f"jax {cores}"] = run(["jax", path], cache, python=jax, script=script, cores=cores)
        result["slopes"] = run(["slopes", path], cache)
        result["public"] = run(["public", path, members], cache)
        for name, number in (("few", 640), ("many", many)):
            result[name] = run(["statistics", path, number], cache)
        return {**result, "members": members}


def exponent(rows):
    """Return the slope of log time against log size between the two largest sizes."""
    (small, before), (large, after) = rows[-2:]
    return np.log(after / before) / np.log(large / small)


def contest(result):
    """Return the table of contestants."""
    one, two = result["engine"]["one"], result["engine"]["two"]
    ms = 1e3 / BLOCK
    rows = [
        ("fieldflow", one["cpu"] * ms, one["least"] * ms, one["ratio"] / BLOCK, two["wall"] * ms / 4,
         two["least_wall"] * ms / 4),
    ]  # fmt: skip
    names = {"dual": "NumPy and LAPACK, dual form (Arnoldi)", "jax": "JAX, jit, dual form (repeated squaring)",
             "primal": "the authors' algorithm: 200 000 updates, two BLAS calls each"}  # fmt: skip
    for key, name in names.items():
        if f"{key} 1" not in result:
            continue
        first, second = result[f"{key} 1"], result.get(f"{key} 2", {})
        rows.append((name, 1e3 * first["cpu"], 1e3 * first["least"], first["ratio"],
                     1e3 * second.get("wall", np.nan), 1e3 * second.get("least_wall", np.nan)))  # fmt: skip
    lines = ["| | 1 thread, ms (least) | in Gram products | × ours | 2 threads, ms (least) |", "|---|---|---|---|---|"]
    for name, median, least, ratio, wall, least_wall in rows:
        both = "" if np.isnan(wall) else f"{wall:.2f} ({least_wall:.2f})"
        lines.append(f"| {name} | {median:.2f} ({least:.2f}) | {ratio:.2f} | {ratio / rows[0][3]:.1f} | {both} |")
    return lines


def page(result):
    """Return the page of the documentation."""
    engine, public, many = result["engine"], result["public"], result["many"]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "numba"))
    jax = f"JAX {result['jax 1']['version']}" if "jax 1" in result else "JAX was not installed and did not run"
    seconds = public["seconds"] * 100_000 / result["members"]
    lines = [
        "# Performance of the sampling engine",
        "",
        f"Written by `benchmarks/engine.py` on {len(os.sched_getaffinity(0))} cores ({platform.machine()}, "
        f"{'AVX-512' if 'avx512f' in Path('/proc/cpuinfo').read_text() else 'no AVX-512'}), Python "
        f"{platform.python_version()}, {libraries}; {jax}. Other work may have run on the same cores: times on one thread are "
        "processor times, and ratios are taken in pairs within one process.",
        "",
        "## One member of `paper`",
        "",
        "Weights drawn, 200 samples, 1000 sweeps of per-sample descent, Fisher information on 10 inputs, "
        "26 cut-offs × 200 test inputs. One Gram product is one BLAS `dsyrk` of 200 × 200 × 2000 in the same process "
        f"({1e3 * engine['one']['unit']:.2f} ms).",
        "",
        *contest(result),
        "",
        f"Largest relative difference of f from step-by-step training over 3 members: {result['agreement']['engine']:.1e} "
        f"(NumPy's dual form: {result['agreement']['numpy']:.1e}).",
        "",
        "## Start and memory",
        "",
        "| | first ever (compiles) | warm | peak memory |",
        "|---|---|---|---|",
        f"| the engine alone: process start to 64 members | {result['cold']['seconds']:.1f} s | "
        f"{result['warm']['seconds']:.2f} s | {engine['memory']:.0f} MB |",
        f"| through `Ensemble` (derives and compiles with SymPy) | {result['public cold']['process']:.1f} s | "
        f"{result['public warm']['process']:.2f} s | {public['memory']:.0f} MB |",
        "",
        f"The engine alone imports NumPy, SciPy (Numba's own linear algebra needs it) and Numba"
        f"{'' if not engine['imports'] else ' and ' + ', '.join(engine['imports'])}.",
        "",
        f"{result['members']} members of `paper` on 2 threads through `Ensemble.simulate`: {public['seconds']:.1f} s, "
        f"{public['cpu']:.1f} s of processor time; that is {seconds:.0f} s (at full use of two cores "
        f"{public['cpu'] / 2 * 100_000 / result['members']:.0f} s) per 100 000.",
        "",
        f"Statistics of {many['members']} members at four test inputs and 26 cut-offs (`Ensemble.statistics`: means, "
        "covariances, moments to the sixth, histograms and quantiles, with errors) on 2 threads: "
        f"{many['seconds']:.0f} s, {many['memory']:.0f} MB at most; of 640 members {result['few']['memory']:.0f} MB.",
        "",
        "## How the time grows",
        "",
        "Milliseconds per member (for members: in all) on one thread; the exponent is that between the last two sizes.",
        "",
        "| | | exponent |",
        "|---|---|---|",
    ]
    for name, rows in result["slopes"].items():
        values = ", ".join(f"{size}: {1e3 * seconds:.2f}" for size, seconds in rows)
        lines.append(f"| {name} | {values} | {exponent(rows):.2f} |")
    return "\n".join(lines) + "\n"


def main():
    """Measure everything and write the page; or, with the name of a measurement, make that one."""
    if len(sys.argv) > 1 and sys.argv[1] in CHILDREN:
        print(json.dumps(CHILDREN[sys.argv[1]](*sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jax", help="an interpreter with JAX")
    parser.add_argument("--members", type=int, default=100_000, help="sampled through Ensemble")
    parser.add_argument("--many", type=int, default=100_000, help="members of whose outputs statistics are taken")
    parser.add_argument("--out", default=str(Path(__file__).parents[1] / "docs" / "performance.md"))
    options = parser.parse_args()
    text = page(measure(options.jax, options.members, options.many))
    Path(options.out).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
