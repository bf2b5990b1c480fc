"""How much of what `paper` measures belongs to its one data set? The same ensemble on other data seeds.

Run as ``python benchmarks/data_seeds.py [members]``.
"""

import sys

import numpy as np
from scipy import stats

from fieldflow.checks.sampling import sample
from fieldflow.experiment import load_experiment
from fieldflow.studies.shell import case_of
from fieldflow.workers import available_threads


def main(members: int = 128) -> None:
    """Print, per data seed, the silent fraction, the cost of redrawing silent units, and the median training loss."""
    base = load_experiment("paper", members=members)
    rows = []
    for seed in range(2, 24):
        data = base.data.model_copy(update={"seed": seed})
        found = sample(
            case_of(base.model_copy(update={"data": data}), 0, available_threads()), lambda stage, done: None
        )
        loss, silent = found.loss.quantile(0.5), found.silent.mean[0] / base.network[0].widths[-1]
        cost = loss[1] / loss[0]
        rows.append((silent, cost, found.train_loss.quantile(0.5)[0]))
        print(f"data seed {seed:2d}: silent {silent:.3f}, cost {cost:6.2f}, training loss {rows[-1][2]:6.2f}")
    silent, cost, train = np.array(rows).T
    quartiles = np.quantile(cost, [0.25, 0.5, 0.75])
    print(f"silent {silent.mean():.3f} ± {silent.std(ddof=1) / np.sqrt(len(rows)):.3f}")
    print(f"cost: quartiles {quartiles.round(1).tolist()}, range {cost.min():.1f} to {cost.max():.1f}")
    print(f"training loss: median {np.median(train):.2f}, range {train.min():.2f} to {train.max():.2f}")
    print(f"rank correlation of silent fraction and cost: {stats.spearmanr(silent, cost).statistic:.2f}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
