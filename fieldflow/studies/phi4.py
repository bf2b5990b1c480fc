"""What does a designed theory look like? φ⁴ in a box from one free ensemble, the coupling swept until perturbation theory fails."""

from itertools import pairwise
from typing import Annotated

import numpy as np
import sympy as sp
from pydantic import Field, model_validator

from fieldflow.checks import phi4 as check
from fieldflow.checks.phi4 import Phi4Case
from fieldflow.cosnet import CosNet
from fieldflow.errors import BadInput
from fieldflow.hamiltonian import Chains, available, nuts
from fieldflow.perturbation import Perturbation
from fieldflow.phi4_figures import pictures, sweep_table
from fieldflow.reweighting import USABLE, Reweighted, draw
from fieldflow.schema import Count, Judging, Number, Positive, Section, Text
from fieldflow.study import Outcome, Report, Study

_FORMULAS = ("design.two_point", "design.four_point", "design.schwinger_dyson", "design.width", "cosnet.propagator_d1")
_PHI = sp.Symbol("phi", real=True)

Couplings = Annotated[list[Positive], Field(min_length=1, max_length=40)]


def _increasing(name: str, values: list[float]) -> None:
    for earlier, later in pairwise(values):
        if later <= earlier:
            raise BadInput(f"{name}: expected strictly increasing numbers > 0, got {later:g} after {earlier:g}")


class FreeNetSection(Section):
    """The network of the free theory, in one dimension."""

    width: Count
    radius: Positive
    mass: Positive
    sigma_w: Positive


class TheorySection(Section):
    """Box, nodes and points."""

    box: Positive
    nodes: Annotated[int, Field(strict=True, ge=1, le=200)] = 12
    points: Annotated[list[Number], Field(min_length=2, max_length=8)]
    order: Annotated[int, Field(strict=True, ge=2, le=4)] = 4


class SweepSection(Section):
    """Couplings."""

    weak: Couplings
    couplings: Couplings
    shown: Couplings

    @model_validator(mode="after")
    def _ordered(self) -> "SweepSection":
        for name in ("weak", "couplings", "shown"):
            _increasing(name, getattr(self, name))
        return self


class ChainsSection(Section):
    """Markov chains over the parameters."""

    coupling: Positive
    count: Annotated[int, Field(strict=True, ge=2, le=100)] = 4
    draws: Annotated[int, Field(strict=True, ge=0, le=10**6)] = 1000
    warm_up: Annotated[int, Field(strict=True, ge=10, le=10**5)] = 200


class Phi4Study(Study):
    """Reweight cosine networks to φ⁴ theory in a box (see the template of ``fieldflow init phi4``)."""

    kind: Text = "phi4"
    cosnet: FreeNetSection
    theory: TheorySection
    sweep: SweepSection
    chains: ChainsSection
    checks: Judging = Judging()

    @model_validator(mode="after")
    def _consistent(self) -> "Phi4Study":
        known = {*self.sweep.weak, *self.sweep.couplings}
        for name, values in (("sweep.shown", self.sweep.shown), ("chains.coupling", [self.chains.coupling])):
            for value in values:
                if value not in known:
                    raise BadInput(f"{name}: expected couplings of sweep.weak or sweep.couplings, got {value:g}")
        reach = max(map(abs, self.theory.points))
        if reach > self.theory.box:
            raise BadInput(
                f"theory.box: expected at least {reach:g}, the largest of theory.points, got {self.theory.box:g}"
            )
        if len(set(self.theory.points)) != len(self.theory.points):
            raise BadInput("theory.points: expected different points")
        return self

    def case(self, threads: int) -> Phi4Case:
        """Return the theory, not yet sampled."""
        keys, given = self.cosnet, self.theory
        net = CosNet(d=1, radius=keys.radius, mass=keys.mass, sigma_w=keys.sigma_w, width=keys.width)
        points = np.array(given.points)[:, None]
        series, limit = (
            Perturbation(net, _PHI**4, points, given.box, order=given.order, nodes=given.nodes, finite_width=finite)
            for finite in (True, False)
        )
        free = Reweighted(
            net, _PHI**4, points, given.box, self.members, seed=self.seed, nodes=given.nodes, coupling=0.0, threads=threads
        )  # fmt: skip
        weak = tuple(self.sweep.weak)
        doubled = 2.0 * weak[-1]
        return Phi4Case(self.name, free, series, limit, weak, tuple(sorted({*self.sweep.couplings, doubled})))

    def outcome(self, threads: int, report: Report) -> Outcome:
        """Return what the networks did beside what was predicted."""
        case = self.case(threads)
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            report(f"{self.name} sample", done, self.members)

        case.free.__dict__["sample"] = draw(case.free, self._keeper, progress, self.name)
        if case.free.status != USABLE:
            note = f"{self.members} networks are too few for any statement: at least 400 effective ones are needed."
            return Outcome(
                check.too_few(case),
                [],
                {self.name: case.free.theory.conventions},
                self.members,
                formulas=_FORMULAS,
                notes=[note],
            )
        families = [
            check.free_propagator(case),
            check.schwinger_dyson(case),
            check.two_point(case),
            check.four_point(case),
        ]
        families.append(check.orders(case))
        lost = case.unusable(case.sweep)
        if lost:
            families.append(check.unusable(case, lost))
        chains, notes = self._chains(case)
        if chains is not None:
            families.append(check.markov_chain(case, chains, self.chains.coupling))
        return Outcome(
            families=families,
            pictures=pictures(case, self.sweep.shown, chains, self.chains.coupling),
            conventions={self.name: case.free.theory.conventions},
            requested=self.members,
            formulas=_FORMULAS,
            tables=[sweep_table(case)],
            notes=[*notes, *_budget(case)],
        )

    def _chains(self, case: Phi4Case) -> tuple[Chains | None, list[str]]:
        """Return the chains, or None and why there are none."""
        keys, theory = self.chains, case.free.theory
        if keys.draws == 0:
            return None, ["Markov chains: left out (chains.draws = 0)."]
        if not available():
            return None, ["Markov chains: left out; they need the package mici: pip install 'fieldflow[design]'."]
        found = nuts(
            theory.net, theory.interaction, theory.points, theory.box, coupling=keys.coupling, chains=keys.count,
            draws=keys.draws, warm_up=keys.warm_up, seed=self.seed, nodes=theory.nodes,
        )  # fmt: skip
        return found, [
            f"Markov chains at coupling {keys.coupling:g}: R-hat {found.rhat:.3f}, {found.effective_size:.0f} effective of "
            f"{keys.count * keys.draws} draws, mean acceptance {found.acceptance:.2f}: {found.status}."
        ]


def _budget(case: Phi4Case) -> list[str]:
    """Return what perturbation theory leaves out, and where it fails."""
    weak = case.weak[-1]
    left = float(case.left_out(2, case.pairs[:1], weak)[0])
    entry = case.sampled[weak]
    error = float(entry.errors(entry.two_groups)[0])
    terms = case.series.terms(2)[:, 0, 0]
    width = case.series.terms(2)[1, 0, 0] / case.limit.terms(2)[1, 0, 0] - 1.0
    return [
        f"Error budget at coupling {weak:g}: sampling {error:.2g}, next order and 1/N^2 {left:.2g}, in the two-point function at "
        f"the first point; 1/N is part of the prediction and is {100 * width:.1f} % of the first order.",
        f"Perturbation theory fails: the second-order term is as large as the first at coupling {abs(terms[1] / terms[2]):.3g}.",
    ]
