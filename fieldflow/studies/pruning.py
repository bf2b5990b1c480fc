"""What does pruning leave of a trained ensemble? By chance, magnitude, Fisher information and saliency, on the same members.

One law (``pruning.mean``, ``pruning.covariance``) with one share per rule, against residuals of ensembles of several widths.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from fieldflow.checks.pruning import Limit, law, measured_share, residual_cells
from fieldflow.data import NOISE, TEST, TRAIN, gaussian_points, parse_target, target_values
from fieldflow.ensemble import Ensemble
from fieldflow.errors import BadInput
from fieldflow.flow import TrainingFlow
from fieldflow.inputs import Array
from fieldflow.kernels import nngp
from fieldflow.latex import number, with_error
from fieldflow.network import MLP
from fieldflow.picture import Line, Panel, Picture, Points, Tabular
from fieldflow.pruning import PrunedFlow, Pruning, pruned_outputs
from fieldflow.schema import Count, Judging, Network, Number, Positive, Section, Seed, Text, TrainingSection
from fieldflow.shell_kernel import FisherLaw
from fieldflow.study import Outcome, Report, Study

Rule = Literal["random", "magnitude", "fisher", "saliency"]
_ROLES = {"fisher": "predicted", "magnitude": "alternative", "random": "control", "saliency": "limit"}
_MARKERS = {"fisher": "o", "magnitude": "s", "random": "^", "saliency": "D"}
_FORMULAS = {
    "random": ("pruning.random_share",),
    "magnitude": ("pruning.magnitude_threshold", "pruning.magnitude_share"),
    "fisher": ("pruning.fisher_share",),
    "saliency": ("pruning.saliency_fraction", "pruning.saliency_share"),
}
_CURVE = 60


class TaskSection(Section):
    """Gaussian training and test inputs, which are the Fisher law too, and the points at which the law is compared."""

    target: Text
    input_std: Positive = 1.0
    train: Annotated[int, Field(strict=True, ge=1, le=200)]
    test: Annotated[int, Field(strict=True, ge=1, le=2000)]
    noise_std: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)] = 0.0
    points: Annotated[list[list[Number]], Field(min_length=1, max_length=4)]
    seed: Seed = 0


class PruningSection(Section):
    """Which weights go, and how many."""

    fractions: Annotated[list[Positive], Field(min_length=1, max_length=12)]
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=4)] = (
        "random",
        "magnitude",
        "fisher",
        "saliency",
    )

    @model_validator(mode="after")
    def _increasing(self) -> "PruningSection":
        if sorted(set(self.fractions)) != self.fractions or self.fractions[-1] >= 1.0:
            raise BadInput(f"fractions: expected increasing numbers between 0 and 1, got {self.fractions}")
        if len(set(self.rules)) != len(self.rules):
            raise BadInput(f"rules: expected each rule once, got {', '.join(self.rules)}")
        return self


class WidthChecks(Judging):
    """The scan of widths that is extrapolated."""

    widths: Annotated[list[Count], Field(min_length=4, max_length=20)]
    scan_members: Annotated[int, Field(strict=True, ge=200, le=10**6)]

    @model_validator(mode="after")
    def _wider(self) -> "WidthChecks":
        if sorted(set(self.widths)) != self.widths:
            raise BadInput(f"widths: expected increasing widths, got {self.widths}")
        return self


class PruningStudy(Study):
    """Compare rules of pruning with the law of one share (see the template of ``fieldflow init pruning``)."""

    kind: Text = "pruning"
    network: Network
    data: TaskSection
    training: TrainingSection
    pruning: PruningSection
    checks: WidthChecks

    @model_validator(mode="after")
    def _consistent(self) -> "PruningStudy":
        spec = self.network
        if len(spec.widths) != 1:
            raise BadInput(f"network.widths: expected one hidden layer, got {len(spec.widths)}")
        if np.any(np.asarray(spec.sigma_b) != 0.0):
            raise BadInput(f"network.sigma_b: expected 0 (biases spoil the law of one share), got {spec.sigma_b}")
        degree = self._net(spec.widths[0]).activation[0].degree
        if degree is None or degree < 1:
            raise BadInput(
                f"network.activation: expected one with sigma(tz) = t^k sigma(z), k >= 1, got {spec.activation!r}"
            )
        if self.members < 200:
            raise BadInput(f"members: expected at least 200, got {self.members}")
        if any(len(point) != spec.d_in for point in self.data.points):
            raise BadInput(f"data.points: expected {spec.d_in} coordinates each")
        for width in (spec.widths[0], *self.checks.widths):
            counts = [fraction * width for fraction in self.pruning.fractions]
            if any(abs(count - round(count)) > 1e-6 for count in counts):
                raise BadInput(
                    f"pruning.fractions: expected whole numbers of weights at every width, not so at {width}"
                )
        parse_target(self.data.target, spec.d_in)
        return self

    @property
    def drawn(self) -> int:
        """An ensemble and a scan of widths."""
        return self.members + len(self.checks.widths) * self.checks.scan_members

    def outcome(self, threads: int, report: Report) -> Outcome:
        """Return the law of each rule, measured and predicted."""
        flow, there, truth = self._task()
        stated = np.array(self.data.points)
        fractions = np.array(self.pruning.fractions)
        limit = Limit(flow.mean(stated), flow.covariance(stated), nngp(flow.net, stated))
        flows = {rule: PrunedFlow(flow, by=rule) for rule in self.pruning.rules}
        shares = {rule: np.asarray(pruned.share(fractions)) for rule, pruned in flows.items()}
        cells: dict[Rule, list[Array]] = {rule: [] for rule in flows}
        excluded = 0
        for position, width in enumerate(self.checks.widths):
            seed = (self.seed + 1 + position) % 2**64
            outputs, lost = self._sampled(flow, width, seed, self.checks.scan_members, stated, threads, report, "scan")
            excluded += lost
            for place, rule in enumerate(flows):
                trained = outputs[:, place, 0]
                cells[rule].append(np.concatenate([
                    residual_cells(outputs[:, place, 1 + i], trained, float(share)) for i, share in enumerate(shares[rule])
                ], axis=1))  # fmt: skip
        widths = np.array(self.checks.widths, dtype=float)
        families = [
            law(self.network.label, rule, limit, stated, fractions, shares[rule], widths, values)
            for rule, values in cells.items()
        ]
        width = self.network.widths[0]
        every = np.concatenate([flow.x_train, there])
        own, lost = self._sampled(flow, width, self.seed, self.members, every, threads, report, "sample")
        names = [name for rule in flows for name in _FORMULAS[rule]]
        return Outcome(
            families=families,
            pictures=[self._losses(flows, flow, there, truth, own), self._kept(flows, own)],
            conventions={self.network.label: dict(flow.net.convention.items())},
            requested=self.members + len(widths) * self.checks.scan_members,
            excluded=excluded + lost,
            formulas=[
                "pruning.mean",
                "pruning.covariance",
                *names,
                "shell.loss_prune",
                f"training.{self.training.method}",
            ],
            tables=[self._table(shares, own)],
            notes=[self._note(shares)],
        )

    def _net(self, width: int) -> MLP:
        spec = self.network
        return MLP(spec.d_in, widths=(width,), activation=spec.functions(), sigma_w=spec.sigma_w, scaling=spec.scaling)

    def _task(self) -> tuple[TrainingFlow, Array, Array]:
        data, rule = self.data, self.training
        zeros, spread = np.zeros(self.network.d_in), np.full(self.network.d_in, data.input_std)
        x, there = (gaussian_points(count, zeros, spread, data.seed, stream)
                    for count, stream in ((data.train, TRAIN), (data.test, TEST)))  # fmt: skip
        noise = gaussian_points(data.train, np.zeros(1), np.full(1, data.noise_std), data.seed, NOISE)[:, 0]
        y = target_values(data.target, x) + noise
        net = self._net(self.network.widths[0])
        flow = TrainingFlow(net, x, y, learning_rate=rule.learning_rate, steps=rule.steps, method=rule.method)
        return flow, there, target_values(data.target, there)

    def _sampled(
        self,
        flow: TrainingFlow,
        width: int,
        seed: int,
        members: int,
        x: Array,
        threads: int,
        report: Report,
        stage: str,
    ) -> tuple[Array, int]:
        """Return outputs (members, rules, 1 + fractions, points), nothing removed first, and how many members diverged."""
        rule = self.training
        ens = Ensemble(self._net(width), members=members, seed=seed, threads=threads).train(
            flow.x_train, flow.y_train, learning_rate=rule.learning_rate, steps=rule.steps, method=rule.method
        )
        size = self.network.d_in
        fisher = FisherLaw(None, np.zeros(size), np.full(size, self.data.input_std), 1.0)
        counts = np.array([0, *(round(fraction * width) for fraction in self.pruning.fractions)], dtype=np.int64)
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            report(f"{self.network.label} {stage} N = {width}", done, members)

        outputs, diverged = pruned_outputs(
            self._keeper,
            self.network.label,
            "sample" if stage == "sample" else f"sample_{width}",
            Pruning(ens, x, counts, self.pruning.rules, fisher),
            progress,
        )
        if np.all(diverged):
            raise BadInput(f"training.learning_rate: every network of width {width} diverged: lower it")
        return outputs[~diverged], int(diverged.sum())

    def _losses(
        self, flows: dict[Rule, PrunedFlow], flow: TrainingFlow, there: Array, truth: Array, own: Array
    ) -> Picture:
        """Return the loss on training and new inputs against the fraction removed."""
        fine = np.linspace(0.0, 0.999, _CURVE)
        at = np.array([0.0, *self.pruning.fractions])
        n = len(flow.x_train)
        panels = []
        for title, x, y, part in (
            ("training inputs", flow.x_train, flow.y_train, slice(n)),
            ("new inputs", there, truth, slice(n, None)),
        ):
            series: list[Line | Points] = []
            for place, (rule, pruned) in enumerate(flows.items()):
                losses = np.mean((own[:, place, :, part] - y) ** 2, axis=2)
                error = losses.std(axis=0, ddof=1) / np.sqrt(len(losses))
                series.append(Line(fine, np.asarray(pruned.loss(x, y, fine)), rule, _ROLES[rule]))
                series.append(Points(at, losses.mean(axis=0), error, "", _ROLES[rule], _MARKERS[rule]))
            panels.append(
                Panel(series, "fraction of read-out weights removed", "mean squared error (target units²)", title)
            )
        return Picture(
            "losses",
            f"Loss of one trained ensemble, pruned by different rules: {len(own)} networks of width {self.network.widths[0]} "
            r"(points) and infinite width (lines).",
            panels,
        )

    def _kept(self, flows: dict[Rule, PrunedFlow], own: Array) -> Picture:
        """Return the kept share, and the loss on new inputs, against the fraction removed."""
        fine = np.linspace(0.0, 0.999, _CURVE)
        at = np.array([0.0, *self.pruning.fractions])
        series: list[Line | Points] = []
        for place, (rule, pruned) in enumerate(flows.items()):
            found = np.array([measured_share(own[:, place, i], own[:, place, 0]) for i in range(len(at))])
            series.append(Line(fine, np.asarray(pruned.share(fine)), rule, _ROLES[rule]))
            series.append(Points(at, found[:, 0], found[:, 1], "", _ROLES[rule], _MARKERS[rule]))
        return Picture(
            "shares",
            r"The share $s$ of the trained function that each rule keeps: slope of $f_{\mathrm{pruned}}$ on $f_T$ over networks "
            r"and inputs (points), closed forms (lines). The rest is an independent Gaussian process of variance $s(1-s)K$.",
            [Panel(series, "fraction of read-out weights removed", "kept share $s$")],
            columns=1,
        )

    def _table(self, shares: dict[Rule, Array], own: Array) -> Tabular:
        rows = []
        for place, (rule, values) in enumerate(shares.items()):
            for i, (fraction, share) in enumerate(zip(self.pruning.fractions, values, strict=True)):
                slope, error = measured_share(own[:, place, 1 + i], own[:, place, 0])
                rows.append([rule, number(fraction, 3), number(float(share), 4), with_error(slope, error)])
        return Tabular(
            "shares",
            f"Kept share of the trained function: infinite width, and {len(own)} networks of width {self.network.widths[0]}.",
            "lrrr",
            ["rule", "removed", "$s$", "measured"],
            rows,
        )

    def _note(self, shares: dict[Rule, Array]) -> str:
        place = int(np.argmin(np.abs(np.array(self.pruning.fractions) - 0.5)))
        kept = ", ".join(f"{rule} {values[place]:.3f}" for rule, values in shares.items())
        return f"{self.network.label}: with {self.pruning.fractions[place]:.0%} of the weights removed the kept share is {kept}."
