"""Stiff and sloppy directions: the Fisher spectrum of whole networks, and how far the likelihood moves along each direction.

Run as ``python examples/fisher_spectrum.py``; writes fisher_spectrum.png and prints what part of the spectrum is sloppy.
"""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import fieldflow as ff

COLOURS = {"relu": "#0b5394", "erf": "#b45f06", "cos": "#38761d"}


def main(*, quick: bool = False, seed: int = 0, out: Path | None = None) -> np.ndarray:
    """Return (activation, rank, eigenvalue, 2 KL/step²) of every tenth direction; the figure goes to ``out`` as PNG."""
    x = np.random.default_rng(seed).normal(size=(40 if quick else 400, 2))
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    spectra, lengths = figure.subplots(1, 2)
    step, rows = 1e-3, []
    for place, (name, colour) in enumerate(COLOURS.items()):
        net = ff.MLP(2, widths=(8, 8), activation=name, sigma_w=1.5, sigma_b=0.3)
        member = ff.Ensemble(net, members=1, seed=seed).member(0)
        values, vectors = np.linalg.eigh(member.fisher_matrix(x))
        values, vectors = member.fisher_spectrum(x), vectors[:, ::-1]
        ranks = np.arange(0, len(values), 10)
        moved = [2.0 * member.relative_entropy(step * vectors[:, rank], x) / step**2 for rank in ranks]
        rows += [(place, rank, values[rank], length) for rank, length in zip(ranks, moved, strict=True)]
        seen = values > 0.0
        spectra.semilogy(np.flatnonzero(seen) + 1, values[seen], ".", ms=3, color=colour, label=name)
        lengths.loglog(values[ranks], moved, "o", ms=3, color=colour, label=name)
    spectra.set(xlabel="rank of the direction", ylabel=r"eigenvalue of $\mathcal{I}$", ylim=(1e-14, None))
    spectra.set_title(f"all {len(values)} weights and biases of one network", fontsize=9)
    spectra.legend(frameon=False)
    ends = np.array([1e-14, 10.0 * max(row[2] for row in rows)])
    lengths.loglog(ends, ends, color="grey", lw=0.8, label="second order")
    lengths.set(
        xlabel=r"eigenvalue of $\mathcal{I}$", ylabel=r"$2\,\mathrm{KL}/|\delta\theta|^2$ along its direction",
        xlim=ends, ylim=ends,
    )  # fmt: skip
    lengths.legend(frameon=False)
    if out is not None:
        figure.savefig(out, format="png", dpi=150, metadata={"Software": None})
    return np.array(rows)


if __name__ == "__main__":
    table = main(out=Path("fisher_spectrum.png"))
    for place, name in enumerate(COLOURS):
        own = table[table[:, 0] == place]
        sloppy = np.mean(own[:, 2] < 1e-3 * own[0, 2])
        print(
            f"{name:5s} stiffest {own[0, 2]:9.3g}, sloppiest {own[-1, 2]:9.3g}; {sloppy:.0%} below a thousandth of the stiffest"
        )
