"""Does the commutative diagram commute? Both legs with error bars, for every network of the experiment.

Upper leg: train the ensemble, then coarse-grain its members by the information shell.  Lower leg: the linear RG map on
the measured moments of the trained ensemble.  Figures 1 and 2 of arXiv:2405.17538, made a test.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from fieldflow.checks.arrow import arrow
from fieldflow.checks.cosnet_leg import CosNetLeg
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
from fieldflow.checks.network_leg import NetworkLeg
from fieldflow.checks.record import Family
from fieldflow.cosnet import CosNet
from fieldflow.data import FISHER, TEST, TRAIN, gaussian_points, parse_target, target_values
from fieldflow.ensemble import Trained
from fieldflow.errors import BadInput
from fieldflow.flow import TrainingFlow
from fieldflow.network import MLP
from fieldflow.schema import (
    Count,
    Judging,
    Label,
    Network,
    Numbers,
    Positive,
    Positives,
    Section,
    Seed,
    Text,
    TrainingSection,
)
from fieldflow.shell import ShellFlow
from fieldflow.studies.cosnet import CosNetSection
from fieldflow.studies.diagram_pictures import Drawn, pictures, table
from fieldflow.study import Outcome, Report, Study, refuse_empty_shell

Mode = Literal["resample", "prune"]


Cutoffs = Annotated[list[Positive], Field(min_length=2, max_length=50)]


def _check_increasing(cutoffs: list[float]) -> None:
    for earlier, later in pairwise(cutoffs):
        if later <= earlier:
            raise BadInput(f"cutoffs: expected strictly increasing numbers > 0, got {later:g} after {earlier:g}")


class MappedNetwork(Network):
    """One network of the diagram, with its own information shell."""

    fisher_inputs: Annotated[int, Field(strict=True, ge=0, le=1000)] = 0
    cutoffs: Cutoffs

    @model_validator(mode="after")
    def _one_layer(self) -> "MappedNetwork":
        if len(self.widths) != 1:
            raise BadInput(f"widths: expected one hidden layer, got {len(self.widths)}")
        _check_increasing(self.cutoffs)
        readout_bias = self.sigma_b[-1] if isinstance(self.sigma_b, list) else self.sigma_b
        if readout_bias != 0.0:
            raise BadInput(f"sigma_b: expected no read-out bias, got {readout_bias:g}")
        return self

    @property
    def dimension(self) -> int:
        """Number of inputs."""
        return self.d_in

    @property
    def width(self) -> int:
        """Hidden units."""
        return self.widths[0]


class MappedCosNet(CosNetSection):
    """One cosine network of the diagram; its Fisher inputs have the law of the mesh, or are broad."""

    label: Label
    broad: bool = False
    cutoffs: Cutoffs

    @model_validator(mode="after")
    def _exists(self) -> "MappedCosNet":
        _check_increasing(self.cutoffs)
        self.net()
        return self

    def net(self) -> CosNet:
        """Return the network."""
        return CosNet(d=self.d, radius=self.radius, mass=self.mass, sigma_w=self.sigma_w, width=self.width)

    @property
    def dimension(self) -> int:
        """Number of inputs."""
        return self.d


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
    network: Annotated[list[MappedNetwork], Field(default_factory=list, max_length=10)]
    cosnet: Annotated[list[MappedCosNet], Field(default_factory=list, max_length=10)]
    data: MeshSection
    training: TrainingSection
    map: MapSection = MapSection()
    checks: DiagramChecks

    @model_validator(mode="after")
    def _consistent(self) -> "DiagramStudy":
        labels = [entry.label for entry in self.entries]
        if not labels:
            raise BadInput("network: expected at least one table [[network]] or [[cosnet]]")
        if len(set(labels)) != len(labels):
            raise BadInput(f"label: expected a different one for each network, got {', '.join(labels)}")
        if self.members < 16:
            raise BadInput(f"members: expected at least 16, got {self.members}")
        if self.checks.inputs > self.data.test:
            raise BadInput(f"checks.inputs: expected at most data.test = {self.data.test}, got {self.checks.inputs}")
        for entry in self.entries:
            self._check(entry)
        return self

    @property
    def entries(self) -> list[MappedNetwork | MappedCosNet]:
        """All networks, in the order in which they are run."""
        return [*self.network, *self.cosnet]

    def _check(self, entry: MappedNetwork | MappedCosNet) -> None:
        cosine = isinstance(entry, MappedCosNet)
        parse_target(self.data.target, entry.dimension)
        for name in ("input_mean", "input_std"):
            value = getattr(self.data, name)
            if isinstance(value, list) and len(value) != entry.dimension:
                raise BadInput(f"data.{name}: expected a number or {entry.dimension} of them, got {len(value)}")
        if cosine and (isinstance(self.data.input_std, list) or np.any(np.array(self.data.input_mean))):
            raise BadInput("data.input_mean: expected 0, and one number for input_std, with a [[cosnet]]")
        mesh = self.data.train + self.data.test
        if entry.width < 4 * mesh:
            key = "cosnet.width" if cosine else "network.widths"
            raise BadInput(f"{key}: expected at least four times the {mesh} points of the mesh, got {entry.width}")

    @property
    def drawn(self) -> int:
        """Of each network a scan of widths, and in each mode an ensemble and read-outs on a frozen layer."""
        scan = len(self.checks.widths) * self.checks.scan_members
        return len(self.entries) * (scan + len(self.map.modes) * (self.members + self.checks.frozen_members))

    def outcome(self, threads: int, report: Report) -> Outcome:
        """Return both legs of the diagram of each network, beside each other and beside the exact flow."""
        families: list[Family] = []
        drawn, notes, excluded = [], [], 0
        legs = [self.leg(position, threads) for position in range(len(self.entries))]
        for leg in legs:
            refuse_empty_shell(f"{leg.label}: cutoffs", leg.grid, leg.sloppy_fraction(leg.grid))
        for leg in legs:
            progress = _reporter(leg, "scan", report)
            scan = [
                leg.moments(width, np.arange(leg.scan_members), leg.scan_seed(position), f"sample_{width}", progress)
                for position, width in enumerate(leg.widths)
            ]
            for mode in self.map.modes:
                found, picture, left_out = self._around(leg, mode, scan, report)
                families += found
                report.found(found, self.checks.alpha)
                drawn.append(picture)
                excluded += left_out
            notes.append(leg.note)
        return Outcome(
            families=families,
            pictures=pictures(drawn, self.map.data_variance, self.data.train),
            conventions={leg.label: leg.conventions for leg in legs},
            requested=len(legs) * len(self.map.modes) * self.members,
            excluded=excluded,
            formulas=_formulas(legs, self.map.modes, self.training.method),
            tables=[table(drawn)],
            notes=notes,
        )

    def _around(self, leg: Leg, mode: str, scan: list[Moments], report: Report) -> tuple[list[Family], Drawn, int]:
        """Return the families and the series of one network under one mode, and how many members diverged."""
        progress = _reporter(leg, mode, report)
        sampled = leg.sample(mode, f"sample_{mode}", progress)
        if len(sampled.used) < 16:
            raise BadInput(f"training.learning_rate: {leg.label}: fewer than 16 members are left undiverged: lower it")
        given = leg.moments(leg.width, sampled.used, leg.seed, f"given_{mode}", progress)
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
        entry, data, rule = self.entries[position], self.data, self.training
        mean, std = (
            np.broadcast_to(np.array(value), (entry.dimension,)) for value in (data.input_mean, data.input_std)
        )
        x_train, x_test = (
            gaussian_points(count, mean, std, data.seed, stream)
            for count, stream in ((data.train, TRAIN), (data.test, TEST))
        )
        y = target_values(data.target, x_train)
        common: dict[str, Any] = {
            "label": entry.label,
            "mesh": np.concatenate([x_train, x_test]),
            "trained": Trained(x_train, y.reshape(-1, 1), rule.learning_rate, rule.steps, rule.method),
            "grid": np.array([0.0, *entry.cutoffs]),
            "stated": data.train + np.arange(self.checks.inputs),
            "width": entry.width,
            "members": self.members,
            "widths": tuple(self.checks.widths),
            "scan_members": self.checks.scan_members,
            "frozen_members": self.checks.frozen_members,
            "seed": self.seed,
            "threads": threads,
            "keeper": self._keeper,
        }
        if isinstance(entry, MappedCosNet):
            spread = np.inf if entry.broad else float(std[0])
            return CosNetLeg(**common, net=entry.net(), input_std=spread, noise_variance=self.map.noise_variance)
        net = MLP(entry.d_in, widths=entry.widths, activation=entry.functions(), sigma_w=entry.sigma_w,
                  sigma_b=entry.sigma_b, scaling=entry.scaling)  # fmt: skip
        flow = TrainingFlow(
            net, x_train, y, learning_rate=rule.learning_rate, steps=rule.steps, method=rule.method
        )  # fmt: skip
        law: dict[str, Any] = {"fisher": "gaussian", "input_mean": mean, "input_std": std}
        if entry.fisher_inputs:
            law = {"fisher": gaussian_points(entry.fisher_inputs, mean, std, data.seed, FISHER)}
        shell = ShellFlow(flow, **law, noise_variance=self.map.noise_variance, samples=self.map.samples, seed=self.seed)
        return NetworkLeg(**common, net=net, shell=shell)


def _reporter(leg: Leg, mode: str, report: Report) -> Callable[[str, int], None]:
    totals = {"sample": leg.members, "given": leg.scan_members * len(leg.widths) if mode == "scan" else leg.members}
    done: dict[str, int] = {}

    def progress(stage: str, count: int) -> None:
        done[stage] = done.get(stage, 0) + count
        report(f"{leg.label} {mode} {stage}", done[stage], totals[stage])

    return progress


def _formulas(legs: list[Leg], modes: tuple[Mode, ...], method: str) -> list[str]:
    """Return the formulas behind the predictions, in the order of the argument."""
    names = [f"training.{method}", *dict.fromkeys(name for leg in legs for name in leg.formulas)]
    names += ["shell.mean", "shell.covariance", "brg.projector", "brg.mean"]
    names += [f"brg.covariance_{mode}" for mode in modes]
    if any(leg.homogeneous for leg in legs):
        names += ["brg.ou_mean", *(f"brg.ou_covariance_{mode}" for mode in modes)]
    return [*names, "polchinski.two_point", "polchinski.connected", "brg.information", "brg.information_loss"]
