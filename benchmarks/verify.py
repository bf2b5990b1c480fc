"""Whole-process time and memory of the main job, with a cold and a warm compilation cache.

Run as ``python benchmarks/verify.py``.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time


def timed(arguments: list[str], environment: dict[str, str]) -> float:
    """Return the wall time of one run of the command line."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "fieldflow", *arguments], check=True, env=environment, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def main() -> None:
    """Print cold and warm times of `verify`, peak memory, and the time of `--help`."""
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "FIELDFLOW_CACHE_DIR": f"{place}/cache"}
        arguments = ["verify", "--quiet", "--out", f"{place}/out"]
        cold = timed(arguments, environment)
        warm = timed(arguments, environment)
        print(f"verify: cold {cold:.1f} s, warm {warm:.1f} s, cold/warm {cold / warm:.2f}")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"peak memory of the largest process: {peak:.0f} MB")
        helped = [timed(["--help"], environment) for _ in range(5)]
        print(f"--help: median {sorted(helped)[2]:.2f} s")


if __name__ == "__main__":
    main()
