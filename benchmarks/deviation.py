"""How far is an ensemble from the infinite-width law? 1/√members, until the 1/N term. Writes docs/deviation.md.

Run as ``python benchmarks/deviation.py [--members M] [--scan S] [--threads T] [--out DIR]``; a quick look:
``--members 2048 --scan 200 --neurons 512 --out DIRECTORY``.  The networks, data and training are those of the shipped
experiment ``shallow-relu``.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

import fieldflow as ff
from fieldflow.checks.case import Case
from fieldflow.checks.finite_width import Found, given_hidden, intercept_errors, intercepts, judged, measured
from fieldflow.checks.infinite_width import theory
from fieldflow.checks.network_leg import NetworkLeg
from fieldflow.checks.record import Family
from fieldflow.ensemble import CoarseGrained, Ensemble
from fieldflow.experiment import load_experiment
from fieldflow.finite_width import Corrections
from fieldflow.numeric.ensemble import BlockSample
from fieldflow.studies.shell import case_of
from fieldflow.workers import BLOCK, available_threads

Array = NDArray[np.float64]
CUTOFFS = np.array([0.0, 0.8])
WIDTHS = (500, 1000, 2000, 4000, 8000)
LEAST, MOST = 6, 13
"""Sizes 2^LEAST … 2^MOST have members of their own; larger ones are running sums over all of these."""
GROUPS = 16
"""Fewer groups have no meaningful average of squares for a slope."""
QUANTITIES = ("mean", "variance", "both")


@dataclass(frozen=True)
class Law:
    """Infinite-width mean and variance (cutoffs, points) and what one neuron says about 1/N."""

    mean: Array
    variance: Array
    correlation: Array
    coefficients: Corrections

    def squares(self, width: int) -> Array:
        """Return the mean squares over points of the 1/N terms, (mean, variance, both; cutoffs), in units of the law."""
        mean = self.coefficients.mean.value / width / np.sqrt(self.variance)
        variance = self.coefficients.variance.value / width / self.variance
        parts = np.array([np.mean(mean**2, axis=1), np.mean(variance**2, axis=1)])
        return np.concatenate([parts, parts.sum(axis=0, keepdims=True)])

    def deviation(self, sums: Array, members: int) -> Array:
        """Return the squared deviations (groups; mean, variance, both; cutoffs) of groups with ``sums`` of f and f²."""
        mean = sums[:, 0] / members
        variance = (sums[:, 1] - members * mean**2) / (members - 1)
        parts = ((mean - self.mean) ** 2 / self.variance, (variance / self.variance - 1.0) ** 2)
        squares = np.stack([np.mean(part, axis=2) for part in parts], axis=1)
        return np.concatenate([squares, squares.sum(axis=1, keepdims=True)], axis=1)

    @property
    def directions(self) -> Array:
        """Return how many independent squares an average over the points holds, (mean, variance; cutoffs)."""
        powers = np.array([self.correlation, self.correlation**2])
        trace = np.einsum("qcii->qc", powers)
        return trace**2 / np.einsum("qcij,qcij->qc", powers, powers)


@dataclass(frozen=True)
class Decay:
    """Mean squared deviation at each size, (sizes; mean, variance, both; cutoffs), and over how many groups."""

    sizes: NDArray[np.int64]
    groups: NDArray[np.int64]
    squares: Array


def law_of(case: Case, neurons: int) -> tuple[Law, ff.FiniteWidth]:
    """Return the infinite-width law at the stated inputs and its 1/N corrections."""
    shell = theory(case)
    covariance = shell.covariance(case.x_stated, cutoff=CUTOFFS)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    deviation = np.sqrt(variance)
    correlation = covariance / (deviation[:, :, None] * deviation[:, None, :])
    finite = ff.FiniteWidth(shell, samples=neurons)
    found = finite.corrections(case.x_stated, CUTOFFS)
    return Law(shell.mean(case.x_stated, CUTOFFS), variance, correlation, found), finite


def decay(case: Case, law: Law, members: int) -> Decay:
    """Return the deviation of ensembles of every size; only sums of f and f² over blocks of members are kept."""

    def reduce(block: BlockSample) -> Array:
        if block.diverged.any():
            raise RuntimeError("a member diverged")
        return np.array([block.outputs[..., 0].sum(axis=0), np.square(block.outputs[..., 0]).sum(axis=0)])

    sizes, groups, squares, total, count = [], [], [], np.zeros((2, *law.mean.shape)), 0
    for power in range(LEAST, MOST + 1):
        shell = CoarseGrained(CUTOFFS, case.law, case.mode)
        ensemble = Ensemble(case.net, members, power, case.trained, shell, case.threads)
        sums = np.array(ensemble.simulate(case.x_stated, reduce))
        total, count = total + sums.sum(axis=0), count + members
        if 2**power <= members:
            grouped = sums.reshape(-1, 2**power // BLOCK, *sums.shape[1:]).sum(axis=1)
            sizes.append(2**power)
            groups.append(len(grouped))
            squares.append(law.deviation(grouped, 2**power).mean(axis=0))
        if count & (count - 1) == 0 and count > 2**MOST:
            sizes.append(count)
            groups.append(1)
            squares.append(law.deviation(total[None], count)[0])
    order = np.argsort(sizes)
    return Decay(np.array(sizes)[order], np.array(groups)[order], np.array(squares)[order])


def slope(law: Law, found: Decay, width: int, quantity: int, cutoff: int) -> tuple[float, float, int]:
    """Return slope, error and number of sizes of log deviation against log members where sampling outweighs 1/N.

    The predicted 1/N term is taken off the square first; the sizes share no members.
    """
    floor = law.squares(width)[quantity, cutoff]
    sampling = (1.0 + quantity) / found.sizes
    used = (sampling > floor) & (found.groups >= GROUPS)
    squares, free = found.squares[used, quantity, cutoff], law.directions[quantity, cutoff] * found.groups[used]
    error = 0.5 * np.sqrt(2.0 / free) * squares / (squares - floor)
    x, y = np.log(found.sizes[used]), 0.5 * np.log(squares - floor)
    weight = 1.0 / error**2
    centred = x - np.average(x, weights=weight)
    spread = float(np.sum(weight * centred**2))
    return float(np.sum(weight * centred * y) / spread), spread**-0.5, int(used.sum())


def coefficients(case: Case, law: Law, finite: ff.FiniteWidth, scan: int) -> tuple[NetworkLeg, Found]:
    """Return N times the deviations of several widths, the read-out averaged over exactly."""
    n = len(case.x_train)
    leg = NetworkLeg(
        label=case.label,
        mesh=np.concatenate([case.x_train, case.x_stated]),
        trained=case.trained,
        grid=CUTOFFS,
        stated=n + np.arange(case.stated),
        width=case.net.finite_widths[0],
        members=scan,
        widths=WIDTHS,
        scan_members=scan,
        frozen_members=0,
        seed=1000,
        threads=case.threads,
        net=case.net,
        shell=finite.shell,
    )
    values: dict[str, list[Array]] = {"mean": [], "variance": []}
    for position, width in enumerate(WIDTHS):
        seed, stage = leg.scan_seed(position), f"scan{width}"
        members = given_hidden(leg, finite, CUTOFFS, width, seed, scan, stage, lambda *_: None)
        every = measured(members, law.mean, law.variance, width)
        for name, entry in values.items():
            entry.append(every[name])
    right = law.coefficients
    wrong = {
        "mean": {"½ left out": 2.0 * right.mean.value},
        "variance": {
            "(Dμ)² left out": right.variance.value - right.spread_of_means.value,
            "½D²C left out": right.spread_of_means.value,
        },
    }
    return leg, Found(case.mode, right, wrong, np.array(WIDTHS, dtype=float), values)


@dataclass(frozen=True)
class Network:
    """Everything about one network."""

    case: Case
    law: Law
    decay: Decay
    found: Found
    families: list[Family]

    @property
    def width(self) -> int:
        """Return N of the shipped experiment."""
        return self.case.net.finite_widths[0]

    def fitted(self, quantity: int) -> Array:
        """Return the root mean squares (cutoffs,) over points of the fitted deviation at the width of the experiment."""
        shape, width = self.law.mean.shape, float(self.width)
        scales = {"mean": np.sqrt(self.law.variance), "variance": self.law.variance}
        parts = []
        for name, scale in scales.items():
            fit, _, _ = intercepts(self.found, name)
            value = (fit[0] / width + fit[1] / width**2 + fit[2] / width**3).reshape(shape)
            parts.append(np.mean((value / scale) ** 2, axis=1))
        return np.sqrt([*parts, sum(parts)][quantity])


def network(position: int, members: int, scan: int, neurons: int, threads: int) -> Network:
    """Run everything for one network of the experiment."""
    case = case_of(load_experiment("shallow-relu"), position, threads)
    law, finite = law_of(case, neurons)
    leg, found = coefficients(case, law, finite, scan)
    return Network(case, law, decay(case, law, members), found, judged(leg, found, CUTOFFS, ("mean", "variance")))


def page(networks: list[Network], options: argparse.Namespace) -> str:
    """Return the page of the documentation."""
    first = networks[0]
    points = first.case.stated
    lines = [
        "# Deviation from the infinite-width law",
        "",
        f"Written by `benchmarks/deviation.py` for the networks of the shipped experiment `shallow-relu` (N = {first.width}), at "
        f"its {points} stated inputs and the cut-offs Λ = {', '.join(f'{c:g}' for c in CUTOFFS)}. Deviations are in units of "
        "the predicted law: (mean of f − μ)/√Σ and (variance of f)/Σ − 1, root mean squares over the inputs and over disjoint "
        "ensembles; *both* is the root of the sum of the two squares.",
        "",
        "![deviation against members, and N times the deviation against 1/N](images/deviation.png)",
        "",
        "## 1/√members, until the 1/N term",
        "",
        f"*Slope* of log deviation against log members, over the sizes (2^{LEAST} and more, each with {options.members} members "
        "of its own) where sampling, √(1/members) for the mean and √(2/members) for the variance, outweighs the 1/N term, which is "
        "taken off in quadrature; −1/2 is expected. *1/N term*: the coefficient from one neuron over N. *All orders*: the "
        f"fit b/N + c/N² + d/N³ of the next section at N = {first.width}. *Measured*: an ensemble of "
        f"{first.decay.sizes[-1]} members, which still has the sampling error of the last column.",
        "",
        "| network | Λ | | slope | sizes | 1/N term | all orders | measured | sampling |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in networks:
        floors, last = np.sqrt(entry.law.squares(entry.width)), np.sqrt(entry.decay.squares[-1])
        for c, cutoff in enumerate(CUTOFFS):
            for q, name in enumerate(QUANTITIES):
                fit = ("", "")
                if q < 2:
                    value, error, count = slope(entry.law, entry.decay, entry.width, q, c)
                    fit = f"{value:.3f} ± {error:.3f}", str(count)
                sampling = np.sqrt((1.0 + q) / entry.decay.sizes[-1])
                lines.append(
                    f"| {entry.case.label} | {cutoff:g} | {name} | {fit[0]} | {fit[1]} | {floors[q, c]:.4f} | "
                    f"{entry.fitted(q)[c]:.4f} | {last[q, c]:.4f} | {sampling:.4f} |"
                )
    return "\n".join([*lines, "", *sizes_table(networks), "", *coefficient_tables(networks, options)]) + "\n"


def sizes_table(networks: list[Network]) -> list[str]:
    """Return the deviations of every size."""
    columns = [(e, c, q) for e in networks for c in range(len(CUTOFFS)) for q in range(2)]
    head = [f"{e.case.label}, Λ = {CUTOFFS[c]:g}, {QUANTITIES[q]}" for e, c, q in columns]
    lines = [
        "In brackets what the infinite-width law and the 1/N term predict together, √(1/members + (1/N term)²) for the mean.",
        "",
        "| members | " + " | ".join(head) + " |",
        "|---" * (len(head) + 1) + "|",
    ]
    for i, size in enumerate(networks[0].decay.sizes):
        cells = [
            f"{np.sqrt(e.decay.squares[i, q, c]):.4f} ({np.sqrt((1.0 + q) / size + e.law.squares(e.width)[q, c]):.4f})"
            for e, c, q in columns
        ]
        lines.append(f"| {size} | " + " | ".join(cells) + " |")
    return lines


def coefficient_tables(networks: list[Network], options: argparse.Namespace) -> list[str]:
    """Return the fitted coefficients of 1/N beside those from one neuron."""
    lines = [
        "## The coefficient of 1/N",
        "",
        f"N × deviation at N = {', '.join(map(str, WIDTHS))}, {options.scan} hidden layers each, the read-out averaged over "
        "exactly (and what is linear in the kernels, whose average is zero, taken off); the fit b + c/N + d/N² is judged at b. "
        f"*One neuron*: `FiniteWidth`, {options.neurons} neurons. Joint: Hotelling's T² over inputs and cut-offs, with the "
        "shift by a wrong prediction in standard errors.",
        "",
        "| network | of | T² | rank | p | negative control | shift |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in networks:
        for family, name in zip(entry.families, ("mean", "variance"), strict=True):
            joint = f"{family.chi2:.1f} | {family.dof} | {family.p_value:.3f}"
            lines += [
                f"| {entry.case.label} | {name} | {joint} | {control} | {shift:.0f} |"
                for control, shift in family.controls.items()
            ]
    lines += ["", "| network | of | Λ | input | one neuron | fitted b | pull |", "|---|---|---|---|---|---|---|"]
    for entry in networks:
        for family, name in zip(entry.families, ("mean", "variance"), strict=True):
            for check in family.checks:
                place = ", ".join(f"{value:.2f}" for value in check.input or ())
                lines.append(
                    f"| {entry.case.label} | {name} | {check.cutoff:g} | ({place}) | {check.prediction:.4g} ± "
                    f"{check.prediction_std_error:.1g} | {check.measurement:.4g} ± {check.std_error:.1g} | {check.pull:.2f} |"
                )
    return lines


_COLOUR = ("#0b5394", "#b45f06")


def picture(networks: list[Network]) -> Figure:
    """Return the figure: deviation against members (left), N times the deviation against 1/N (right)."""
    figure = Figure(figsize=(8.4, 3.3 * len(networks)), layout="constrained")
    axes = figure.subplots(len(networks), 2, squeeze=False)
    for (left, right), entry in zip(axes, networks, strict=True):
        sizes, fine = entry.decay.sizes, np.geomspace(entry.decay.sizes[0], entry.decay.sizes[-1], 200)
        floors = entry.law.squares(entry.width)
        for c, cutoff in enumerate(CUTOFFS):
            for q, marker in enumerate("os"):
                label = rf"{QUANTITIES[q]}, $\Lambda$ = {cutoff:g}"
                face = _COLOUR[c] if q == 0 else "none"
                left.plot(
                    sizes, np.sqrt(entry.decay.squares[:, q, c]), marker, ms=4, mfc=face, color=_COLOUR[c], label=label
                )
                curve = np.sqrt((1.0 + q) / fine + floors[q, c])
                left.plot(fine, curve, "-" if q == 0 else "--", lw=1, color=_COLOUR[c])
        left.plot(fine, fine**-0.5, ":", lw=0.8, color="0.5", label=r"members$^{-1/2}$")
        left.set(xscale="log", yscale="log", xlabel="members of the ensemble", ylabel="rms deviation / predicted spread",
                 title=f"{entry.case.label}, N = {entry.width}: curves predicted")  # fmt: skip
        extrapolation(right, entry)
        for axis in (left, right):
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.legend()
    return figure


def extrapolation(axes: mpl.axes.Axes, entry: Network) -> None:
    """Draw N times the relative variance excess at the first stated input, its fit and the one-neuron coefficient."""
    fine = np.linspace(0.0, 1.0 / WIDTHS[0], 100)
    fit, values, errors = intercepts(entry.found, "variance")
    own = intercept_errors(entry.found, "variance")
    points = entry.case.stated
    for c, cutoff in enumerate(CUTOFFS):
        cell, scale = c * points, entry.law.variance[c, 0]
        predicted = entry.law.coefficients.variance
        axes.errorbar(1000.0 / entry.found.widths, values[:, cell] / scale, errors[:, cell] / scale, fmt="o", ms=3.5,
                      lw=0.9, color=_COLOUR[c], label=rf"members of width N, $\Lambda$ = {cutoff:g}")  # fmt: skip
        curve = fit[0, cell] + fit[1, cell] * fine + fit[2, cell] * fine**2
        axes.plot(1000.0 * fine, curve / scale, "-", lw=1, color=_COLOUR[c])
        axes.errorbar(
            0.0, fit[0, cell] / scale, own[cell] / scale, fmt="o", ms=3.5, mfc="none", lw=0.9, color=_COLOUR[c]
        )
        axes.errorbar(0.0, predicted.value[c, 0] / scale, predicted.std_error[c, 0] / scale, fmt="x", ms=7, lw=1.2,
                      color=_COLOUR[c], label=rf"one neuron, $\Lambda$ = {cutoff:g}")  # fmt: skip
    axes.set(xlabel="1000/N", ylabel=r"N (variance/$\Sigma$ − 1)", title=f"{entry.case.label}: first stated input")


def main() -> None:
    """Sample, fit, and write the page and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=2**15, help=f"per size, a power of 2, at least {GROUPS * BLOCK}")
    parser.add_argument("--scan", type=int, default=2000, help="hidden layers per width")
    parser.add_argument("--neurons", type=int, default=2**15, help="behind the predicted coefficients")
    parser.add_argument("--threads", type=int, default=available_threads())
    parser.add_argument("--out", default=str(Path(__file__).parents[1] / "docs"), help="directory")
    options = parser.parse_args()
    networks = [network(i, options.members, options.scan, options.neurons, options.threads) for i in range(2)]
    out = Path(options.out)
    (out / "images").mkdir(parents=True, exist_ok=True)
    text = page(networks, options)
    (out / "deviation.md").write_text(text, encoding="utf-8")
    style = {"font.size": 9.0, "axes.titlesize": 9.0, "legend.fontsize": 7.5, "legend.frameon": False}
    with mpl.rc_context({**style, "axes.spines.top": False, "axes.spines.right": False}):
        picture(networks).savefig(out / "images" / "deviation.png", dpi=120, metadata={"Software": None})
    print(text)


if __name__ == "__main__":
    main()
