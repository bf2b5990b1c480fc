"""Where deep networks turn from order to chaos: the critical line of two activations, and networks on either side of it.

Run as ``python examples/edge_of_chaos.py``; writes edge_of_chaos.png and prints the right panel's numbers.
"""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import fieldflow as ff

LAYERS, WIDTH, SIGMA_B = 6, 100, 0.3


def predicted(sigma_w: float, start: float) -> float:
    """Return the correlation of two outputs above ``LAYERS`` hidden layers whose first has correlation ``start``."""
    net = ff.MeanField("erf", sigma_w, SIGMA_B)
    for _ in range(LAYERS):
        start = float(net.correlation_map(start))
    return start


def sampled(sigma_w: float, start: float, *, members: int, seed: int) -> tuple[float, float]:
    """Return the same correlation over networks of finite width, with its standard error."""
    net = ff.MeanField("erf", sigma_w, SIGMA_B)
    # Two inputs whose first preactivations have variance q* and correlation `start`.
    square, product = ((value * net.fixed_point - SIGMA_B**2) / sigma_w**2 * 2 for value in (1.0, start))
    angle = np.arccos(product / square)
    x = np.sqrt(square) * np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
    mlp = ff.MLP(2, widths=(WIDTH,) * LAYERS, activation="erf", sigma_w=sigma_w, sigma_b=SIGMA_B)
    found = float(np.corrcoef(ff.Ensemble(mlp, members=members, seed=seed).sample(x).T)[0, 1])
    return found, (1 - found**2) / np.sqrt(members - 3)


def main(*, quick: bool = False, seed: int = 0, out: Path | None = None) -> np.ndarray:
    """Return (sigma_w, predicted and sampled correlation, standard error) per network; the figure goes to ``out`` as PNG."""
    start = 0.6
    critical = float(ff.edge_of_chaos("erf", SIGMA_B).sigma_w)
    scales = critical * np.array([0.7, 0.85, 1.0, 1.3, 1.8, 2.5])
    members = 200 if quick else 4000
    samples = [sampled(float(scale), start, members=members, seed=seed + i) for i, scale in enumerate(scales)]
    table = np.column_stack([scales, [predicted(float(scale), start) for scale in scales], samples])
    if out is None:
        return table

    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    lines, networks = figure.subplots(1, 2)
    for activation, colour in (("erf", "#0b5394"), ("tanh", "#b45f06")):
        edge = ff.edge_of_chaos_curve(activation, np.geomspace(1e-3, 4.0, 20 if quick else 200))
        lines.plot(edge.sigma_w**2, edge.sigma_b**2, color=colour, label=activation)
    lines.set(xlabel=r"weight variance $\sigma_w^2$", ylabel=r"bias variance $\sigma_b^2$", xlim=(0.5, 4), ylim=(0, 1))
    lines.text(0.7, 0.25, "ordered")
    lines.text(2.9, 0.12, "chaotic")
    lines.legend(title=r"edge of chaos, $\chi_1 = 1$", frameon=False, loc="upper left")

    fine = np.linspace(scales[0], scales[-1], 20 if quick else 80)
    networks.plot(fine, [predicted(float(scale), start) for scale in fine], color="#0b5394", label="infinite width")
    networks.errorbar(
        table[:, 0], table[:, 2], table[:, 3], fmt="o", ms=3, color="#222222", label=f"width {WIDTH}, sampled"
    )
    networks.axvline(critical, color="grey", lw=0.8, ls=":")
    networks.axhline(start, color="grey", lw=0.8, ls="--", label="first layer")
    networks.set(xlabel=r"weight scale $\sigma_w$", ylabel=f"correlation after {LAYERS} layers", ylim=(0, 1.02))
    networks.set_title(rf"erf, $\sigma_b$ = {SIGMA_B}; dotted: edge of chaos", fontsize=9)
    networks.legend(frameon=False, loc="lower left")
    figure.savefig(out, format="png", dpi=150, metadata={"Software": None})
    return table


if __name__ == "__main__":
    for sigma_w, theory, sample, error in main(out=Path("edge_of_chaos.png")):
        print(f"sigma_w {sigma_w:.3f}: predicted {theory:+.4f}, sampled {sample:+.4f} ± {error:.4f}")
