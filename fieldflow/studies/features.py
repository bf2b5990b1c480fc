"""What do both experiments on the paper's own flow share? Their keys, the frozen layer, and the comparison of moments.

Equations (63)-(76) of arXiv:2405.17538 for one hidden ReLU layer; see ``fieldflow.paper_flow``.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from fieldflow.checks.record import EXACT, Check, Family, Source, row
from fieldflow.data import TEST, TRAIN, gaussian_points, parse_target, target_values
from fieldflow.ensemble import Trained
from fieldflow.errors import BadInput
from fieldflow.inputs import Array
from fieldflow.network import MLP
from fieldflow.numeric.statistics import chi2_shift, hotelling
from fieldflow.paper_flow import FrozenLayer, Predictive
from fieldflow.schema import Positive, Scale, Section, Seed, Text, TrainingSection
from fieldflow.shell_kernel import FisherLaw
from fieldflow.study import Study

CUTOFF = r"cut-off $\Lambda$ (hidden output² / noise variance)"
OUTPUT = r"$f_\Lambda(x)$ (target units)"

MINIMUM_MEMBERS = 1000
"""The joint statement estimates a covariance of all moments: fewer members would know it too badly."""


class Layer(Section):
    """One hidden ReLU layer with weights N(0, sigma_v²), read-out weights N(0, sigma_w²/width), read-out bias N(0, sigma_b²)."""

    d_in: Annotated[int, Field(strict=True, ge=1, le=100)]
    width: Annotated[int, Field(strict=True, ge=2, le=400)]
    sigma_v: Positive = 1.0
    sigma_w: Positive = 1.0
    sigma_b: Scale = 0.0

    def network(self, width: int | None = None) -> MLP:
        """Return the network, of another width if one is given."""
        return MLP(
            self.d_in,
            widths=(width or self.width,),
            activation="relu",
            sigma_w=(self.sigma_v * np.sqrt(self.d_in), self.sigma_w),
            sigma_b=(0.0, self.sigma_b),
        )


class TaskSection(Section):
    """A target and Gaussian inputs, from which training points and the points of comparison are drawn."""

    target: Text
    input_std: Positive = 1.0
    train: Annotated[int, Field(strict=True, ge=1, le=200)]
    points: Annotated[int, Field(strict=True, ge=1, le=8)] = 3
    seed: Seed = 0


class CutoffSection(Section):
    """Cut-offs, the first one 0, and the noise variance of the likelihood behind λ."""

    cutoffs: Annotated[list[Scale], Field(min_length=2, max_length=40)]
    noise_variance: Positive = 1.0

    @model_validator(mode="after")
    def _increasing(self) -> "CutoffSection":
        if self.cutoffs[0] != 0.0:
            raise BadInput(f"cutoffs: expected 0 first (the trained ensemble), got {self.cutoffs[0]:g}")
        for earlier, later in zip(self.cutoffs, self.cutoffs[1:], strict=False):
            if later <= earlier:
                raise BadInput(f"cutoffs: expected strictly increasing numbers, got {later:g} after {earlier:g}")
        return self


class FeaturesStudy(Study):
    """The keys of both kinds."""

    members: Annotated[int, Field(strict=True, ge=MINIMUM_MEMBERS, le=10**7)] = 100_000
    network: Layer
    data: TaskSection
    training: TrainingSection
    shell: CutoffSection

    @model_validator(mode="after")
    def _readable(self) -> "FeaturesStudy":
        parse_target(self.data.target, self.network.d_in)
        return self

    @property
    def cutoffs(self) -> Array:
        """Return the cut-offs (c,)."""
        return np.array(self.shell.cutoffs)

    @property
    def points(self) -> Array:
        """Return the points of comparison (p, d_in)."""
        return self._drawn(self.data.points, TEST)

    def law(self) -> FisherLaw:
        """Return the Fisher law: inputs with the law of the data."""
        std = np.full(self.network.d_in, self.data.input_std)
        return FisherLaw(None, np.zeros(self.network.d_in), std, self.shell.noise_variance)

    def trained(self) -> Trained:
        """Return training set and rule."""
        x, rule = self._drawn(self.data.train, TRAIN), self.training
        y = target_values(self.data.target, x).reshape(-1, 1)
        return Trained(x, y, rule.learning_rate, rule.steps, rule.method)

    def layer(self) -> FrozenLayer:
        """Return the frozen hidden layer."""
        return FrozenLayer(self.network.network(), self.trained(), self.law(), self.seed)

    def _drawn(self, count: int, stream: int) -> Array:
        size = self.network.d_in
        return gaussian_points(count, np.zeros(size), np.full(size, self.data.input_std), self.data.seed, stream)


Laws = Sequence[Predictive]
"""One predicted law per cut-off."""


def moments_family(
    source: Source,
    samples: Array,
    predicted: Laws,
    controls: Mapping[str, Laws],
    cutoffs: Array,
    points: Array,
    width: int,
) -> Family:
    """Return all means and covariances against their predictions, jointly by Hotelling's T².

    Parameters
    ----------
    source : Source
    samples : array (members, cutoffs, p)
    predicted : sequence of Predictive
        One per cut-off.
    controls : mapping
        Wrong laws by name, one per cut-off; the first one stands beside the rows.
    cutoffs, points : arrays (c,), (p, d_in)
    width : int
        For the rows.
    """
    values, expected = _moment_values(samples, predicted)
    n = len(values)
    average, covariance = values.mean(axis=0), np.cov(values, rowvar=False) / n
    statistic, dof, p_value = hotelling(average - expected, covariance, n)
    shifts = {}
    for name, laws in controls.items():
        wrong, rank, _ = hotelling(average - _control_moments(laws, predicted), covariance, n)
        shifts[name] = chi2_shift(wrong, rank)
    rows = _rows(source, samples, predicted, next(iter(controls.values())), cutoffs, points, width)
    return Family(source.family, EXACT, True, statistic, dof, p_value, shifts, tuple(rows))


def _moment_values(samples: Array, predicted: Laws) -> tuple[Array, Array]:
    """Return f and products of f minus its predicted mean per member (members, moments), and what they should average to."""
    upper = np.triu_indices(samples.shape[2])
    columns, expected = [], []
    for i, law in enumerate(predicted):
        centred = samples[:, i] - law.mean
        columns += [samples[:, i], centred[:, upper[0]] * centred[:, upper[1]]]
        expected += [law.mean, law.covariance[upper]]
    return np.concatenate(columns, axis=1), np.concatenate(expected)


def _control_moments(laws: Laws, predicted: Laws) -> Array:
    """Return what the same moments would average to under other laws."""
    found = []
    for law, true in zip(laws, predicted, strict=True):
        upper, shift = np.triu_indices(len(law.mean)), law.mean - true.mean
        found += [law.mean, (law.covariance + np.outer(shift, shift))[upper]]
    return np.concatenate(found)


def _rows(
    source: Source, samples: Array, predicted: Laws, wrong: Laws, cutoffs: Array, points: Array, width: int
) -> list[Check]:
    n, rows = len(samples), []
    for i, cutoff in enumerate(cutoffs):
        mean, mean_error, variance, variance_error = sample_moments(samples[:, i])
        true, false = predicted[i], wrong[i]
        for k, point in enumerate(points):
            rows.append(
                row(
                    source,
                    "mean",
                    float(true.mean[k]),
                    float(mean[k]),
                    float(mean_error[k]),
                    n,
                    control=float(false.mean[k]),
                    cutoff=float(cutoff),
                    point=point,
                    width=width,
                )
            )
            rows.append(
                row(
                    source,
                    "variance",
                    float(true.covariance[k, k]),
                    float(variance[k]),
                    float(variance_error[k]),
                    n,
                    control=float(false.covariance[k, k]),
                    cutoff=float(cutoff),
                    point=point,
                    width=width,
                )
            )
    return rows


def sample_moments(values: Array) -> tuple[Array, Array, Array, Array]:
    """Return mean, its error, variance and its error over members (members, p); the error knows the fourth moment."""
    n = len(values)
    mean, variance = values.mean(axis=0), values.var(axis=0, ddof=1)
    fourth = np.mean((values - mean) ** 4, axis=0)
    return mean, np.sqrt(variance / n), variance, np.sqrt(np.maximum(fourth - variance**2, 0.0) / n)


def fine_grid(cutoffs: Array, count: int = 300) -> Array:
    """Return cut-offs for a curve: even steps from 0 to the first positive one, even ratios beyond."""
    beyond = np.geomspace(cutoffs[1], cutoffs[-1], count)
    return np.unique(np.concatenate([np.linspace(0.0, cutoffs[1], count // 10, endpoint=False), beyond]))
