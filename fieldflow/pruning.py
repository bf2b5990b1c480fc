"""How much of a trained ensemble does pruning leave, by which rule? Law of the pruned ensemble, and samples of it.

Formulas ``pruning.*``: at infinite width f_pruned = s f_T + √(s(1-s)) η with η ~ GP(0, K), the share s depending on the rule.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from fieldflow import inputs
from fieldflow.ensemble import CoarseGrained, Ensemble
from fieldflow.errors import BadInput, NoClosedForm
from fieldflow.flow import TrainingFlow
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork, Keeper
from fieldflow.kernels import nngp
from fieldflow.numeric.pruning import RULES, pruned_block
from fieldflow.processes import Stop
from fieldflow.shell_kernel import FisherLaw, fisher_law
from fieldflow.workers import checked_threads


class PrunedFlow:
    """Gaussian law of an ensemble whose lowest-ranking read-out weights are removed (immutable).

    Parameters
    ----------
    flow : TrainingFlow
        Trained read-out, without biases.
    by : {"random", "magnitude", "fisher", "saliency"}
        What ranks the weights of each network: nothing; |ω| after training; λ; ω²λ (optimal brain damage).  "fisher" and
        "saliency" need one hidden layer, a homogeneous activation and take Gaussian Fisher inputs.

    Raises
    ------
    BadInput, NoClosedForm

    >>> from fieldflow.network import MLP
    >>> flow = TrainingFlow(MLP(2, depth=1, activation="relu"), [[1.0, 0.0]], [1.0], learning_rate=0.5, steps=100)
    >>> [round(PrunedFlow(flow, by=rule).share(0.5), 3) for rule in ("random", "fisher", "magnitude", "saliency")]
    [0.5, 0.847, 0.929, 0.967]
    """

    def __init__(self, flow: TrainingFlow, *, by: str = "magnitude") -> None:
        if not isinstance(flow, TrainingFlow):
            raise BadInput(f"flow: expected a fieldflow.TrainingFlow, got {type(flow).__name__}")
        if flow.trained != "readout":
            raise NoClosedForm('flow: expected trained = "readout"; with all layers trained every weight moves')
        if flow.net.sigma_b[-1] != 0.0:
            raise NoClosedForm("flow: expected no read-out bias (sigma_b = 0 in the last layer): it is never pruned")
        self.flow = flow
        self.by = inputs.choice("by", by, tuple(RULES))
        self._degree = flow.net.activation[0].degree
        if by in ("fisher", "saliency"):
            plain = flow.net.hidden_layers == 1 and flow.net.sigma_b[0] == 0.0
            if not plain or self._degree is None or self._degree < 1:
                raise NoClosedForm(
                    f'by: "{by}" has one share only for one hidden layer, a homogeneous activation of degree 1 or more and no '
                    "biases; ShellFlow(mode='prune') has the law of other networks along the cut-off"
                )

    def share(self, fraction: Any) -> Array | float:
        """Return s, the kept share of the prior variance, when this fraction (or array of them) of the weights is removed."""
        values = inputs.real_array("fraction", fraction)
        if np.any(values < 0.0) or np.any(values > 1.0):
            raise BadInput(f"fraction: expected numbers from 0 to 1, got {fraction!r}")
        inside = values < 1.0
        shares = np.zeros(values.shape)
        shares[inside] = self._shares(values[inside])
        return float(shares) if values.ndim == 0 else shares

    def mean(self, x: Any, fraction: float) -> Array:
        """Return E f(x), (n[, d_out]); formula ``pruning.mean``."""
        return np.asarray(compiled("pruning.mean")(float(self.share(fraction)), self.flow.mean(x)))

    def covariance(self, x: Any, x2: Any = None, *, fraction: float) -> Array:
        """Return Cov[f(x), f(x2)], (n1, n2), the same for each output; formula ``pruning.covariance``."""
        prior = nngp(self.flow.net, x, x2)
        trained = self.flow.covariance(x, x2)
        return np.asarray(compiled("pruning.covariance")(float(self.share(fraction)), prior, trained))

    def loss(self, x: Any, y: Any, fraction: Any) -> Array | float:
        """Return E mean (f(x) - y)² over points and outputs, per fraction; formula ``shell.loss_prune`` at Z = s."""
        x = inputs.points("x", x, self.flow.net.d_in)
        y = inputs.targets("y", y, len(x), self.flow.net.d_out)
        share = self.share(fraction)
        mean = self.flow.mean(x)
        prior = float(np.mean(np.diag(nngp(self.flow.net, x))))
        trained = float(np.mean(np.diag(self.flow.covariance(x))))
        a = float(np.mean(mean**2)) - (prior - trained)
        b = float(np.mean(mean * y)) - 0.5 * prior
        values = np.asarray(compiled("shell.loss_prune")(share, a, b, float(np.mean(y**2))))
        return float(values) if values.ndim == 0 else values

    def _shares(self, fractions: Array) -> Array:
        if self.by == "random":
            return np.asarray(compiled("pruning.random_share")(fractions))
        if self.by == "magnitude":
            thresholds = compiled("pruning.magnitude_threshold")(fractions)
            return np.asarray(compiled("pruning.magnitude_share")(thresholds))
        d, degree = self.flow.net.d_in, self._degree
        if self.by == "fisher":
            return np.asarray(compiled("pruning.fisher_share")(fractions, d, degree))
        return np.array([self._salient_share(float(fraction)) for fraction in fractions.ravel()]).reshape(
            fractions.shape
        )

    def _salient_share(self, fraction: float) -> float:
        if fraction == 0.0:
            return 1.0
        below, share = compiled("pruning.saliency_fraction"), compiled("pruning.saliency_share")
        d, degree = self.flow.net.d_in, self._degree

        def excess(logarithm: float) -> float:
            return float(below(math.exp(logarithm), d, degree)) - fraction

        low, high = -1.0, 1.0
        while excess(low) > 0.0:
            low *= 2.0
        while excess(high) < 0.0:
            high *= 2.0
        return float(share(math.exp(optimize.brentq(excess, low, high, xtol=1e-13)), d, degree))


def prune(
    ens: Ensemble,
    x: Any,
    fractions: Any,
    *,
    by: Any = "magnitude",
    fisher: Any = "gaussian",
    input_mean: Any = 0.0,
    input_std: Any = 1.0,
) -> Array:
    """Return f(x) of every member after removing the lowest-ranking of its read-out weights, (rules, fractions, members, n).

    Parameters
    ----------
    ens : Ensemble
        One output, trained or not, not coarse-grained.
    x : array_like (n, d_in)
    fractions : array_like (k,)
        Increasing, from 0 to 1; ⌊fraction·width + ½⌋ weights go, of every member alike.
    by : str or sequence of str
        "random", "magnitude", "fisher", "saliency": all on the same trained members.
    fisher, input_mean, input_std
        As in ``Ensemble.coarse_grain``.

    Raises
    ------
    BadInput

    >>> from fieldflow.network import MLP
    >>> ens = Ensemble(MLP(2, widths=(50,), activation="relu"), members=3)
    >>> prune(ens, [[1.0, 0.0]], [0.0, 0.5, 1.0], by=("random", "fisher")).shape
    (2, 3, 3, 1)
    """
    if not isinstance(ens, Ensemble):
        raise BadInput(f"ens: expected a fieldflow.Ensemble, got {type(ens).__name__}")
    if ens.net.d_out != 1 or ens.shell is not None:
        raise BadInput("ens: expected one output and no cut-off (prune before coarse_grain)")
    x = inputs.points("x", x, ens.net.d_in)
    grid = inputs.real_array("fractions", fractions)
    if grid.ndim != 1 or grid.size == 0 or np.any(np.diff(grid) <= 0.0) or grid[0] < 0.0 or grid[-1] > 1.0:
        raise BadInput(f"fractions: expected increasing numbers from 0 to 1, got {fractions!r}")
    names = (by,) if isinstance(by, str) else tuple(by)
    for name in names:
        inputs.choice("by", name, tuple(RULES))
    law = fisher_law(ens.net, fisher, input_mean, input_std, 1.0)
    counts = np.floor(grid * ens.net.finite_widths[-1] + 0.5).astype(np.int64)
    pruning = Pruning(ens, x, counts, names, law)
    outputs, diverged = pruned_outputs(Keeper(), "pruned", "sample", pruning, lambda _: None)
    if np.any(diverged):
        raise BadInput(f"ens: training diverged in {int(diverged.sum())} of {ens.members} members: lower learning_rate")
    return np.ascontiguousarray(np.moveaxis(outputs, 0, 2))


@dataclass(frozen=True)
class Pruning:
    """An ensemble, points x (n, d_in), how many weights go (k,), by which rules, with which law of the Fisher inputs."""

    ensemble: Ensemble
    x: Array
    counts: NDArray[np.int64]
    by: Sequence[str]
    law: FisherLaw


class Pruned(NamedTuple):
    """f (members, rules, counts, n) of the pruned members, and which of them diverged (members,)."""

    outputs: Array
    diverged: NDArray[np.bool_]


def pruned_outputs(keeper: Keeper, label: str, stage: str, pruning: Pruning, progress: Callable[[int], None]) -> Pruned:
    """Return what the members do after losing so many weights; ``label`` and ``stage`` name the shards."""
    ens = pruning.ensemble
    return keeper.gather(
        label,
        stage,
        Pruned,
        ens.members,
        partial(_work, pruning),
        threads=checked_threads(ens.threads),
        progress=progress,
    )


def _work(pruning: Pruning) -> BlockWork[Pruned]:
    ens, x, counts, law = pruning.ensemble, pruning.x, pruning.counts, pruning.law
    net, activations = ens.net.architecture(), ens.net.compiled_activations()
    rules = np.array([RULES[name] for name in pruning.by], dtype=np.int64)
    training, shell = ens.compiled_training(), CoarseGrained(np.zeros(1), law, "prune").compiled(ens.net.d_in)
    columns, seed = np.ascontiguousarray(x.T), np.uint64(ens.seed)

    def work(first: int, count: int, stop: Stop) -> Pruned:
        given = ens.gaussian_law(law, first, count) if law.points is None else np.empty((0, 0))
        out = Pruned(np.empty((count, len(rules), len(counts), len(x))), np.zeros(count, dtype=np.bool_))
        pruned_block(net, activations, seed, first, columns, training, shell, given, rules, counts, *out, stop)
        return out

    return work
