"""Given one member's hidden layer, what is the law of its outputs? Exactly Gaussian at any width, along the whole flow.

Over the initial and redrawn read-out weights, f_Λ(x) = m_Λ(x) + (loadings) · ω: ``shell.mean`` and ``shell.loading`` of
the symbolic layer.  Covariances are Gram matrices of loadings, variances their squared norms, so nothing cancels.
"""

from typing import NamedTuple

import numpy as np

from fieldflow.flow import training_matrix
from fieldflow.formulas import compiled
from fieldflow.inputs import Array


class Conditional(NamedTuple):
    """Law at (cutoffs × points) cells: mean (cells, d_out) and loadings (cells, 2m) on initial and redrawn weights."""

    mean: Array
    loading: Array


class MemberFlow:
    """Training and coarse-graining of one member, given its features.

    Parameters
    ----------
    seen : array (m, n)
        Normalised features on the training inputs.
    y : array (n, d_out)
    diagonal : array (m,)
        λ of each read-out parameter.
    learning_rate, steps, method
        As in ``TrainingFlow``.
    """

    def __init__(
        self, seen: Array, y: Array, diagonal: Array, *, learning_rate: float, steps: float, method: str
    ) -> None:
        self.seen, self.y, self.diagonal = seen, y, diagonal
        self.gram = seen.T @ seen
        self.matrix = training_matrix(
            self.gram, method=method, learning_rate=learning_rate, steps=steps, d_out=y.shape[1]
        )

    def law(self, features: Array, cutoffs: Array, *, mode: str) -> Conditional:
        """Return the joint law at all cut-offs and points; ``features`` (m, p); cells run over cut-offs, then points."""
        stiff = self.diagonal[None, :] >= cutoffs[:, None]
        kept = np.concatenate([np.where(mask[:, None], features, 0.0).T for mask in stiff])
        response = self.seen.T @ kept.T
        mean = compiled("shell.mean")(response, self.matrix, self.y)
        initial = compiled("shell.loading")(kept, response, self.matrix, self.seen.T)
        if mode == "prune":
            return Conditional(mean, initial)
        redrawn = np.concatenate([np.where(mask[:, None], 0.0, features).T for mask in stiff])
        return Conditional(mean, np.concatenate([initial, redrawn], axis=1))

    def moments(self, features: Array, cutoffs: Array) -> tuple[Array, dict[str, Array]]:
        """Return mean (cutoffs, p, d_out) and, for each mode, variance (cutoffs, p), without forming loadings.

        The diagonal of ``shell.covariance`` (a test holds them together), n² per cell instead of n·m; it is used for
        averages over many points, where the rounding of its cancellation is far below the sampling error.
        """
        first = np.searchsorted(cutoffs, self.diagonal, side="right")
        shells = range(len(cutoffs) + 1)
        parts = np.array([self.seen[first == shell].T @ features[first == shell] for shell in shells])
        response = _stiff_sums(parts)
        norms = np.array([np.sum(features[first == shell] ** 2, axis=0) for shell in shells])
        solved = self.matrix.T @ response
        reached = self.gram @ solved
        learnt = np.einsum("cip,cip->cp", solved, reached) - 2.0 * np.einsum("cip,cip->cp", response, solved)
        mean = np.swapaxes(solved, 1, 2) @ self.y
        return mean, {
            "resample": np.maximum(np.sum(norms, axis=0) + learnt, 0.0),
            "prune": np.maximum(_stiff_sums(norms) + learnt, 0.0),
        }


def _stiff_sums(parts: Array) -> Array:
    """Return, per cut-off, the sum over the shells that are still stiff there."""
    sums: Array = np.cumsum(parts[::-1], axis=0)[::-1][1:]
    return sums
