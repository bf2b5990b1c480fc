"""Closed-form coarse-graining of an infinitely wide ReLU ensemble beside finite networks.

Run as ``python examples/shell_flow.py``; prints one line per cut-off.
"""

from pathlib import Path

import numpy as np

import fieldflow as ff


def main(*, quick: bool = False, seed: int = 0, out: Path | None = None) -> np.ndarray:
    """Return (cut-off, predicted mean, sampled mean, standard error) per cut-off; written to ``out`` as CSV if given."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(12, 2))
    y = x[:, 0] ** 2 - 0.5 * x[:, 1]
    point = np.array([[0.6, -0.4]])
    cutoffs = np.array([0.0, 0.1, 0.3, 1.0, 3.0])
    rule = {"learning_rate": 0.5, "steps": 200}

    flow = ff.TrainingFlow(ff.MLP(2, depth=1, activation="relu"), x, y, **rule)
    predicted = ff.ShellFlow(flow).mean(point, cutoffs)[:, 0]

    ens = ff.Ensemble(ff.MLP(2, widths=(1000,), activation="relu"), members=100 if quick else 2000, seed=seed)
    sampled = ens.train(x, y, **rule).coarse_grain(cutoffs, fisher="gaussian").sample(point)[:, :, 0]
    error = sampled.std(axis=1, ddof=1) / np.sqrt(sampled.shape[1])
    table = np.column_stack([cutoffs, predicted, sampled.mean(axis=1), error])
    if out is not None:
        np.savetxt(out, table, delimiter=",", header="cutoff,predicted,sampled,std_error", comments="")
    return table


if __name__ == "__main__":
    for cutoff, predicted, sampled, error in main():
        print(f"cutoff {cutoff:4.1f}: predicted {predicted:+.4f}, sampled {sampled:+.4f} ± {error:.4f}")
