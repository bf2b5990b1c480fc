"""Are the joint p-values uniform over seeds, and does every negative control show?

Run as ``python benchmarks/calibration.py NAME [seeds] [members]``.
"""

import sys
from collections import defaultdict

import numpy as np
from scipy import stats

import fieldflow as ff


def main(name: str = "shallow-relu", seeds: int = 20, members: int = 200) -> None:
    """Print, per family, the Kolmogorov-Smirnov p-value of its p-values over seeds and the weakest control."""
    p_values, controls, statuses = defaultdict(list), defaultdict(list), defaultdict(list)
    for seed in range(seeds):
        for family, joint in ff.run(name, members=members, seed=1000 + seed).results["joint"].items():
            if joint["dof"]:
                p_values[family].append(joint["p_value"])
                controls[family].append(min(abs(shift) for shift in joint["negative_controls"].values()))
                statuses[family].append(joint["status"])
    for family, values in sorted(p_values.items()):
        uniform = stats.kstest(values, "uniform").pvalue
        agree = statuses[family].count("agrees")
        least = float(np.min(controls[family]))
        print(
            f"{family:40s} uniform p {uniform:.3f}  least p {min(values):.1e}  agrees {agree}/{seeds}  control >= {least:.1f}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:2], *(int(argument) for argument in sys.argv[2:4]))
