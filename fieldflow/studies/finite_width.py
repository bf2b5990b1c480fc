"""What does the width of a network do to its law? Deviations of order 1/N of trained and coarse-grained ensembles.

Mean shift, variance excess, κ₃ and κ₄ against the averages over one neuron (``finite_width.*``), extrapolated in 1/N.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from fieldflow.checks.finite_width import (
    QUANTITIES,
    Found,
    FrozenShell,
    controls,
    given_hidden,
    intercept_errors,
    intercepts,
    judged,
    measured,
    sampled_law,
)
from fieldflow.checks.network_leg import NetworkLeg
from fieldflow.checks.record import Family
from fieldflow.data import TRAIN, gaussian_points, parse_target, target_values
from fieldflow.ensemble import Trained
from fieldflow.errors import BadInput
from fieldflow.finite_width import FiniteWidth
from fieldflow.flow import TrainingFlow
from fieldflow.latex import number, with_error
from fieldflow.network import MLP
from fieldflow.picture import Line, Mark, Panel, Picture, Points, Tabular
from fieldflow.schema import Count, Judging, Network, Number, Positive, Scale, Section, Seed, Text, TrainingSection
from fieldflow.shell import ShellFlow
from fieldflow.study import Outcome, Report, Study, refuse_empty_shell

Mode = Literal["resample", "prune"]
_NAMES = {
    "mean": r"$N(\mathrm{E}f-\mu)$",
    "variance": r"$N(\mathrm{Var}f-\Sigma)$",
    "third_cumulant": r"$N\kappa_3$",
    "fourth_cumulant": r"$N\kappa_4$",
}
_CURVE = 24


class PointsSection(Section):
    """Training inputs drawn from a Gaussian, which is the Fisher law too, and the points at which the law is compared."""

    target: Text
    input_std: Positive = 1.0
    train: Annotated[int, Field(strict=True, ge=1, le=60)]
    points: Annotated[list[list[Number]], Field(min_length=1, max_length=4)]
    seed: Seed = 0


class CutSection(Section):
    """Cut-offs of the information shell, 0 (the trained ensemble) first."""

    cutoffs: Annotated[list[Scale], Field(min_length=2, max_length=10)]
    modes: Annotated[tuple[Mode, ...], Field(min_length=1, max_length=2)] = ("resample", "prune")
    noise_variance: Positive = 1.0

    @model_validator(mode="after")
    def _increasing(self) -> "CutSection":
        if self.cutoffs[0] != 0.0 or sorted(set(self.cutoffs)) != self.cutoffs:
            raise BadInput(f"cutoffs: expected increasing numbers, 0 first, got {self.cutoffs}")
        return self


class WidthChecks(Judging):
    """The scan of widths, and the neurons behind the predictions."""

    widths: Annotated[list[Count], Field(min_length=4, max_length=20)]
    scan_members: Annotated[int, Field(strict=True, ge=200, le=10**6)]
    neurons: Annotated[int, Field(strict=True, ge=256, le=2**24)] = 2**15

    @model_validator(mode="after")
    def _wider(self) -> "WidthChecks":
        if sorted(set(self.widths)) != self.widths:
            raise BadInput(f"widths: expected increasing widths, got {self.widths}")
        return self


class FiniteWidthStudy(Study):
    """Compare ensembles of several widths with the 1/N expansion (see the template of ``fieldflow init finite-width``)."""

    kind: Text = "finite-width"
    network: Network
    data: PointsSection
    training: TrainingSection
    shell: CutSection
    checks: WidthChecks

    @model_validator(mode="after")
    def _consistent(self) -> "FiniteWidthStudy":
        if len(self.network.widths) != 1:
            raise BadInput(f"network.widths: expected one hidden layer, got {len(self.network.widths)}")
        if self.members < 200:
            raise BadInput(f"members: expected at least 200, got {self.members}")
        if any(len(point) != self.network.d_in for point in self.data.points):
            raise BadInput(f"data.points: expected {self.network.d_in} coordinates each")
        parse_target(self.data.target, self.network.d_in)
        return self

    @property
    def drawn(self) -> int:
        """In each mode a scan of widths and an ensemble."""
        return len(self.shell.modes) * (len(self.checks.widths) * self.checks.scan_members + self.members)

    def leg(self, threads: int) -> NetworkLeg:
        """Return the network with its data: the mesh is the training inputs and the stated points."""
        spec, data, rule = self.network, self.data, self.training
        net = MLP(spec.d_in, widths=spec.widths, activation=spec.functions(), sigma_w=spec.sigma_w, sigma_b=spec.sigma_b,
                  scaling=spec.scaling)  # fmt: skip
        zeros, spread = np.zeros(spec.d_in), np.full(spec.d_in, data.input_std)
        x = gaussian_points(data.train, zeros, spread, data.seed, TRAIN)
        y = target_values(data.target, x)
        flow = TrainingFlow(net, x, y, learning_rate=rule.learning_rate, steps=rule.steps, method=rule.method)
        return NetworkLeg(
            label=spec.label,
            mesh=np.concatenate([x, np.array(data.points)]),
            trained=Trained(x, y.reshape(-1, 1), rule.learning_rate, rule.steps, rule.method),
            grid=np.array(self.shell.cutoffs),
            stated=data.train + np.arange(len(data.points)),
            width=spec.widths[0],
            members=self.members,
            widths=tuple(self.checks.widths),
            scan_members=self.checks.scan_members,
            frozen_members=0,
            seed=self.seed,
            threads=threads,
            keeper=self._keeper,
            net=net,
            shell=ShellFlow(flow, input_std=data.input_std, noise_variance=self.shell.noise_variance, seed=self.seed),
        )

    def outcome(self, threads: int, report: Report) -> Outcome:
        """Return the corrections of order 1/N, predicted and measured."""
        leg = self.leg(threads)
        refuse_empty_shell("shell.cutoffs", leg.grid, leg.shell.sloppy_fraction(leg.grid))
        families: list[Family] = []
        every: list[Found] = []
        excluded = 0
        for mode in self.shell.modes:
            found, sampled, left_out = self._mode(leg, mode, report)
            # Mean and variance excess are those of the other mode to the last digit: judged once.
            names = QUANTITIES if not every else ("third_cumulant", "fourth_cumulant")
            families += [*judged(leg, found, leg.grid, names), sampled]
            report.found(families, self.checks.alpha)
            every.append(found)
            excluded += left_out
        return Outcome(
            families=families,
            pictures=[_extrapolation(leg, every), self._along(leg, every)],
            conventions={leg.label: leg.conventions},
            requested=len(self.shell.modes) * self.members,
            excluded=excluded,
            formulas=[*_FORMULAS, *leg.formulas, f"training.{self.training.method}"],
            tables=[_table(leg, every)],
            notes=[_note(leg, every[0])],
        )

    def _mode(self, leg: NetworkLeg, mode: Mode, report: Report) -> tuple[Found, Family, int]:
        progress = _reporter(leg, mode, report)
        law = self._law(leg, mode)
        x, cutoffs = leg.mesh[leg.stated], leg.grid
        mean = law.shell.mean(x, cutoffs)
        variance = np.diagonal(law.shell.covariance(x, cutoff=cutoffs), axis1=-2, axis2=-1)
        values: dict[str, list[np.ndarray]] = {name: [] for name in QUANTITIES}
        for position, width in enumerate(leg.widths):
            members = given_hidden(
                leg, law, cutoffs, width, leg.scan_seed(position), leg.scan_members, f"sample_{mode}_{width}", progress
            )
            for name, value in measured(members, mean, variance, width).items():
                values[name].append(value)
        right = law.corrections(x, cutoffs)
        frozen = FrozenShell(law.shell, samples=self.checks.neurons, seed=self.seed)
        found = Found(mode, right, controls(frozen, x, cutoffs, right), np.array(leg.widths, dtype=float), values)
        sampled = leg.sample(mode, f"sample_{mode}", progress)
        own = given_hidden(leg, law, cutoffs, leg.width, leg.seed, leg.members, f"given_{mode}", progress)
        return found, sampled_law(leg, mode, sampled, own, cutoffs), leg.members - len(sampled.used)

    def _law(self, leg: NetworkLeg, mode: Mode, neurons: int | None = None) -> FiniteWidth:
        shell = ShellFlow(
            leg.shell.flow,
            input_std=self.data.input_std,
            noise_variance=self.shell.noise_variance,
            mode=mode,
            seed=self.seed,
        )
        return FiniteWidth(shell, samples=neurons or self.checks.neurons, seed=self.seed)

    def _along(self, leg: NetworkLeg, every: list[Found]) -> Picture:
        """Return the coefficients along the flow at the first point."""
        fine = np.linspace(0.0, leg.grid[-1], _CURVE)
        point = leg.mesh[leg.stated[:1]]
        curves = {found.mode: self._law(leg, found.mode).corrections(point, fine) for found in every}  # type: ignore[arg-type]
        count = len(leg.stated)
        panels = []
        for name, label in _NAMES.items():
            series: list[Line | Points | Mark] = [Mark(0.0, vertical=False)]
            for found, role, marker in zip(every, ("predicted", "alternative"), "os", strict=False):
                curve = getattr(curves[found.mode], name)
                fit, _, _ = intercepts(found, name)
                error = intercept_errors(found, name)
                series.append(
                    Line(fine, curve.value[:, 0], f"one neuron, {found.mode}", role, band=curve.std_error[:, 0])
                )
                points = "measured" if role == "predicted" else role
                series.append(
                    Points(leg.grid, fit[0, ::count], error[::count], f"ensembles, {found.mode}", points, marker)
                )
            panels.append(Panel(series, r"cut-off $\Lambda$", label))
        return Picture(
            "along",
            "Coefficients of $1/N$ at the first point along the information-shell flow: averages over one neuron (lines) and "
            r"what ensembles of several widths extrapolate to at $N\to\infty$ (points). Coarse-graining switches on $\kappa_3$ "
            r"and $\kappa_4$ of an ensemble that training had made nearly Gaussian.",
            panels,
        )


_FORMULAS = (
    "shell.mean", "shell.covariance", "shell.covariance_prune", "finite_width.mean_slope", "finite_width.mean_curvature",
    "finite_width.covariance_slope", "finite_width.covariance_curvature", *QUANTITIES.values(),
)  # fmt: skip


def _reporter(leg: NetworkLeg, mode: str, report: Report) -> Callable[[str, int], None]:
    totals = {"scan": leg.scan_members * len(leg.widths) + leg.members, "sample": leg.members}
    done: dict[str, int] = {}

    def progress(stage: str, count: int) -> None:
        done[stage] = done.get(stage, 0) + count
        report(f"{leg.label} {mode} {stage}", done[stage], totals[stage])

    return progress


def _extrapolation(leg: NetworkLeg, every: list[Found]) -> Picture:
    """Return N times each deviation against 1/N at the first point and the last cut-off, with the predicted intercept."""
    panels = []
    count = len(leg.stated)
    cell = (len(leg.grid) - 1) * count
    for name, label in _NAMES.items():
        series: list[Line | Points | Mark] = []
        for found, role, marker in zip(every, ("predicted", "alternative"), "os", strict=False):
            fit, values, errors = intercepts(found, name)
            fine = np.linspace(0.0, 1.0 / found.widths[0], 50)
            a, b, c = fit[:, cell]
            series.append(Line(fine, a + b * fine + c * fine**2, "", "guide", dashed=True))
            measured_role = "measured" if role == "predicted" else role
            series.append(
                Points(
                    1.0 / found.widths,
                    values[:, cell],
                    errors[:, cell],
                    f"ensembles, {found.mode}",
                    measured_role,
                    marker,
                )
            )
            right = getattr(found.predicted, name)
            series.append(
                Points([0.0], right.value[-1, :1], right.std_error[-1, :1], f"one neuron, {found.mode}", role, "^")
            )  # fmt: skip
        panels.append(Panel(series, r"$1/N$", label))
    return Picture(
        "extrapolation",
        rf"$N$ times the deviation from infinite width at the first point, $\Lambda={leg.grid[-1]:g}$, against $1/N$, with the "
        r"fit $a+b/N+c/N^2$ (dashed). Triangles: the average over one neuron, to which $a$ is compared.",
        panels,
    )


def _table(leg: NetworkLeg, every: list[Found]) -> Tabular:
    rows = []
    count = len(leg.stated)
    for found in every:
        for name, label in _NAMES.items():
            right = getattr(found.predicted, name)
            fit, _, _ = intercepts(found, name)
            errors = intercept_errors(found, name)
            for place, cutoff in enumerate(leg.grid):
                at = place * count
                rows.append([
                    found.mode, label, number(float(cutoff), 3),
                    with_error(float(right.value[place, 0]), float(right.std_error[place, 0])),
                    with_error(float(fit[0, at]), float(errors[at])),
                ])  # fmt: skip
    return Tabular(
        "coefficients",
        r"Coefficients of $1/N$ at the first point: averages over one neuron (quasi-Monte Carlo) and intercepts of ensembles.",
        "lllrr",
        ["mode", "quantity", r"$\Lambda$", "one neuron", "ensembles"],
        rows,
    )


def _note(leg: NetworkLeg, found: Found) -> str:
    variance = float(np.diagonal(leg.shell.covariance(leg.mesh[leg.stated[:1]], cutoff=0.0))[0])
    excess = float(found.predicted.variance.value[0, 0])
    return (
        f"{leg.label}: at the first point the trained variance at infinite width is {variance:.4g}; a network of width N has "
        f"{excess:+.4g}/N more, {100 * excess / variance / leg.width:.3g} % at N = {leg.width}."
    )
