"""Down to which scale may a trained ensemble be coarse-grained, and when does coarse graining make it better?

The critical cut-off in closed form against training time, data and dimension; by quasi-Monte Carlo against depth; of sampled
networks against width; and a test loss that is least at a cut-off above 0. Run as ``python examples/critical_scale.py``;
writes critical_scale.png and prints the widths.
"""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import fieldflow as ff
from fieldflow.errors import NoCriticalCutoff

RATE, NOISE, NARROW, WIDTH, GROUPS = 0.3, 0.7, 0.3, 1000, 16


def data(n: int, d_in: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs N(0, 1), a function of the first coordinate, and what is seen of it through noise."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d_in))
    truth = np.cos(1.5 * x[:, 0])
    return x, truth, truth + NOISE * generator.normal(size=n)


def critical(n: int, d_in: int, steps: int, *, depth: int | None = None, quick: bool = False) -> float:
    """Return Λ_C on the training set of one hidden layer; of ``depth`` layers with the Fisher information at these inputs."""
    x, _, y = data(n, d_in, 1)
    flow = ff.TrainingFlow(
        ff.MLP(d_in, depth=depth or 1, activation="relu", sigma_w=2**0.5), x, y, learning_rate=RATE, steps=steps
    )
    shell = ff.ShellFlow(flow) if depth is None else ff.ShellFlow(flow, fisher=x, samples=2**9 if quick else 2**13)
    try:
        return shell.critical_cutoff()
    except NoCriticalCutoff:
        return np.nan


def of_samples(width: int, grid: np.ndarray, members: int, seed: int) -> tuple[float, float]:
    """Return Λ_C of the mean training loss of finite networks, by interpolation, with its error from groups of members."""
    x, _, y = data(20, 2, 1)
    net = ff.MLP(2, widths=(width,), activation="relu", sigma_w=2**0.5)
    ens = ff.Ensemble(net, members=members, seed=seed).train(x, y, learning_rate=RATE, steps=300)
    cutoffs = np.append(grid, np.inf)
    losses = np.mean((ens.coarse_grain(cutoffs, fisher="gaussian").sample(x) - y) ** 2, axis=2)
    found = []
    for group in np.split(losses, GROUPS, axis=1):
        loss = group.mean(axis=1)
        bound = loss[0] + 0.1 * (loss[-1] - loss[0])
        after = int(np.argmax(loss > bound))
        share = (bound - loss[after - 1]) / (loss[after] - loss[after - 1])
        found.append(grid[after - 1] + share * (cutoffs[after] - grid[after - 1]))
    return float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(GROUPS))


def main(*, quick: bool = False, seed: int = 0, out: Path | None = None) -> np.ndarray:
    """Return (width, critical cut-off, standard error) of sampled networks; the figure goes to ``out`` as PNG."""
    members = 160 if quick else 1600
    grid = np.linspace(0.0, 1.5, 61)
    widths = (30, 100, 300, 1000)
    table = np.array([(width, *of_samples(width, grid, members, seed + width)) for width in widths])
    if out is None:
        return table

    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 3).ravel()
    times = np.unique(np.geomspace(10, 10**4, 9 if quick else 25).astype(int))
    for d_in, colour in ((1, "#0b5394"), (2, "#b45f06"), (4, "#38761d"), (8, "#741b47")):
        panels[0].semilogx(times, [critical(20, d_in, int(t)) for t in times], color=colour, label=rf"$d = {d_in}$")
    panels[0].set(xlabel="training time (steps)", title="time and dimension, 20 data")
    sizes = np.unique(np.geomspace(5, 100, 5 if quick else 12).astype(int))
    for steps, style in ((100, "-"), (1000, "--")):
        panels[1].plot(
            sizes, [critical(int(n), 2, steps) for n in sizes], style, color="#b45f06", label=f"{steps} steps"
        )
    panels[1].set(xlabel="training data", title=r"data, $d = 2$")
    depths = range(1, 4 if quick else 7)
    scales = [critical(20, 2, 300, depth=depth, quick=quick) for depth in depths]
    panels[2].plot(depths, scales, "o-", ms=3, color="#0b5394", label="infinite width")
    panels[2].set(xlabel="hidden layers", title="depth, Fisher inputs: training set")
    panels[3].errorbar(table[:, 0], table[:, 1], table[:, 2], fmt="o", ms=3, color="#222222", label="sampled")
    panels[3].axhline(critical(20, 2, 300), color="#0b5394", label="infinite width")
    panels[3].set(xlabel="width", xscale="log", title="width, 300 steps")
    for panel in panels[:4]:
        panel.set_ylabel(r"critical cut-off $\Lambda_C$")
    regularised(panels[4], panels[5], members=members, quick=quick, seed=seed)
    for panel in panels:
        panel.legend(frameon=False, fontsize=7)
        panel.title.set_fontsize(9)
    figure.savefig(out, format="png", dpi=150, metadata={"Software": None})
    return table


def regularised(losses, best, *, members: int, quick: bool, seed: int) -> None:
    """Draw the loss at new inputs along the flow, with samples, and the best cut-off against training time.

    The prior of the read-out is narrow: overfitting then costs more than the spread of what is redrawn.
    """
    x, _, y = data(20, 2, 1)
    there, truth, _ = data(20, 2, 2)
    rule = {"learning_rate": RATE / NARROW**2}
    scales = (2**0.5, NARROW)
    wide = ff.MLP(2, depth=1, activation="relu", sigma_w=scales)
    finite = ff.MLP(2, widths=(WIDTH,), activation="relu", sigma_w=scales)
    grid, seen = np.linspace(0.0, 1.2, 11 if quick else 31), np.linspace(0.0, 1.2, 7)
    for steps, colour in ((30, "#0b5394"), (3000, "#b45f06")):
        shell = ff.ShellFlow(ff.TrainingFlow(wide, x, y, steps=steps, **rule))
        losses.plot(grid, shell.loss(there, truth, grid), color=colour, label=f"{steps} steps")
        first = ff.FiniteWidth(shell, samples=2**9 if quick else 2**12).corrections(there, grid)
        shift = 2.0 * (shell.mean(there, grid) - truth) * first.mean.value + first.variance.value
        losses.plot(grid, shell.loss(there, truth, grid) + shift.mean(axis=1) / WIDTH, ":", color=colour)
        ens = ff.Ensemble(finite, members=members // 2, seed=seed).train(x, y, steps=steps, **rule)
        sampled = np.mean((ens.coarse_grain(seen, fisher="gaussian").sample(there) - truth) ** 2, axis=2)
        error = sampled.std(axis=1, ddof=1) / np.sqrt(sampled.shape[1])
        losses.errorbar(seen, sampled.mean(axis=1), error, fmt="o", ms=3, color=colour)
        at = shell.optimal_cutoff(there, truth)
        losses.plot(at, shell.loss(there, truth, at), "v", ms=6, color=colour)
    losses.plot([], [], ":", color="grey", label=f"with its 1/N, N = {WIDTH}")
    losses.set(xlabel=r"cut-off $\Lambda$", ylabel="loss at new inputs", title=f"narrow prior; points: width {WIDTH}")
    times = np.unique(np.geomspace(10, 10**5, 9 if quick else 40).astype(int))
    for noise, style in ((0.0, "-"), (0.35, "--"), (NOISE, ":")):
        target = np.cos(1.5 * x[:, 0]) + noise / NOISE * (y - np.cos(1.5 * x[:, 0]))
        flows = [ff.TrainingFlow(wide, x, target, steps=int(t), **rule) for t in times]
        found = [ff.ShellFlow(flow).optimal_cutoff(there, truth) for flow in flows]
        best.semilogx(times, found, style, color="#b45f06", label=f"noise {noise:g} in the data")
    best.set(xlabel="training time (steps)", ylabel=r"best cut-off $\Lambda_\ast$", title="where it is least")


if __name__ == "__main__":
    for width, scale, error in main(out=Path("critical_scale.png")):
        print(
            f"width {width:5.0f}: critical cut-off {scale:.4f} ± {error:.4f}; infinite width {critical(20, 2, 300):.4f}"
        )
