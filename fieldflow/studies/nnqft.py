"""Are sampled networks the quantum field theory of the slides? N-scan of correlators, couplings, β functions, six-point function.

ReLU, Erf and Gauss networks of arXiv:2008.08601 at initialisation: every moment against its exact value, λ_4 and its running
from independent networks, and what first order in λ_4 makes of the six-point function.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from fieldflow.checks.nnqft import (
    Scan,
    chosen_tuples,
    grouped,
    moments_family,
    plain_family,
    running_family,
    six_point_family,
    space_dependence,
    tail_shape,
)
from fieldflow.checks.nnqft_members import GROUPS, Networks
from fieldflow.checks.record import Family
from fieldflow.errors import BadInput
from fieldflow.latex import number, with_error
from fieldflow.nnqft import NNQFT, wick_sum
from fieldflow.nnqft_figures import couplings_picture, deviations_picture, six_point_picture
from fieldflow.numeric.symmetric import sorted_tuples
from fieldflow.picture import Tabular
from fieldflow.schema import Count, Judging, Label, Number, Positive, Section, Text
from fieldflow.study import Outcome, Report, Study

_TAIL = 2048
"""Networks behind a Pareto k̂."""

_PLAIN = 16384
"""At most so many Gauss-networks are drawn as they are."""


class TheorySection(Section):
    """Which of the three networks."""

    activation: Literal["relu", "erf", "gauss"]
    sigma_w: Positive = 1.0


class MeshSection(Section):
    """Inputs; their number of coordinates is the dimension."""

    label: Label
    points: Annotated[list[list[Number]], Field(min_length=1, max_length=8)]

    @model_validator(mode="after")
    def _rectangular(self) -> "MeshSection":
        if len({len(point) for point in self.points}) != 1 or not 1 <= len(self.points[0]) <= 3:
            raise BadInput("points: expected points of one, two or three coordinates each")
        return self


class BoxSection(Section):
    """The boxes [-L, L]^d of the coupling."""

    half_widths: Annotated[list[Positive], Field(min_length=2, max_length=2)]
    curve: Annotated[list[Positive], Field(min_length=2, max_length=2)]


class ScanChecks(Judging):
    """Widths, and the one at which couplings and the six-point function are judged."""

    widths: Annotated[list[Count], Field(min_length=2, max_length=20)]
    width: Count = 20


class NNQFTStudy(Study):
    """The experiments of the NN-QFT correspondence (see the template of ``fieldflow init nnqft-relu``)."""

    kind: Text = "nnqft"
    theory: TheorySection
    mesh: Annotated[list[MeshSection], Field(min_length=1, max_length=3)]
    box: BoxSection
    checks: ScanChecks

    @model_validator(mode="after")
    def _consistent(self) -> "NNQFTStudy":
        widths = self.checks.widths
        if sorted(set(widths)) != widths or self.checks.width not in widths:
            raise BadInput(
                f"checks.widths: expected increasing widths with {self.checks.width} (width) among them, got {widths}"
            )
        if self.members < 256:
            raise BadInput(f"members: expected at least 256 (a six-point function with an error), got {self.members}")
        largest = max(abs(value) for mesh in self.mesh for point in mesh.points for value in point)
        for name in ("half_widths", "curve"):
            low, high = getattr(self.box, name)
            if not largest <= low < high:
                raise BadInput(
                    f"box.{name}: expected two increasing numbers >= {largest:g} (the largest input), got [{low:g}, {high:g}]"
                )
        return self

    @property
    def drawn(self) -> int:
        """On each mesh networks of every width, once more of one of them, and of Gauss-networks some that are not tilted."""
        count = len(self.mesh) * (len(self.checks.widths) + 1) * self.members
        plain = len(self.checks.widths) * min(self.members, _PLAIN)
        return count + plain * (self.theory.activation == "gauss")

    def outcome(self, threads: int, report: Report) -> Outcome:
        """Return every correlator beside its exact value, and what is read off them."""
        families: list[Family] = []
        scans, fits = [], []
        for position, mesh in enumerate(self.mesh):
            theory = NNQFT(self.theory.activation, mesh.points, sigma_w=self.theory.sigma_w)
            networks = self._networks(mesh.label, theory, position, threads, report)
            scan = self._scan(mesh.label, theory, position, networks)
            width = self.checks.width
            boxes = (self.box.half_widths[0], self.box.half_widths[1])
            again = networks(width, len(self.checks.widths)).moments(f"sample{position}_again")
            families += [moments_family(scan, 4), moments_family(scan, 6), six_point_family(scan, width)]
            families.append(running_family(scan, width, boxes, again[4]))
            report.found(families, self.checks.alpha)
            fits.append((mesh.label, space_dependence(scan, width, boxes[0])))
            scans.append(scan)
        if self.theory.activation == "gauss":
            families.append(self._plain(scans[0], threads, report))
        return Outcome(
            families=families,
            pictures=[
                deviations_picture(scans),
                couplings_picture(scans, self.checks.width, tuple(self.box.curve), tuple(self.box.half_widths)),
                six_point_picture(scans),
            ],
            conventions={scan.label: dict(scan.theory.network(1).convention.items()) for scan in scans},
            requested=len(scans) * (len(self.checks.widths) + 1) * self.members,
            formulas=("cumulants.G4", "cumulants.G6", "cumulants.moment4", "cumulants.moment6", "nnqft.lambda", "nnqft.beta",
                      "nnqft.kappa"),
            tables=[_couplings_table(scans, self.checks.width, self.box.half_widths[0]), _fit_table(fits)],
            notes=[_note(scans, self.checks.width, self.box.half_widths[0])],
        )  # fmt: skip

    def _seed(self, mesh: int, place: int) -> int:
        """Return the seed of one mesh and width: independent of all others."""
        return (self.seed + 1_000_003 * (mesh + 1) + 7919 * place) % 2**64

    def _networks(
        self, label: str, theory: NNQFT, position: int, threads: int, report: Report
    ) -> Callable[[int, int], Networks]:
        """Return the function of (width, place among the seeds) that returns the networks on one mesh."""
        progress = _counter(report, f"{label} sample", (len(self.checks.widths) + 1) * self.members)

        def networks(width: int, place: int) -> Networks:
            seed = self._seed(position, place)
            return Networks(theory, width, seed, self.members, label, self._keeper, threads, progress)

        return networks

    def _scan(self, label: str, theory: NNQFT, position: int, networks: Callable[[int, int], Networks]) -> Scan:
        moments, tails = {}, {}
        widths = tuple(self.checks.widths)
        for place, width in enumerate(widths):
            own = networks(width, place)
            moments[width] = own.moments(f"sample{position}_{width}")
            some = replace(own, progress=lambda _: None)
            covariances, weights = some.covariances(f"tail{position}_{width}", min(_TAIL, self.members))
            for n in (4, 6):
                tails[width, n] = tail_shape(covariances * weights[:, None, None] ** (2.0 / n), n)
        return Scan(label, theory, widths, self.members, moments, tails)

    def _plain(self, scan: Scan, threads: int, report: Report) -> Family:
        """Return what plain sampling of the Gauss-net says on the first mesh."""
        plain, tails = {}, {}
        members = min(self.members, _PLAIN)
        progress = _counter(report, f"{scan.label} plain", len(scan.widths) * members)
        points = sorted_tuples(len(scan.theory.points), 4)
        for place, width in enumerate(scan.widths):
            seed = self._seed(7, place)
            own = Networks(scan.theory, width, seed, members, scan.label, self._keeper, threads, progress)
            drawn, _ = own.covariances(f"sample_plain_{width}", members, tilted=False)
            values = wick_sum(np.moveaxis(drawn, 0, -1), points).T
            plain[width] = grouped(values, np.ones(len(values)), GROUPS)
            tails[width] = tail_shape(drawn[:_TAIL], 4)
        return plain_family(scan.label, scan, 4, plain, tails)


def _counter(report: Report, stage: str, total: int) -> Callable[[int], None]:
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        report(stage, done, total)

    return progress


def _fit_table(fits: list[tuple[str, list[tuple[int, float, float]]]]) -> Tabular:
    rows = [
        [label, str(terms), number(at_origin, 4), number(worst, 2)]
        for label, entries in fits
        for terms, at_origin, worst in entries
    ]
    return Tabular(
        "space-dependence",
        r"Space-dependent coupling $\lambda(y)=\sum_k\lambda_k (y/L)^{2k}$ fitted to the four-point functions of all tuples: "
        r"$\lambda(0)$ and the largest residual relative to the largest deviation from the free theory.",
        "llrr",
        ["mesh", "terms", r"$\lambda(0)$", "largest residual"],
        rows,
    )


def _couplings_table(scans: list[Scan], width: int, box: float) -> Tabular:
    rows = []
    for scan in scans:
        theory, used = scan.theory, chosen_tuples(scan.theory)
        fourth, sixth = scan.moments[width][4], scan.moments[width][6]
        quartic, volume = 24.0 * theory.vertex(4, box), 720.0 * theory.vertex(6, box)
        found = (theory.with_connected(fourth.packed - scan.limit[4]) - sixth.packed) / volume
        moved = np.array([theory.with_connected(column, bare=False) for column in fourth.loading])
        error = float(np.linalg.norm(np.mean((moved - sixth.loading) / volume, axis=1)))
        right = theory.sextic(width, box)
        rows.append([
            scan.label,
            number(width * float(np.mean(theory.coupling(width, box)[used])), 5),
            with_error(width * float(np.mean(((scan.limit[4] - fourth.packed) / quartic)[used])),
                       width * float(np.linalg.norm(np.mean((fourth.loading / quartic)[:, used], axis=1)))),
            number(width**2 * float(np.mean(right)), 5),
            with_error(width**2 * float(np.mean(found)), width**2 * error),
        ])  # fmt: skip
    return Tabular(
        "couplings",
        rf"Quartic and sextic coupling of networks of width {width} in the box $L={box:g}$, mean over tuples (for $\lambda_4$ of "
        r"Erf-nets those with an even number of negative inputs): exact and measured. Tuples of Erf-nets "
        r"with a small integral over the box dominate the mean of $\kappa$.",
        "lrrrr",
        ["mesh", r"$N\lambda_4$", "networks", r"$N^2\kappa$", "networks"],
        rows,
    )


def _note(scans: list[Scan], width: int, box: float) -> str:
    parts = []
    for scan in scans:
        right = scan.exact[width, 6]
        free = float(np.mean(scan.limit[6] / right))
        first = float(np.mean(scan.theory.with_connected(scan.exact[width, 4] - scan.limit[4]) / right))
        parts.append(f"{scan.label}: {free:.4f} and {first:.4f}")
    return f"Six-point function at width {width}, free theory and first order in lambda over the exact one: {'; '.join(parts)}."
