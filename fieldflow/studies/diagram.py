"""Does the commutative diagram commute? Both legs with error bars, for every network of the experiment.

Upper leg: train the ensemble, then coarse-grain its members by the information shell.  Lower leg: the linear RG map on
the measured moments of the trained ensemble.  Figures 1 and 2 of arXiv:2405.17538, made a test.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from fieldflow.checks.arrow import arrow
from fieldflow.checks.diagram import (
    estimates,
    law_agrees,
    legs_agree,
    lower,
    sampled_legs,
    sampled_moments,
    start,
    upper,
)
from fieldflow.checks.frozen import third_cumulants
from fieldflow.checks.leg import Leg, Moments
from fieldflow.checks.record import Family
from fieldflow.data import FISHER, TEST, TRAIN, gaussian_points, parse_target, target_values
from fieldflow.ensemble import Trained
from fieldflow.errors import BadInput
from fieldflow.flow import TrainingFlow
from fieldflow.network import MLP
from fieldflow.schema import Count, Judging, Network, Numbers, Positive, Positives, Section, Seed, Text, TrainingSection
from fieldflow.shell import ShellFlow
from fieldflow.studies.diagram_pictures import Drawn, pictures, table
from fieldflow.study import Outcome, Report, Study

Mode = Literal["resample", "prune"]


class MappedNetwork(Network):
    """One network of the diagram, with its own information shell."""

    fisher_inputs: Annotated[int, Field(strict=True, ge=0, le=1000)] = 0
    cutoffs: Annotated[list[Positive], Field(min_length=2, max_length=50)]

    @model_validator(mode="after")
    def _one_layer(self) -> "MappedNetwork":
        if len(self.widths) != 1:
            raise BadInput(f"widths: expected one hidden layer, got {len(self.widths)}")
        for earlier, later in zip(self.cutoffs, self.cutoffs[1:], strict=False):
            if later <= earlier:
                raise BadInput(f"cutoffs: expected strictly increasing numbers > 0, got {later:g} after {earlier:g}")
        readout_bias = self.sigma_b[-1] if isinstance(self.sigma_b, list) else self.sigma_b
        if readout_bias != 0.0:
            raise BadInput(f"sigma_b: expected no read-out bias, got {readout_bias:g}")
        return self


class MeshSection(Section):
    """Training inputs and further points of the mesh, drawn from a Gaussian, with the target expression."""

    target: Text
    input_mean: Numbers = 0.0
    input_std: Positives = 1.0
    train: Annotated[int, Field(strict=True, ge=1, le=100)]
    test: Annotated[int, Field(strict=True, ge=1, le=100)]
    seed: Seed = 0


class MapSection(Section):
    """The linear map and what it is compared on."""

    modes: Annotated[tuple[Mode, ...], Field(min_length=1, max_length=2)] = ("resample", "prune")
    noise_variance: Positive = 1.0
    data_variance: Positive = 0.1
    samples: Annotated[int, Field(strict=True, ge=256, le=2**26)] = 2**18


class DiagramChecks(Judging):
    """What is judged."""

    inputs: Annotated[int, Field(strict=True, ge=1, le=10)] = 3
    widths: Annotated[list[Count], Field(min_length=4, max_length=20)]
    scan_members: Annotated[int, Field(strict=True, ge=200, le=10**6)]
    frozen_members: Annotated[int, Field(strict=True, ge=200, le=10**7)]
    target_noise: Positive = 1.0

    @model_validator(mode="after")
    def _increasing(self) -> "DiagramChecks":
        if sorted(set(self.widths)) != self.widths:
            raise BadInput(f"widths: expected increasing widths, got {self.widths}")
        return self


class DiagramStudy(Study):
    """Go around the commutative diagram (see the template of ``fieldflow init commutative-diagram``)."""

    kind: Text = "diagram"
    network: Annotated[list[MappedNetwork], Field(min_length=1, max_length=10)]
    data: MeshSection
    training: TrainingSection
    map: MapSection = MapSection()
    checks: DiagramChecks

    @model_validator(mode="after")
    def _consistent(self) -> "DiagramStudy":
        labels = [network.label for network in self.network]
        if len(set(labels)) != len(labels):
            raise BadInput(f"network: expected a different label for each, got {', '.join(labels)}")
        if self.members < 16:
            raise BadInput(f"members: expected at least 16, got {self.members}")
        if self.checks.inputs > self.data.test:
            raise BadInput(f"checks.inputs: expected at most data.test = {self.data.test}, got {self.checks.inputs}")
        for network in self.network:
            parse_target(self.data.target, network.d_in)
            for name in ("input_mean", "input_std"):
                value = getattr(self.data, name)
                if isinstance(value, list) and len(value) != network.d_in:
                    raise BadInput(f"data.{name}: expected a number or {network.d_in} of them, got {len(value)}")
            if network.widths[0] < 4 * (self.data.train + self.data.test):
                raise BadInput(
                    f"network.widths: expected at least four times the {self.data.train + self.data.test} points of the mesh, "
                    f"got {network.widths[0]}"
                )
        return self

    def outcome(self, threads: int, report: Report) -> Outcome:
        """Return both legs of the diagram of each network, beside each other and beside the exact flow."""
        families: list[Family] = []
        drawn, notes, excluded = [], [], 0
        legs = [self.leg(position, threads) for position in range(len(self.network))]
        for leg in legs:
            progress = _reporter(leg, "scan", report)
            scan = [
                leg.moments(leg.net.with_width(width), leg.scan_members, leg.scan_seed(position), progress)
                for position, width in enumerate(leg.widths)
            ]
            for mode in self.map.modes:
                found, picture, left_out = self._around(leg, mode, scan, report)
                families += found
                drawn.append(picture)
                excluded += left_out
            notes.append(_note(leg))
        return Outcome(
            families=families,
            pictures=pictures(drawn, self.map.data_variance, self.data.train),
            conventions={leg.label: dict(leg.net.convention.items()) for leg in legs},
            requested=len(legs) * len(self.map.modes) * self.members,
            excluded=excluded,
            formulas=_formulas(legs, self.map.modes, self.training.method),
            tables=[table(drawn)],
            notes=notes,
        )

    def _around(self, leg: Leg, mode: str, scan: list[Moments], report: Report) -> tuple[list[Family], Drawn, int]:
        """Return the families and the series of one network under one mode, and how many members diverged."""
        progress = _reporter(leg, mode, report)
        sampled = leg.sample(leg.net, mode, self.members, leg.seed, progress)
        if len(sampled.used) < 16:
            raise BadInput(f"training.learning_rate: {leg.label}: fewer than 16 members are left undiverged: lower it")
        given = leg.moments(leg.net, self.members, leg.seed, progress, used=sampled.used)
        outputs = sampled_moments(sampled, mode)
        commuting, gap = legs_agree(leg, mode, scan)
        cumulant, third = third_cumulants(leg, mode, self.checks.target_noise)
        top, bottom = (estimates(values) for values in (upper(leg, outputs, mode), lower(leg, outputs, leg.maps[mode])))
        drawn = Drawn(leg, mode, *top, *bottom, *estimates(start(leg, outputs, mode)), gap, third)
        families = [
            arrow(leg, mode, sampled),
            sampled_legs(leg, mode, outputs, given),
            commuting,
            law_agrees(leg, mode, scan),
            cumulant,
        ]
        return families, drawn, self.members - len(sampled.used)

    def leg(self, position: int, threads: int) -> Leg:
        """Return the network number ``position`` with its mesh, its trained law and its information shell."""
        spec, data = self.network[position], self.data
        net = MLP(spec.d_in, widths=spec.widths, activation=spec.functions(), sigma_w=spec.sigma_w, sigma_b=spec.sigma_b,
                  scaling=spec.scaling)  # fmt: skip
        mean, std = (np.broadcast_to(np.array(value), (spec.d_in,)) for value in (data.input_mean, data.input_std))
        x_train, x_test = (
            gaussian_points(count, mean, std, data.seed, stream)
            for count, stream in ((data.train, TRAIN), (data.test, TEST))
        )
        y = target_values(data.target, x_train)
        rule = self.training
        flow = TrainingFlow(
            net, x_train, y, learning_rate=rule.learning_rate, steps=rule.steps, method=rule.method
        )  # fmt: skip
        count = spec.fisher_inputs
        law = {"fisher": gaussian_points(count, mean, std, data.seed, FISHER)} if count else {
            "fisher": "gaussian", "input_mean": mean, "input_std": std}  # fmt: skip
        shell = ShellFlow(flow, **law, noise_variance=self.map.noise_variance, samples=self.map.samples, seed=self.seed)
        return Leg(
            label=spec.label,
            net=net,
            mesh=np.concatenate([x_train, x_test]),
            trained=Trained(x_train, y.reshape(-1, 1), rule.learning_rate, rule.steps, rule.method),
            shell=shell,
            grid=np.array([0.0, *spec.cutoffs]),
            stated=data.train + np.arange(self.checks.inputs),
            members=self.members,
            widths=tuple(self.checks.widths),
            scan_members=self.checks.scan_members,
            frozen_members=self.checks.frozen_members,
            seed=self.seed,
            threads=threads,
        )


def _reporter(leg: Leg, mode: str, report: Report) -> Callable[[str, int], None]:
    totals = {"sample": leg.members, "given": leg.scan_members * len(leg.widths) if mode == "scan" else leg.members}
    done: dict[str, int] = {}

    def progress(stage: str, count: int) -> None:
        done[stage] = done.get(stage, 0) + count
        report(f"{leg.label} {mode} {stage}", done[stage], totals[stage])

    return progress


def _note(leg: Leg) -> str:
    """Return what kind of flow the network has."""
    if leg.homogeneous:
        return (
            f"{leg.label}: the shell kernel is the kernel times Z, in closed form; the resampled law is that of an "
            "Ornstein-Uhlenbeck process in the time -ln Z at each cut-off (one redraw serves all cut-offs, so that two of them "
            "are not correlated as in that process)."
        )
    lowest = min(leg.maps["resample"].generator_eigenvalue(float(cutoff)) for cutoff in leg.grid[:-1])
    kind = "a Markov diffusion on this mesh" if lowest >= 0.0 else "no Markov diffusion: a map of laws only"
    return (
        f"{leg.label}: the shell kernel is sampled (quasi-Monte Carlo, standard error {leg.stiff_error:.1e}) with λ from "
        f"{leg.fisher_inputs or 'Gaussian'} Fisher inputs; the smallest eigenvalue of the resampling diffusion matrix "
        f"along the cut-offs is {lowest:.3g}: {kind}."
    )


def _formulas(legs: list[Leg], modes: tuple[Mode, ...], method: str) -> list[str]:
    """Return the formulas behind the predictions, in the order of the argument."""
    names = [f"training.{method}", "fisher.readout", "shell.mean", "shell.covariance", "brg.projector", "brg.mean"]
    names += [f"brg.covariance_{mode}" for mode in modes]
    if any(leg.homogeneous for leg in legs):
        names += ["shell.homogeneous_Z", "brg.ou_mean", *(f"brg.ou_covariance_{mode}" for mode in modes)]
    return [*names, "polchinski.two_point", "polchinski.connected", "brg.information", "brg.information_loss"]
