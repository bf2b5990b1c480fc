"""Smallest examples for the corrections on the flow of the read-out: one to eight ReLU neurons."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fieldflow.errata_examples import ENUMERATION, SAMPLING, Example, generator, normal_nodes
from fieldflow.formulas import compiled
from fieldflow.inputs import Array


def independence() -> Example:
    """Mean output at the one training point x = y = 1: y, of course, once the descent of every member has converged.

    2000 networks of 50 neurons, each trained on its own hidden layer; 60 steps leave a residual of 2^-60.
    """
    members, width, target = 2000, 50, 1.0
    random = generator(63)
    hidden = np.maximum(random.standard_normal((members, width)), 0.0)
    weights = random.standard_normal((members, width)) / math.sqrt(width)
    rate = 0.5 / np.sum(hidden**2, axis=1, keepdims=True)
    for _ in range(60):
        weights += rate * hidden * (target - np.sum(hidden * weights, axis=1, keepdims=True))
    values = np.sum(hidden * weights, axis=1)
    kernel, feature = 0.5, float(compiled("paper.eq66")(1.0))
    gap = compiled("paper.eq64_gap")([[kernel]], [[1.0 / kernel]], [[target]], [[feature]], [[feature]], 1.0)
    corrected = float(compiled("shell.mean")([[kernel]], [[1.0 / kernel]], [[target]])[0, 0])
    return Example(r"mean at the training point, $y = 1$, ReLU, $d = 1$", corrected - float(gap[0, 0]), corrected,
                   float(values.mean()), float(values.std() / math.sqrt(members)), SAMPLING)  # fmt: skip


def gaussianity() -> Example:
    """κ₄ of f = w h with h = ±1 and w ~ N(1, 1/4): the mean under the weights is a coin."""
    mean, variance = 1.0, 0.25
    nodes, weights = normal_nodes()
    values = np.concatenate([sign * (mean + math.sqrt(variance) * nodes) for sign in (1.0, -1.0)])
    chance = np.concatenate([weights, weights]) / 2.0
    second, fourth = (float(chance @ values**n) for n in (2, 4))
    corrected = float(compiled("paper.eq68")(mean**4 - 3.0 * mean**4, 0.0, 0.0))
    return Example(r"$\kappa_4[w h]$, $h = \pm 1$, $w \sim N(1, \frac14)$", 0.0, corrected, fourth - 3.0 * second**2, 0.0,
                   ENUMERATION)  # fmt: skip


def redrawn_variance() -> Example:
    """Variance of the output of 16 units with h = 1, all redrawn: 16 s_w = 1 with σ_w = 1."""
    width = 16
    features, nothing = np.ones((width, 1)), np.zeros((width, width))
    both = {}
    for name, prior in (("printed", 1.0), ("corrected", 1.0 / width)):
        both[name] = float((features.T @ compiled("paper.eq75")(nothing, nothing, prior) @ features)[0, 0])
    draws = generator(75).standard_normal((200_000, width)).sum(axis=1) ** 2 / width
    return Example(r"variance of the output, 16 units with $h = 1$, all redrawn, $\sigma_w = 1$", both["printed"],
                   both["corrected"], float(draws.mean()), float(draws.std() / math.sqrt(len(draws))), SAMPLING)  # fmt: skip


def member_wise() -> Example:
    """Variance of f = w h for one unit h = v, v = 1 or 3 with equal chance, w ~ N(1, 1/4), s_w = 1/4, Λ = 4, λ = v².

    The trained unit had v = 3 and is stiff; a fresh one is stiff in half of the members.
    """
    mean, variance, prior = 1.0, 0.25, 0.25
    v = np.array([1.0, 3.0])
    stiff = v**2 >= 4.0
    one, two = np.array([[np.mean(v)]]), np.array([[np.mean(v**2)]])
    kept, lost = np.array([[np.mean(v**2 * stiff)]]), np.array([[np.mean(v**2 * ~stiff)]])
    kept_one = np.array([[np.mean(v * stiff)]])
    xi, average = np.array([[variance]]), np.array([[mean]])
    printed = compiled("paper.eq76")(xi, average, np.eye(1), one, one, two, prior)
    corrected = compiled("paper.eq76_memberwise")(xi, average, kept_one, kept_one, kept, lost, prior)
    return Example(r"$\mathrm{Var}\,f_\Lambda$, $h = v \in \{1, 3\}$, $w \sim N(1, \frac14)$, $\Lambda = 4$", float(printed),
                   float(corrected), _mixture_variance(v, stiff, mean, variance, prior), 0.0, ENUMERATION)  # fmt: skip


def _mixture_variance(v: Array, stiff: NDArray[np.bool_], mean: float, variance: float, prior: float) -> float:
    """Return the variance by enumerating v and integrating over the weight."""
    nodes, weights = normal_nodes()
    outputs = [
        value * ((mean + math.sqrt(variance) * nodes) if kept else math.sqrt(prior) * nodes)
        for value, kept in zip(v, stiff, strict=True)
    ]
    first, second = (float(np.mean([weights @ output**n for output in outputs])) for n in (1, 2))
    return second - first**2


EXAMPLES: dict[str, Callable[[], Example]] = {
    "eq63": independence,
    "eq68": gaussianity,
    "eq75": redrawn_variance,
    "eq76": member_wise,
}
