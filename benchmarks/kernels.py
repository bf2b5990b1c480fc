"""How fast and how right are ``nngp`` and ``ntk``, beside neural-tangents and plain NumPy?

Run as ``python benchmarks/kernels.py [speed] [accuracy] [predict] [--baseline PYTHON]`` (all three if none is named);
PYTHON belongs to the environment that ``neural_tangents_baseline.py`` describes.

Speed: NNGP and NTK of 2000 × 2000 points, d = 10, depth 3, σ_w = 1.3, σ_b = 0.4; every measurement in its own process,
baseline and ours in turn. Accuracy: against closed forms evaluated here by mpmath (Cho and Saul 2009 for rectified
monomials, Williams 1997 for erf, characteristic functions for sin and cos, Gaussian integration by parts for GELU),
which share no code with the package. Predict: ensemble means in training, and which learning rate is which.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from itertools import product

import neural_tangents_baseline as cases
import numpy as np
import sympy as sp
from mpmath import mp, mpf
from threadpoolctl import threadpool_limits

import fieldflow as ff

DIGITS = 100  # of the arithmetic; near-identical points at depth 5 still leave 40 right
RANGE = (1e-290, 1e290)  # kernels whose true size is outside are not asked of float64
NOT_RUN = "baseline not run (--baseline PYTHON)"


# --- the three implementations ------------------------------------------------------------------------------------


def ours(net, x1, x2=None):
    """Return (nngp, ntk)."""
    return ff.nngp_ntk(net, x1, x2)


def our_net(name, bias, depth, d_in):
    """Return the network as the package takes it."""
    z = sp.Symbol("z")
    known = {"rectified square": sp.Max(z, 0) ** 2, "rectified cube": sp.Max(z, 0) ** 3}
    return ff.MLP(d_in, depth=depth, activation=known.get(name, name), sigma_w=cases.SIGMA_W, sigma_b=bias)


def our_kernels(name, bias, depth):
    """Return (x1, x2) -> (nngp, ntk) on the points of the accuracy table."""
    return lambda x1, x2: ours(our_net(name, bias, depth, 3), x1, x2)


def plain_numpy(name, x):
    """Return (nngp, ntk) the way one writes it first: arc-cosine and arcsine kernels on whole matrices."""
    w, b = cases.SIGMA_W**2, cases.SIGMA_B**2
    k = w * (x @ x.T) / x.shape[1] + b
    tangent = k
    for _ in range(cases.DEPTH):
        q = np.diag(k).copy()
        if name == "relu":
            size = np.sqrt(np.outer(q, q))
            rho = np.clip(k / size, -1.0, 1.0)
            turn = (np.pi - np.arccos(rho)) / (2.0 * np.pi)
            pair, slope = size * np.sqrt(1.0 - rho**2) / (2.0 * np.pi) + k * turn, turn
        else:
            size = np.sqrt(np.outer(1.0 + 2.0 * q, 1.0 + 2.0 * q))
            rho = 2.0 * k / size
            pair, slope = 2.0 / np.pi * np.arcsin(rho), 4.0 / np.pi / (size * np.sqrt(1.0 - rho**2))
        k = w * pair + b
        tangent = k + w * slope * tangent
    return k, tangent


# --- speed --------------------------------------------------------------------------------------------------------


def speed_one(name, threads):
    """Return the measurements of ours and of plain NumPy in this process."""
    x = cases.speed_points()
    start = time.perf_counter()
    net = our_net(name, cases.SIGMA_B, cases.DEPTH, cases.D_IN)
    building = time.perf_counter() - start
    with threadpool_limits(limits=threads):
        found = cases.measured(lambda: ours(net, x), lambda: ours(net, x[:16]))
        found["small_s"] += building
        numpy_s = []
        for _ in range(cases.REPEATS):
            start = time.perf_counter()
            plain = plain_numpy(name, x)
            numpy_s.append(time.perf_counter() - start)
    apart = max(float(np.max(np.abs(a - b) / np.abs(b))) for a, b in zip(ours(net, x), plain, strict=True))
    return {**found, "numpy_s": sorted(numpy_s)[cases.REPEATS // 2], "numpy_apart": apart}


def in_child(name, threads, cache):
    """Return speed_one of a new process with that compilation cache."""
    number = str(threads)
    environment = {**os.environ, "NUMBA_NUM_THREADS": number, "OMP_NUM_THREADS": number, "FIELDFLOW_CACHE_DIR": cache}
    command = [sys.executable, __file__, "--one", name, number]
    return json.loads(subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout)


def of_baseline(python, *arguments):
    """Return the JSON of the baseline, or None if no interpreter was given."""
    if python is None:
        return None
    command = [python, cases.__file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def print_speed(python):
    """Print times, memory and ratios."""
    print("| activation | threads | ours: first call, no cache | first call, cache | warm | MB beyond outputs ", end="")
    print("| plain NumPy | ratio | neural-tangents: first call | warm | MB | ratio |")
    print("|" + "---|" * 12)
    apart = 0.0
    for threads in (1, 2):
        baseline = of_baseline(python, "speed", str(threads))
        for name in cases.TIMED:
            with tempfile.TemporaryDirectory() as cache:
                cold, warm = in_child(name, threads, cache), in_child(name, threads, cache)
            apart = max(apart, warm["numpy_apart"])
            row = [name, threads, *(f"{a['small_s'] + a['first_s']:.2f} s" for a in (cold, warm))]
            row += [f"{warm['warm_s']:.3f} s", f"{warm['extra_mb']:.0f}"]
            row += [f"{warm['numpy_s']:.3f} s", f"{warm['numpy_s'] / warm['warm_s']:.1f}"]
            if baseline is None:
                row += [NOT_RUN, "", "", ""]
            else:
                other = baseline["speed"][name]
                row += [f"{other['first_s']:.2f} s", f"{other['warm_s']:.3f} s", f"{other['extra_mb']:.0f}"]
                row += [f"{other['warm_s'] / warm['warm_s']:.1f}"]
            print("|", " | ".join(map(str, row)), "|", flush=True)
    print(f"(ratio: its warm time over ours; warm: median of 7; plain NumPy and ours are at most {apart:.1e} apart)")


# --- truth --------------------------------------------------------------------------------------------------------


def angle(p, c, q):
    """Return √(pq - c²) and the angle; independent if one of them vanishes."""
    root = mp.sqrt(max(p * q - c * c, mpf(0)))
    return (root, mp.atan2(root, c)) if p * q > 0 else (mpf(0), mp.pi / 2)


def cho_saul(degree, p, c, q):
    """Return E of two rectified monomials, (pq)^{n/2} J_n(θ) / 2π."""
    root, theta = angle(p, c, q)
    size, rest = mp.sqrt(p * q), mp.pi - theta
    sine, cosine = (root / size, c / size) if size else (mpf(1), mpf(0))
    j = [
        lambda: rest,
        lambda: sine + rest * cosine,
        lambda: 3 * sine * cosine + rest * (1 + 2 * cosine**2),
        lambda: 4 * sine**3 + 15 * sine * cosine**2 + rest * (9 * cosine + 6 * cosine**3),
    ][degree]()
    return size**degree * j / (2 * mp.pi)


def rectified(degree):
    """Return p, c, q -> E[σσ], E[σ'σ'] of max(z, 0)^degree."""
    return lambda p, c, q: (cho_saul(degree, p, c, q), degree**2 * cho_saul(degree - 1, p, c, q))


def arcsine(p, c, q):
    """Return E[sign sign]."""
    _, theta = angle(p, c, q)
    return 1 - 2 * theta / mp.pi


def absolute(p, c, q):
    """Return the pair for |z|."""
    root, _ = angle(p, c, q)
    return 2 * root / mp.pi + c * arcsine(p, c, q), arcsine(p, c, q)


def williams(p, c, q):
    """Return the pair for erf."""
    det = (1 + 2 * p) * (1 + 2 * q) - 4 * c * c
    return 2 / mp.pi * mp.atan2(2 * c, mp.sqrt(det)), 4 / (mp.pi * mp.sqrt(det))


def gelu(p, c, q):
    """Return the pair for z Φ(z), by Gaussian integration by parts."""
    det = (1 + p) * (1 + q) - c * c
    density = 1 / (2 * mp.pi * mp.sqrt(det))
    both = mpf(1) / 4 + mp.atan2(c, mp.sqrt(det)) / (2 * mp.pi)
    shares = p / (1 + p) + q / (1 + q)
    slope = both + density * c * (1 / (1 + p) + 1 / (1 + q) + 1 / det)
    return c * both + density * (p * q + c * c * (1 - shares)), slope


def waves(p, c, q):
    """Return E[sin sin], E[cos cos]."""
    near, far = mp.exp(c - (p + q) / 2) / 2, mp.exp(-c - (p + q) / 2) / 2
    return near - far, near + far


TRUTH = {
    "relu": rectified(1),
    "rectified square": rectified(2),
    "rectified cube": rectified(3),
    "erf": williams,
    "sign": lambda p, c, q: (arcsine(p, c, q), mpf(0)),
    "abs": absolute,
    "gelu": gelu,
    "sin": waves,
    "cos": lambda p, c, q: waves(p, c, q)[::-1],
}


def true_kernels(name, bias, x, y):
    """Return {depth: (nngp, ntk)} of two points given as floats, which are taken as exact."""
    w, b = mpf(cases.SIGMA_W) ** 2, mpf(bias) ** 2
    x, y = [mpf(float(a)) for a in x], [mpf(float(a)) for a in y]
    p, c, q = (w * mp.fdot(u, v) / len(x) + b for u, v in ((x, x), (x, y), (y, y)))
    tangent, found = c, {}
    for layer in range(1, max(cases.DEPTHS) + 1):
        pair, slope = TRUTH[name](p, c, q)
        p, c, q = w * TRUTH[name](p, p, p)[0] + b, w * pair + b, w * TRUTH[name](q, q, q)[0] + b
        tangent = c + w * slope * tangent
        found[layer] = c, tangent
    return found


def all_truth(name, bias):
    """Return {(depth, kind): [nngp values, ntk values]}, laid out as ``cases.entries`` does."""
    found = {}
    for kind, given in cases.point_sets().items():
        if kind == "generic":
            pairs = [(x, y) for x in given[0] for y in given[1]]
        else:
            points = list(zip(given[::2], given[1::2], strict=True))
            pairs = [pair for x, y in points for pair in ((x, x), (x, y), (y, y))]
        values = [true_kernels(name, bias, x, y) for x, y in pairs]
        for depth in cases.DEPTHS:
            found[depth, kind] = [[value[depth][i] for value in values] for i in (0, 1)]
    return found


# --- accuracy -----------------------------------------------------------------------------------------------------


def label(kind, k):
    """Return where value k belongs: generic, a diagonal entry (K_pp or K_qq of any pair), or the kind of its pair."""
    return kind if kind == "generic" or k % 3 == 1 else f"diagonal, {kind}"


def errors(kind, found, truth):
    """Yield (error, label) of one kernel: relative (generic), or in units of √(K_pp K_qq); NaN if not finite."""
    flat = np.ravel(np.array(found, dtype=float)).tolist()
    for k, (value, exact) in enumerate(zip(flat, truth, strict=True)):
        off = kind != "generic" and k % 3 == 1
        unit = mp.sqrt(truth[k - 1] * truth[k + 1]) if off else abs(exact)
        if unit != 0 and not RANGE[0] < unit < RANGE[1]:
            continue
        if not math.isfinite(value):
            yield math.nan, label(kind, k)
        elif unit == 0:
            yield (0.0 if value == exact else math.inf), label(kind, k)
        else:
            yield float(abs(mpf(value) - exact) / unit), label(kind, k)


def summary(name, depths, values, truth):
    """Return cells: generic and degenerate errors of NNGP and NTK, numbers that are not finite, sets refused."""
    worst = {}
    count = lost = refused = 0
    for bias, depth, kind in product(cases.BIASES, depths, cases.point_sets()):
        found = values[f"{name}/{bias}/{depth}/{kind}"]
        if isinstance(found, str):
            refused += 1
            continue
        for i in (0, 1):
            for error, where in errors(kind, found[i], truth[bias][depth, kind][i]):
                count += 1
                lost += math.isnan(error)
                key = kind != "generic", i
                if error > worst.get(key, (-1.0, ""))[0]:
                    worst[key] = error, f"{where}, b = {bias:g}"
    cells = [f"{worst[False, i][0]:.1e}" if (False, i) in worst else "–" for i in (0, 1)]
    cells += ["{:.1e} ({})".format(*worst[True, i]) if (True, i) in worst else "–" for i in (0, 1)]
    return [*cells, f"{lost}/{count}" + (f", {refused} sets refused" if refused else "")]


def print_accuracy(python):
    """Print the largest errors of ours and of the baseline."""
    mp.dps = DIGITS
    theirs = of_baseline(python, "values")
    found = {"ours": cases.all_values(our_kernels)}
    if theirs is None:
        print(NOT_RUN)
    else:
        found["neural-tangents"] = theirs["values"]
        print("versions:", ", ".join(f"{name} {number}" for name, number in theirs["versions"].items()))
    print(
        "| activation | depth | whose | NNGP, generic | NTK, generic | NNGP, degenerate | NTK, degenerate | not finite |"
    )
    print("|" + "---|" * 8)
    for name in cases.ACTIVATIONS:
        truth = {bias: all_truth(name, bias) for bias in cases.BIASES}
        for depths in (*((depth,) for depth in cases.DEPTHS), cases.DEPTHS):
            for whose, values in found.items():
                first = [name, ", ".join(map(str, depths)), whose]
                print("|", " | ".join([*first, *summary(name, depths, values, truth)]), "|", flush=True)
        for said in sorted({v for k, v in found["ours"].items() if k.startswith(f"{name}/") and isinstance(v, str)}):
            print(f"(ours refused, {name}: {said.splitlines()[0]})")
    print("(generic: relative error; degenerate: in units of √(K_pp K_qq), NTK √(Θ_pp Θ_qq))")


# --- training -----------------------------------------------------------------------------------------------------


def print_predict(python):
    """Print how far the ensemble means are apart when 2·learning_rate·steps is neural-tangents' learning_rate·t."""
    theirs = of_baseline(python, "predict")
    if theirs is None:
        print(NOT_RUN)
        return
    x_train, y_train, x_test, name, depth, rate = cases.predict_problem()
    net = ff.MLP(3, depth=depth, activation=name, sigma_w=cases.SIGMA_W, sigma_b=cases.SIGMA_B, d_out=y_train.shape[1])
    for t in cases.PREDICT_TIMES:
        flow = ff.TrainingFlow(
            net, x_train, y_train, learning_rate=rate / 2, steps=t, method="gradient_flow", trained="all"
        )
        mean = np.array(theirs["predict"][str(t)])
        apart = np.max(np.abs(flow.mean(x_test) - mean)) / np.max(np.abs(mean))
        print(f"t = {t:g}: ensemble means apart by {apart:.1e} of the largest, at learning_rate/2")


def main():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", help="speed, accuracy, predict (default: all)")
    parser.add_argument("--baseline", metavar="PYTHON", help="interpreter of the environment with neural-tangents")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "THREADS"), help="measure in this process, print JSON")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(speed_one(given.one[0], int(given.one[1]))))
        return
    tables = {"speed": print_speed, "accuracy": print_accuracy, "predict": print_predict}
    for table in given.tables or tables:
        tables[table](given.baseline)


if __name__ == "__main__":
    main()
