"""Time of sampling `paper` per member, on one thread, beside one Gram product of the same size.

Run as ``python benchmarks/sampling.py [members]``.
"""

import sys
import time

import numpy as np
from scipy.linalg import blas
from threadpoolctl import threadpool_limits

from fieldflow.checks.sampling import sample
from fieldflow.experiment import load_experiment
from fieldflow.studies.shell import case_of


def gram_seconds(repeats: int = 50) -> float:
    """Return the median time of one 200 × 200 × 2000 symmetric product on one thread."""
    features = np.asfortranarray(np.random.default_rng(0).normal(size=(2000, 200)))
    times = []
    with threadpool_limits(limits=1):
        for _ in range(repeats):
            start = time.perf_counter()
            blas.dsyrk(1.0, features, trans=1)
            times.append(time.perf_counter() - start)
    return float(np.median(times))


def sampling_seconds(members: int, threads: int) -> float:
    """Return the time of drawing, training and coarse-graining ``members`` of `paper`, per member."""
    case = case_of(load_experiment("paper", members=members), 0, threads)
    start = time.perf_counter()
    sample(case, lambda stage, done: None)
    return (time.perf_counter() - start) / members


def main(members: int = 512) -> None:
    """Print the table."""
    sampling_seconds(64, 1)
    unit = gram_seconds()
    print(f"one Gram product 200 x 200 x 2000: {1e3 * unit:.2f} ms")
    for threads in (1, 2):
        for count in (members // 4, members):
            seconds = sampling_seconds(count, threads)
            print(
                f"{threads} thread(s), {count:5d} members: {1e3 * seconds:6.2f} ms per member, {seconds / unit:5.2f} x Gram"
            )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
