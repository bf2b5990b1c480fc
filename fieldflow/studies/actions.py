"""Which action does an ensemble have along training and along the information shell? Couplings g_1 … g_4 with error bars.

From n-point data on a mesh to couplings, extrapolated in 1/N, against the one-neuron prediction and against infinite width,
where all of them vanish: equations (56)-(58) of arXiv:2405.17538, corrected.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from fieldflow.checks.action_members import Flows, Limit, given_hidden, measured, sampled, untrained
from fieldflow.checks.actions import (
    FORMULAS,
    Found,
    Predicted,
    conditional_law,
    controls,
    frozen,
    initial,
    judged,
    predicted,
)
from fieldflow.checks.network_leg import NetworkLeg
from fieldflow.checks.record import Family
from fieldflow.data import TRAIN, gaussian_points, parse_target, target_values
from fieldflow.ensemble import Trained
from fieldflow.errors import BadInput
from fieldflow.flow import TrainingFlow
from fieldflow.network import MLP
from fieldflow.picture import Picture
from fieldflow.schema import Count, Judging, Network, Number, Positive, Scale, Section, Seed, Steps, Text
from fieldflow.shell import ShellFlow
from fieldflow.studies.action_pictures import Curve, along, extrapolation, table
from fieldflow.study import Outcome, Report, Study, refuse_empty_shell

_CURVE = 13
"""Places of a predicted curve, besides those of the experiment."""


class MeshSection(Section):
    """Training inputs drawn from a Gaussian, which is the Fisher law too, and the mesh on which the action lives."""

    target: Text
    input_std: Positive = 1.0
    train: Annotated[int, Field(strict=True, ge=1, le=60)]
    points: Annotated[list[list[Number]], Field(min_length=1, max_length=5)]
    seed: Seed = 0


class TimesSection(Section):
    """The training flow: times at which the action is read off, 0 (initialisation) first."""

    method: Literal["sgd", "gd", "gradient_flow"] = "gd"
    learning_rate: Positive
    steps: Annotated[list[Steps], Field(min_length=2, max_length=12)]

    @model_validator(mode="after")
    def _increasing(self) -> "TimesSection":
        if self.steps[0] != 0 or sorted(set(self.steps)) != self.steps:
            raise BadInput(f"steps: expected increasing numbers, 0 first, got {self.steps}")
        if self.method != "gradient_flow" and any(isinstance(entry, float) for entry in self.steps):
            raise BadInput(f'steps: expected integers unless method = "gradient_flow", got {self.steps}')
        return self


class FlowSection(Section):
    """The BRG flow of the network that was trained longest: cut-offs, 0 first."""

    cutoffs: Annotated[list[Scale], Field(min_length=2, max_length=10)]
    mode: Literal["resample", "prune"] = "resample"
    noise_variance: Positive = 1.0

    @model_validator(mode="after")
    def _increasing(self) -> "FlowSection":
        if self.cutoffs[0] != 0.0 or sorted(set(self.cutoffs)) != self.cutoffs:
            raise BadInput(f"cutoffs: expected increasing numbers, 0 first, got {self.cutoffs}")
        return self


class ActionChecks(Judging):
    """The scan of widths, the blocks of the jackknife, and the neurons behind the predictions."""

    widths: Annotated[list[Count], Field(min_length=4, max_length=20)]
    scan_members: Annotated[int, Field(strict=True, ge=200, le=10**6)]
    blocks: Annotated[int, Field(strict=True, ge=40, le=10**4)] = 200
    initial_members: Annotated[int, Field(strict=True, ge=1000, le=10**7)] = 100_000
    neurons: Annotated[int, Field(strict=True, ge=256, le=2**24)] = 2**15

    @model_validator(mode="after")
    def _consistent(self) -> "ActionChecks":
        if sorted(set(self.widths)) != self.widths:
            raise BadInput(f"widths: expected increasing widths, got {self.widths}")
        for name in ("scan_members", "initial_members"):
            if getattr(self, name) % self.blocks or getattr(self, name) < 2 * self.blocks:
                raise BadInput(f"{name}: expected a multiple of blocks = {self.blocks}, got {getattr(self, name)}")
        return self


class ActionStudy(Study):
    """Compare the action of ensembles of several widths with the 1/N expansion (``fieldflow init actions``)."""

    kind: Text = "actions"
    network: Network
    data: MeshSection
    training: TimesSection
    shell: FlowSection
    checks: ActionChecks

    @model_validator(mode="after")
    def _consistent(self) -> "ActionStudy":
        if len(self.network.widths) != 1:
            raise BadInput(f"network.widths: expected one hidden layer, got {len(self.network.widths)}")
        if self.members < 200:
            raise BadInput(f"members: expected at least 200, got {self.members}")
        if any(len(point) != self.network.d_in for point in self.data.points):
            raise BadInput(f"data.points: expected {self.network.d_in} coordinates each")
        if len({tuple(point) for point in self.data.points}) != len(self.data.points):
            raise BadInput(f"data.points: expected different points, got {self.data.points}")
        parse_target(self.data.target, self.network.d_in)
        return self

    @property
    def drawn(self) -> int:
        """A scan of widths, an ensemble trained for each of the times, and untrained networks."""
        scan = len(self.checks.widths) * self.checks.scan_members
        return scan + len(self.training.steps) * self.members + self.checks.initial_members

    def flows(self, threads: int, *, steps: list[float] | None = None, cutoffs: list[float] | None = None) -> Flows:
        """Return the network along both flows, at the experiment's times and cut-offs or at others."""
        times = self.training.steps if steps is None else steps
        grids = [[0.0]] * (len(times) - 1) + [self.shell.cutoffs if cutoffs is None else cutoffs]
        return Flows(tuple(self._leg(threads, *entry) for entry in zip(times, grids, strict=True)))

    def _leg(self, threads: int, steps: float, cutoffs: list[float]) -> NetworkLeg:
        spec, data, rule = self.network, self.data, self.training
        net = MLP(spec.d_in, widths=spec.widths, activation=spec.functions(), sigma_w=spec.sigma_w, sigma_b=spec.sigma_b,
                  scaling=spec.scaling)  # fmt: skip
        x = gaussian_points(data.train, np.zeros(spec.d_in), np.full(spec.d_in, data.input_std), data.seed, TRAIN)
        y = target_values(data.target, x)
        flow = TrainingFlow(net, x, y, learning_rate=rule.learning_rate, steps=steps, method=rule.method)
        return NetworkLeg(
            label=spec.label,
            mesh=np.concatenate([x, np.array(data.points)]),
            trained=Trained(x, y.reshape(-1, 1), rule.learning_rate, steps, rule.method),
            grid=np.array(cutoffs),
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
            shell=ShellFlow(flow, input_std=data.input_std, noise_variance=self.shell.noise_variance, mode=self.shell.mode,
                            seed=self.seed),
        )  # fmt: skip

    def outcome(self, threads: int, report: Report) -> Outcome:
        """Return the action along both flows, predicted and measured."""
        flows = self.flows(threads)
        leg, checks = flows.last, self.checks
        refuse_empty_shell("shell.cutoffs", leg.grid, leg.shell.sloppy_fraction(leg.grid))
        progress = _reporter(flows, report)
        laws = flows.laws(checks.neurons)
        limit = flows.limit()
        right = predicted(flows, checks.neurons)
        values = []
        for position, width in enumerate(leg.widths):
            members = given_hidden(
                flows, laws, width, leg.scan_seed(position), leg.scan_members, f"sample_{width}", progress
            )
            values.append(measured(members, limit, width, checks.blocks))
        wrong = controls(right, frozen(flows, max(checks.neurons // 4, 256)), len(flows.points))
        found = Found(flows, right, wrong, np.array(leg.widths, dtype=float), tuple(values))
        own = given_hidden(flows, laws, leg.width, leg.seed, leg.members, "given", progress)
        exact, used = conditional_law(flows, own, leg.width, progress)
        families = [*judged(found), exact]
        report.found(families, self.checks.alpha)
        return Outcome(
            families=[*families, *self._initial(flows, limit, found)],
            pictures=[*self._along(found, limit), extrapolation(found, limit)],
            conventions={leg.label: leg.conventions},
            requested=self.members,
            excluded=self.members - used,
            formulas=[*_FORMULAS, *leg.formulas, f"training.{self.training.method}"],
            tables=[table(found, limit)],
        )

    def _initial(self, flows: Flows, limit: Limit, found: Found) -> list[Family]:
        leg = flows.last
        drawn = untrained(flows, self.checks.initial_members, leg.scan_seed(len(leg.widths)))
        return initial(flows, sampled(drawn, limit.covariance[0], self.checks.blocks), found.predicted, leg.width)

    def _along(self, found: Found, limit: Limit) -> list[Picture]:
        """Return the couplings along either flow, with predicted curves between the measured places."""
        times, cutoffs = self._fine_times(), np.linspace(0.0, self.shell.cutoffs[-1], _CURVE).tolist()
        fine = self.flows(found.flows.last.threads, steps=times, cutoffs=cutoffs)
        right, sigma = predicted(fine, max(self.checks.neurons // 8, 256)), fine.limit().covariance
        pictures = []
        end = len(times)
        for flow, drawn, at, chosen in (
            ("training", slice(0, end), times, found.flows.training),
            ("shell", slice(end - 1, None), cutoffs, slice(found.flows.training.stop - 1, None)),
        ):
            curve = Curve(np.array(at), Predicted(right.value[drawn], right.left_out[:, drawn]), sigma[drawn])
            pictures.append(along(found, limit, chosen, curve, flow))
        return pictures

    def _fine_times(self) -> list[float]:
        """Return training times for a curve, those of the experiment among them."""
        steps = self.training.steps
        between = np.geomspace(steps[1], steps[-1], _CURVE)
        if self.training.method != "gradient_flow":
            between = np.round(between)
        return sorted({*steps, *(int(t) if t == round(t) else float(t) for t in between)})


_FORMULAS = (
    "shell.mean", "shell.covariance", "shell.covariance_prune", "finite_width.mean_slope", "finite_width.mean_curvature",
    "finite_width.covariance_slope", "finite_width.covariance_curvature", "finite_width.mean", "finite_width.variance",
    "finite_width.kappa3", "finite_width.kappa4", *FORMULAS.values(),
)  # fmt: skip


def _reporter(flows: Flows, report: Report) -> Callable[[str, int], None]:
    leg = flows.last
    totals = {
        "scan": leg.scan_members * len(leg.widths) + leg.members,
        "sample": leg.members * len(flows.legs),
    }
    done: dict[str, int] = {}

    def progress(stage: str, count: int) -> None:
        done[stage] = done.get(stage, 0) + count
        report(f"{leg.label} {stage}", done[stage], totals[stage])

    return progress
