"""What is one experiment on one network? Everything the families of checks share, already validated."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fieldflow.conditional import MemberFlow
from fieldflow.ensemble import CoarseGrained, Ensemble, Trained
from fieldflow.inputs import Array
from fieldflow.keeper import Keeper
from fieldflow.network import MLP
from fieldflow.numeric import rng
from fieldflow.numeric.coarsegrain import fisher_diagonal
from fieldflow.numeric.ensemble import outputs_block
from fieldflow.numeric.mlp import readout_features
from fieldflow.shell_kernel import FisherLaw

SILENT = np.nextafter(0.0, 1.0)
"""The smallest positive cut-off: it makes exactly the units with λ = 0 sloppy."""

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Case:
    """One network with its data, training, information shell and sample sizes.

    ``grid`` are the cut-offs of the experiment with 0 and ``SILENT`` added; ``shown`` the positions of the experiment's
    own cut-offs in it.  ``stated`` test inputs (the first ones) carry the exact family.
    """

    label: str
    net: MLP
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    law: FisherLaw
    trained: Trained
    cutoffs: Array
    mode: str
    excess: float
    stated: int
    alpha: float
    members: int
    seed: int
    threads: int
    widths: tuple[int, ...]
    scan_members: int
    keeper: Keeper = field(default_factory=Keeper)

    @property
    def grid(self) -> Array:
        """Return the cut-offs with 0 and the silent one."""
        return np.unique(np.concatenate([[0.0, SILENT], self.cutoffs]))

    @property
    def shown(self) -> NDArray[np.int64]:
        """Return the index in ``grid`` of each cut-off of the experiment."""
        return np.searchsorted(self.grid, self.cutoffs).astype(np.int64)

    @property
    def x_stated(self) -> Array:
        """Return the stated inputs (stated, d_in)."""
        return self.x_test[: self.stated]

    @property
    def other_mode(self) -> str:
        """Return the mode that is not in use: a negative control."""
        return "prune" if self.mode == "resample" else "resample"

    def ensemble(self) -> Ensemble:
        """Return the trained and coarse-grained ensemble."""
        shell = CoarseGrained(self.grid, self.law, self.mode)
        return Ensemble(self.net, self.members, self.seed, self.trained, shell, self.threads)


@dataclass(frozen=True)
class Member:
    """One member's normalised features on the test inputs (m, n_test), its λ (m,) and the flow it goes through."""

    test: Array
    diagonal: Array
    flow: MemberFlow


def member_of(case: Case, index: int, stream: int = rng.HIDDEN) -> Member:
    """Return the features of a member whose hidden layers come from ``stream``."""
    net, activations = case.net.architecture(), case.net.compiled_activations()
    fisher = np.empty((0, case.net.d_in)) if case.law.points is None else case.law.points
    every = np.concatenate([case.x_train, case.x_test, fisher])
    hidden = outputs_block(net, activations, np.uint64(case.seed), index, 1, stream, np.ascontiguousarray(every.T))[0]
    n, seen = len(case.x_train), len(case.x_train) + len(case.x_test)
    if case.law.points is None:
        diagonal = case.ensemble().gaussian_law(case.law, index, 1, stream)[0]
    else:
        diagonal = fisher_diagonal(np.ascontiguousarray(hidden[:, seen:]), case.law.noise_variance)
    if case.net.sigma_b[-1] != 0.0:
        diagonal = np.append(diagonal, 1.0 / case.law.noise_variance)
    features = readout_features(net, hidden)
    rule = case.trained
    flow = MemberFlow(
        np.ascontiguousarray(features[:, :n]),
        rule.y,
        diagonal,
        learning_rate=rule.learning_rate,
        steps=rule.steps,
        method=rule.method,
    )
    return Member(np.ascontiguousarray(features[:, n:seen]), diagonal, flow)
