"""What do equations (63)-(76) of arXiv:2405.17538 say about a given network, and what do the ensembles they describe do?

One hidden ReLU layer, Gaussian inputs.  A ``FrozenLayer`` is one draw of the hidden layer with the exact law (69), (70) of
the read-out trained on it.  That read-out stays on its layer (*shared*), or meets freshly drawn ones (*factorised*).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fieldflow.ensemble import Ensemble, Trained
from fieldflow.flow import training_matrix
from fieldflow.formulas import compiled, pair_expectation
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork, Keeper
from fieldflow.network import MLP
from fieldflow.numeric import rng
from fieldflow.numeric.coarsegrain import removed_from
from fieldflow.numeric.ensemble import outputs_block
from fieldflow.numeric.features import Frozen, factorised_block, independent_block, shared_block
from fieldflow.processes import Stop
from fieldflow.shards import Record
from fieldflow.shell_kernel import FisherLaw

T = TypeVar("T", bound=Record)

HALF = 0.5
"""c_1 = E[relu(z)²] of ReLU, whose degree is 1."""


class Predictive(NamedTuple):
    """A predicted law at p points: mean (p,) and covariance (p, p)."""

    mean: Array
    covariance: Array


class ReadoutLaw(NamedTuple):
    """Law of raw read-out weights: mean (m, 1), covariance (m, m), prior variance of one weight."""

    mean: Array
    covariance: Array
    prior: float


@dataclass(frozen=True)
class FrozenLayer:
    """One hidden layer drawn from the prior, and the training set of the read-out on it.

    Parameters
    ----------
    net : MLP
        One hidden ReLU layer without hidden bias; a read-out bias counts as one more weight, on a constant feature.
    trained : Trained
    law : FisherLaw
        Gaussian, centred and isotropic.
    seed : int
        The layer is that of member 0 in the stream of predictions, which no member of an ensemble uses.
    """

    net: MLP
    trained: Trained
    law: FisherLaw
    seed: int

    def hidden(self, x: Array) -> Array:
        """Return the raw features (m, p) at points (p, d_in); the bias feature is σ_b/√s_w, so all weights have variance s_w."""
        columns = np.ascontiguousarray(x.T)
        drawn = outputs_block(
            self.net.architecture(),
            self.net.compiled_activations(),
            np.uint64(self.seed),
            0,
            1,
            rng.INDEPENDENT,
            columns,
        )[0]
        if self.net.sigma_b[-1] == 0.0:
            return np.ascontiguousarray(drawn)
        return np.vstack([drawn, np.full(len(x), self.bias_feature)])

    @property
    def bias_feature(self) -> float:
        """σ_b/√s_w."""
        return float(self.net.sigma_b[-1] / np.sqrt(self.net.readout_variance))

    @cached_property
    def diagonal(self) -> Array:
        """λ (m,) of every read-out parameter."""
        drawn: Array = Ensemble(self.net, 1, self.seed).gaussian_law(self.law, 0, 1, rng.INDEPENDENT)[0]
        if self.net.sigma_b[-1] == 0.0:
            return drawn
        return np.append(drawn, 1.0 / self.law.noise_variance)

    @cached_property
    def matrix(self) -> Array:
        """M_T (n, n) of the Gram matrix s_w H Hᵀ."""
        seen = self.hidden(self.trained.x)
        return training_matrix(
            self.net.readout_variance * (seen.T @ seen),
            method=self.trained.method,
            learning_rate=self.trained.learning_rate,
            steps=self.trained.steps,
            d_out=1,
        )

    @cached_property
    def readout(self) -> ReadoutLaw:
        """The trained law N(w̄, Ξ) of the raw weights, formulas ``paper.eq69`` and ``paper.eq70``."""
        seen, prior = np.ascontiguousarray(self.hidden(self.trained.x).T), self.net.readout_variance
        mean = compiled("paper.eq69")(seen, self.matrix, self.trained.y, prior)
        return ReadoutLaw(mean, compiled("paper.eq70")(seen, self.matrix, prior), prior)

    def frozen(self) -> Frozen:
        """Return the layer as the samplers take it."""
        rule = self.trained.compiled()
        seen = np.sqrt(self.net.readout_variance) * self.hidden(self.trained.x)
        return Frozen(np.ascontiguousarray(seen), self.trained.y[:, 0].copy(), rule.rate, rule.method, rule.duration)


# Predictions


class Moments(NamedTuple):
    """V (m, p) and V(x, y) (p, p, m, m) of the features, or of the stiff ones; tr V^<, (p, p), of the sloppy ones."""

    single: Array
    pair: Array
    sloppy: Array


def frozen_moments(layer: FrozenLayer, x: Array) -> Moments:
    """Return V = h and V(x, y) = h(x)h(y)ᵀ: the layer is the same for all members."""
    h = layer.hidden(x)
    return Moments(h, np.einsum("ip,jq->pqij", h, h), np.zeros((len(x), len(x))))


def shell_values(net: MLP, law: FisherLaw, cutoff: float) -> tuple[float, ...]:
    """Return the arguments of ``shell.homogeneous_Z``, ``shell.sloppy_fraction`` and ``paper.eq66_stiff``."""
    sigma_v = net.sigma_w[0] * float(np.sqrt(net.layer_factor(0)))
    return (cutoff, float(net.d_in), 1.0, HALF, float(law.input_std[0]), sigma_v, law.noise_variance)


def drawn_moments(net: MLP, x: Array, law: FisherLaw, cutoff: float = 0.0) -> Moments:
    """Return the moments of freshly drawn neurons that are stiff at ``cutoff``: ``paper.eq66`` … ``paper.eq67`` in closed form."""
    width, variance = net.finite_widths[-1], net.sigma_w[0] ** 2 * net.layer_factor(0)
    q = variance * (x @ x.T)
    norm = np.diag(q)
    single = compiled("paper.eq66")(norm)
    pair = pair_expectation(net.activation[0].expr)(norm[:, None], q, norm[None, :])
    values = shell_values(net, law, cutoff)
    stiff = compiled("shell.homogeneous_Z")(*values) * pair
    one = compiled("paper.eq66_stiff")(*values) * single
    columns = np.tile(one, (width, 1))
    whole = compiled("paper.eq67")
    both = np.array(
        [
            [whole(columns[:, [i]], columns[:, [j]], stiff[i, j], one[i], one[j]) for j in range(len(x))]
            for i in range(len(x))
        ]
    )
    return Moments(columns, both, width * (pair - stiff))


def trained_prediction(law: ReadoutLaw, moments: Moments) -> Predictive:
    """Return (73): ``paper.eq73_mean`` and ``paper.eq73``."""
    mean, cov = compiled("paper.eq73_mean"), compiled("paper.eq73")
    single = moments.single
    return _over_points(
        single.shape[1],
        lambda i: mean(law.mean, single[:, [i]]),
        lambda i, j: cov(law.covariance, law.mean, law.mean, single[:, [i]], single[:, [j]], moments.pair[i, j]),
    )


def biased_prediction(layer: FrozenLayer, x: Array) -> Predictive:
    """Return (72) for the shared ensemble, the read-out bias in blocks of its own: ``paper.eq72_mean``, ``paper.eq72``."""
    h = layer.hidden(x)
    h, scale = (h[:-1], layer.bias_feature) if layer.net.sigma_b[-1] else (h, 0.0)
    size, law = len(h), layer.readout
    full = np.zeros((size + 1, size + 1))
    full[: len(law.covariance), : len(law.covariance)] = law.covariance
    average = np.zeros((size + 1, 1))
    average[: len(law.mean)] = law.mean
    w, b = average[:size], scale * average[size:]
    blocks = scale**2 * full[size:, size:], scale * full[:size, size:], scale * full[size:, :size], full[:size, :size]
    mean, cov = compiled("paper.eq72_mean"), compiled("paper.eq72")
    return _over_points(
        h.shape[1],
        lambda i: mean(b, w, h[:, [i]]),
        lambda i, j: cov(*blocks, w, w, h[:, [i]], h[:, [j]], h[:, [i]] @ h[:, [j]].T),
    )


def shell_prediction(law: ReadoutLaw, moments: Moments, stiff: NDArray[np.bool_]) -> Predictive:
    """Return (76) with the partition ``stiff`` (m,) of all members: ``paper.eq76_mean`` and ``paper.eq76``."""
    mean, cov = compiled("paper.eq76_mean"), compiled("paper.eq76")
    single, kept = moments.single, np.diag(stiff.astype(np.float64))
    return _over_points(
        single.shape[1],
        lambda i: mean(law.mean, kept, single[:, [i]]),
        lambda i, j: cov(law.covariance, law.mean, kept, single[:, [i]], single[:, [j]], moments.pair[i, j], law.prior),
    )


def memberwise_prediction(law: ReadoutLaw, stiff: Moments) -> Predictive:
    """Return the law for member-wise partitions; ``stiff`` are the moments of stiff neurons."""
    mean, cov = compiled("paper.eq76_memberwise_mean"), compiled("paper.eq76_memberwise")
    single, size = stiff.single, len(stiff.single)
    return _over_points(
        single.shape[1],
        lambda i: mean(law.mean, single[:, [i]]),
        lambda i, j: cov(
            law.covariance, law.mean, single[:, [i]], single[:, [j]], stiff.pair[i, j],
            np.eye(size) * stiff.sloppy[i, j] / size, law.prior,
        ),
    )  # fmt: skip


def _over_points(count: int, mean: Callable[[int], float], cov: Callable[[int, int], float]) -> Predictive:
    means = np.array([float(mean(i)) for i in range(count)])
    return Predictive(means, np.array([[float(cov(i, j)) for j in range(count)] for i in range(count)]))


# Samples


class Pass(NamedTuple):
    """Who runs a pass over members and keeps their records, how many there are, and who is told how far it is."""

    keeper: Keeper
    members: int
    threads: int
    progress: Callable[[int], None]

    def gather(self, label: str, kind: Callable[..., T], prepare: Callable[[], BlockWork[T]]) -> T:
        """Return the records of all members; there is one pass for each ``label`` in a run."""
        return self.keeper.gather(
            label, "sample", kind, self.members, prepare, threads=self.threads, progress=self.progress
        )


class Shared(NamedTuple):
    """f_Λ (members, cutoffs, p) of read-outs trained on the one frozen layer."""

    outputs: Array


class Drawn(NamedTuple):
    """f_Λ (members, cutoffs, p): with one partition for all members, and with each member's own."""

    fixed: Array
    own: Array


class Independent(NamedTuple):
    """f_Λ (members, cutoffs, p) of members trained on their own layers; Σ_i w_i and Σ_i w_i² (members, 2) of raw weights."""

    own: Array
    sums: Array


@dataclass(frozen=True)
class _OnLayer:
    """A layer with its read-out as the samplers take it, points x (p, d_in), their features (width, p), and which neurons the
    cut-offs remove.
    """

    layer: FrozenLayer
    frozen: Frozen
    x: Array
    features: Array
    removed: NDArray[np.int64]
    cutoffs: Array


def _on_layer(layer: FrozenLayer, x: Array, cutoffs: Array) -> _OnLayer:
    features = np.ascontiguousarray(np.sqrt(layer.net.readout_variance) * layer.hidden(x))
    return _OnLayer(layer, layer.frozen(), x, features, removed_from(layer.diagonal, cutoffs), cutoffs)


def sample_shared(layer: FrozenLayer, x: Array, cutoffs: Array, run: Pass) -> Array:
    """Return f_Λ (members, cutoffs, p) of read-outs trained on the one frozen layer."""
    return run.gather("shared", Shared, partial(_shared, _on_layer(layer, x, cutoffs))).outputs


def _shared(given: _OnLayer) -> BlockWork[Shared]:
    seed, cutoffs = np.uint64(given.layer.seed), len(given.cutoffs)

    def work(first: int, count: int, stop: Stop) -> Shared:
        out = np.empty((count, cutoffs, len(given.x)))
        shared_block(given.frozen, given.features, given.removed, cutoffs, seed, first, out, stop)
        return Shared(out)

    return work


def sample_factorised(layer: FrozenLayer, x: Array, cutoffs: Array, run: Pass) -> Drawn:
    """Return f_Λ of the same read-outs, each on a fresh hidden layer: the law (63) taken at its word."""
    return run.gather("factorised", Drawn, partial(_factorised, _on_layer(layer, x, cutoffs)))


def _factorised(given: _OnLayer) -> BlockWork[Drawn]:
    layer, cutoffs = given.layer, given.cutoffs
    net, activations, seed = layer.net.architecture(), layer.net.compiled_activations(), np.uint64(layer.seed)
    columns, ensemble = np.ascontiguousarray(given.x.T), Ensemble(layer.net, 1, layer.seed)

    def work(first: int, count: int, stop: Stop) -> Drawn:
        own = ensemble.gaussian_law(layer.law, first, count)
        both = np.empty((count, len(cutoffs), len(given.x))), np.empty((count, len(cutoffs), len(given.x)))
        factorised_block(
            net, activations, given.frozen, columns, given.removed, own, cutoffs, seed, first, *both, stop
        )  # fmt: skip
        return Drawn(*both)

    return work


def sample_independent(ensemble: Ensemble, law: FisherLaw, x: Array, cutoffs: Array, run: Pass) -> Independent:
    """Return what members do that are trained on their own hidden layers, and the sums of their weights.

    ``ensemble`` is trained, not coarse-grained.
    """
    own, sums = run.gather("independent", Independent, partial(_independent, ensemble, law, x, cutoffs))
    net = ensemble.net
    return Independent(own, sums * np.array([np.sqrt(net.readout_variance), net.readout_variance]))


def _independent(ensemble: Ensemble, law: FisherLaw, x: Array, cutoffs: Array) -> BlockWork[Independent]:
    net, activations, seed = ensemble.net.architecture(), ensemble.net.compiled_activations(), np.uint64(ensemble.seed)
    rule = ensemble.compiled_training()
    frozen = Frozen(np.empty((0, 0)), rule.y[:, 0].copy(), rule.rate, rule.method, rule.duration)
    columns = np.ascontiguousarray(x.T)

    def work(first: int, count: int, stop: Stop) -> Independent:
        given = ensemble.gaussian_law(law, first, count)
        out = Independent(np.empty((count, len(cutoffs), len(x))), np.empty((count, 2)))
        independent_block(net, activations, columns, rule.x, frozen, given, cutoffs, seed, first, *out, stop)
        return out

    return work


def exchangeable_law(width: int, sums: Array, prior: float) -> ReadoutLaw:
    """Return the mean and covariance of weights of exchangeable neurons from the members' Σw and Σw² (members, 2)."""
    average = float(sums[:, 0].mean()) / width
    square = float(sums[:, 1].mean()) / width
    cross = float(np.mean(sums[:, 0] ** 2 - sums[:, 1])) / (width * (width - 1))
    covariance = np.full((width, width), cross - average**2)
    np.fill_diagonal(covariance, square - average**2)
    return ReadoutLaw(np.full((width, 1), average), covariance, prior)
