"""How Gaussian is a narrow network? Its exact density at one point, the Edgeworth series, and a histogram of networks.

Run as ``python examples/edgeworth.py``; writes edgeworth.png and prints the largest errors of the series.
"""

import math
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import special

import fieldflow as ff

WIDTH, SIGMA_W, X = 6, 1.5, 1.0
ORDERS = ((0, "Gaussian", "#888888", ":"), (1, "order 1/N", "#b45f06", "--"), (2, "order 1/N²", "#0b5394", "-"))


def cumulants(width: int) -> dict[int, float]:
    """Return κ₂, κ₄, κ₆ of Σ w_i erf(z_i) from the moments of one neuron."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    hidden = special.erf(SIGMA_W * X * nodes)
    m2, m4, m6 = (float(weights @ hidden**n / weights.sum()) for n in (2, 4, 6))
    s = SIGMA_W**2 / width
    return {
        2: width * s * m2,
        4: 3 * width * s**2 * (m4 - m2**2),
        6: 15 * width * s**3 * (m6 - 3 * m4 * m2 + 2 * m2**3),
    }


def main(*, quick: bool = False, seed: int = 0, out: Path | None = None) -> np.ndarray:
    """Return (order, largest error of the density times the standard deviation); the figure goes to ``out`` as PNG."""
    net = ff.MLP(1, widths=(WIDTH,), activation="erf", sigma_w=SIGMA_W)
    known = cumulants(WIDTH)
    std = math.sqrt(known[2])
    y = std * np.linspace(-3.6, 3.6, 61 if quick else 241)
    exact = ff.exact_density(net, [[X]], y).value
    series = {order: ff.Edgeworth(known, order).density(y) for order, *_ in ORDERS}
    table = np.array([(order, std * np.max(np.abs(values - exact))) for order, values in series.items()])
    if out is None:
        return table

    members = 20_000 if quick else 400_000
    f = ff.Ensemble(net, members=members, seed=seed).sample([[X]])[:, 0]
    edges = std * np.linspace(-3.6, 3.6, 37)
    counts = np.histogram(f, edges)[0]
    scale = std / (members * np.diff(edges))
    centres = 0.5 * (edges[1:] + edges[:-1]) / std
    # Shares of bins under the exact density, so that the ratio compares bins with bins.
    nodes, weights = np.polynomial.legendre.leggauss(4)
    inner = (0.5 * (edges[1:] + edges[:-1]))[:, None] + 0.5 * np.diff(edges)[:, None] * nodes
    mean = ff.exact_density(net, [[X]], inner.reshape(-1)).value.reshape(inner.shape) @ weights / 2

    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    top, ratio = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1.0))
    error = np.sqrt(counts)
    top.plot(y / std, std * exact, color="#222222", lw=1.8, label="exact")
    top.errorbar(
        centres, counts * scale, error * scale, fmt="o", ms=2.5, lw=0.8, color="#38761d", label="sampled networks"
    )
    ratio.axhline(1.0, color="#222222", lw=1.0)
    relative = scale / (std * mean)
    ratio.errorbar(centres, counts * relative, error * relative, fmt="o", ms=2.5, lw=0.8, color="#38761d")
    for order, label, colour, line in ORDERS:
        top.plot(y / std, std * series[order], color=colour, ls=line, lw=1.2, label=label)
        ratio.plot(y / std, series[order] / exact, color=colour, ls=line, lw=1.2)
    top.set(yscale="log", ylim=(3e-4, 0.8), ylabel=r"density × standard deviation")
    top.set_title(rf"erf network of width {WIDTH}, one point, $\sigma_w$ = {SIGMA_W}", fontsize=10)
    top.legend(frameon=False, fontsize=8, loc="lower center")
    ratio.set(ylim=(0.7, 1.3), xlim=(-3.6, 3.6), ylabel="over exact", xlabel="output / standard deviation")
    figure.savefig(out, format="png", dpi=150, metadata={"Software": None})
    return table


if __name__ == "__main__":
    for order, largest in main(out=Path("edgeworth.png")):
        print(f"order 1/N^{order:.0f}: largest error {largest:.2e}")
