"""What does the cosine-network experiment run? Free fields drawn, trained and moved along the information-shell flow."""

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from fieldflow.checks import cosnet_field, cosnet_training
from fieldflow.checks.cosnet_case import CosCase, Progress
from fieldflow.checks.record import Family
from fieldflow.cosnet import CosNet
from fieldflow.cosnet_figures import Series, pictures
from fieldflow.data import TRAIN, gaussian_points, parse_target, target_values
from fieldflow.ensemble import Trained
from fieldflow.errors import BadInput
from fieldflow.latex import number
from fieldflow.picture import Tabular
from fieldflow.schema import ChecksSection, Count, Number, Positive, Scale, Section, Seed, Text, TrainingSection
from fieldflow.study import Outcome, Report, Study

MINIMUM_MEMBERS = 64

Increasing = Annotated[list[Scale], Field(min_length=1, max_length=1000)]


def _check_increasing(name: str, values: list[float]) -> None:
    for earlier, later in pairwise(values):
        if later <= earlier:
            raise BadInput(f"{name}: expected strictly increasing numbers >= 0, got {later:g} after {earlier:g}")


class CosNetSection(Section):
    """The network: hidden units cos(b·x + c)/√(b² + m²), b uniform in the ball of radius R."""

    d: Annotated[int, Field(strict=True, ge=1, le=3)]
    width: Count
    radius: Positive
    mass: Scale
    sigma_w: Positive = 1.0


class FieldSection(Section):
    """What is measured at initialisation, with broad Fisher inputs."""

    cutoffs: Annotated[list[Positive], Field(min_length=1, max_length=9)]
    momenta: Annotated[int, Field(strict=True, ge=2, le=200)]
    window: Positive
    separations: Annotated[int, Field(strict=True, ge=2, le=200)]
    reach: Positive

    @model_validator(mode="after")
    def _increase(self) -> "FieldSection":
        _check_increasing("cutoffs", self.cutoffs)
        return self


class CosDataSection(Section):
    """Training inputs N(0, input_std²), which are the Fisher inputs of the trained ensemble as well."""

    target: Text
    input_std: Positive
    train: Count
    seed: Seed = 0


class CosShellSection(Section):
    """Cut-offs of the trained ensemble, and where on the first axis it is evaluated."""

    cutoffs: Increasing
    mode: Literal["resample", "prune"] = "resample"
    noise_variance: Positive = 1.0
    points: Annotated[list[Number], Field(min_length=1, max_length=10)]

    @model_validator(mode="after")
    def _increase(self) -> "CosShellSection":
        _check_increasing("cutoffs", self.cutoffs)
        return self


class CosNetStudy(Study):
    """Draw, train and coarse-grain cosine networks (see the template of ``fieldflow init cosnet-1d``)."""

    kind: Text = "cosnet"
    cosnet: CosNetSection
    field: FieldSection
    data: CosDataSection
    training: TrainingSection
    shell: CosShellSection
    checks: ChecksSection

    @model_validator(mode="after")
    def _consistent(self) -> "CosNetStudy":
        parse_target(self.data.target, self.cosnet.d)
        if not self.checks.widths:
            raise BadInput("checks.widths: expected at least 4 increasing widths")
        self.network()
        return self

    @property
    def drawn(self) -> int:
        """The ensemble untrained and trained, and a scan of widths."""
        return 2 * self.members + len(self.checks.widths) * self.checks.scan_members

    def network(self) -> CosNet:
        """Return the network."""
        keys = self.cosnet
        return CosNet(d=keys.d, radius=keys.radius, mass=keys.mass, sigma_w=keys.sigma_w, width=keys.width)

    def case(self, threads: int) -> CosCase:
        """Return the experiment, ready to be run."""
        net = self.network()
        zeros, spread = np.zeros(net.d), np.full(net.d, self.data.input_std)
        x = gaussian_points(self.data.train, zeros, spread, self.data.seed, TRAIN)
        y = target_values(self.data.target, x).reshape(-1, 1)
        rule = self.training
        stated = np.zeros((len(self.shell.points), net.d))
        stated[:, 0] = self.shell.points
        return CosCase(
            name=self.name,
            net=net,
            trained=Trained(x, y, rule.learning_rate, rule.steps, rule.method),
            input_std=self.data.input_std,
            noise_variance=self.shell.noise_variance,
            mode=self.shell.mode,
            cutoffs=np.array(self.shell.cutoffs, dtype=np.float64),
            stated=stated,
            field_cutoffs=np.array(self.field.cutoffs, dtype=np.float64),
            momenta=np.linspace(0.0, net.radius, self.field.momenta),
            window=self.field.window,
            separations=np.linspace(0.0, self.field.reach, self.field.separations),
            widths=tuple(self.checks.widths),
            scan_members=self.checks.scan_members,
            members=self.members,
            seed=self.seed,
            threads=threads,
            keeper=self._keeper,
        )

    def outcome(self, threads: int, report: Report) -> Outcome:
        """Return what the ensemble did beside what was predicted."""
        if self.members < MINIMUM_MEMBERS:
            raise BadInput(f"members: expected at least {MINIMUM_MEMBERS}, got {self.members}")
        case = self.case(threads)
        progress = _reporter(case, report)
        field = cosnet_field.sample_field(case, progress)
        trained = cosnet_training.sample_training(case, progress)
        if np.any(trained.diverged):
            raise BadInput(
                f"training.learning_rate: {int(trained.diverged.sum())} of {case.members} members diverged: lower it"
            )
        chosen, examined = cosnet_training.examine(case, trained, progress)
        families: list[Family] = [
            cosnet_field.spectrum(case, field),
            cosnet_field.two_point(case, field),
            cosnet_field.shell_volume(case, field),
            cosnet_training.fisher_law(case, trained),
            cosnet_training.conditional_law(case, trained, chosen, examined),
            cosnet_training.effective_variance(case, trained, chosen, examined),
        ]
        report.found(families, self.checks.alpha)
        scan = cosnet_training.scan(case, progress)
        families.append(cosnet_training.infinite_width(case, scan))
        return Outcome(
            families=families,
            pictures=pictures(Series(case, field, trained, scan)),
            conventions={self.name: case.net.conventions},
            requested=case.members,
            formulas=_formulas(case),
            tables=[renormalized_table(case)],
            notes=_notes(case),
        )


def _reporter(case: CosCase, progress: Report) -> Progress:
    totals = {"scan": case.scan_members * len(case.widths), "examine": min(case.members, cosnet_training.EXAMINED)}
    done: dict[str, int] = {}

    def report(stage: str, count: int) -> None:
        done[stage] = done.get(stage, 0) + count
        progress(f"{case.name} {stage}", done[stage], totals.get(stage, case.members))

    return report


def _formulas(case: CosCase) -> list[str]:
    d = case.net.d
    names = [
        "cosnet.spectrum",
        f"cosnet.propagator_d{d}",
        "cosnet.fisher",
        "cosnet.shell_radius",
        "cosnet.windowed_spectrum",
    ]
    names += ["cosnet.sloppy_fraction", "cosnet.sloppy_fraction_gaussian", "cosnet.shell_kernel"]
    names += [f"training.{case.trained.method}", "shell.mean", "shell.covariance"]
    return [*names, "cosnet.effective_variance", "cosnet.renormalized"]


def renormalized_table(case: CosCase) -> Tabular:
    """Return R_Λ, σ_w²(Λ) and the renormalised parameters (89), (90) at each cut-off."""
    rows = []
    for cutoff in case.cutoffs:
        s2 = float(case.flow.effective_variance(float(cutoff), case.width))
        found = case.net.renormalized(s2)
        edge = float(case.net.shell_radius(float(cutoff), noise_variance=case.noise_variance))
        rows.append(
            [number(float(cutoff), 3), number(edge), number(s2, 6), number(found.mass2), number(found.radius, 6)]
        )
    return Tabular(
        "renormalized",
        rf"Two scales of one flow: the shell $R_\Lambda$ (broad inputs) moves at order one, $\sigma_w^2(\Lambda)$ of Eq.~(87) and "
        rf"with it $m_\Lambda^2$ and $R'$ of Eqs.~(89), (90) (corrected) only at order $n/N$ ($n={len(case.trained.x)}$, "
        rf"$N={case.width}$).",
        "rrrrr",
        [r"$\Lambda$", r"$R_\Lambda$", r"$\sigma_w^2(\Lambda)$", r"$m_\Lambda^2$", r"$R'$"],
        rows,
    )


def _notes(case: CosCase) -> list[str]:
    spread = [float(case.flow.effective_variance(float(cutoff), case.width)) for cutoff in case.cutoffs]
    most = max(abs(value / float(case.net.sigma_w or 1.0) ** 2 - 1.0) for value in spread)
    below = f"{100 * cosnet_field.VISIBLE:g} %"
    return [
        f"Spectrum: cells that carry less than {below} of the whole spectrum at their momentum are drawn, not judged.",
        f"sigma_w^2(cutoff) of Eq. (87) moves by at most {100 * most:.2g} % along this flow (order n/N), while the shell "
        "moves through the whole ball.",
    ]
