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
        # M K Mᵀ - M - Mᵀ: what training adds to the prior covariance, between the responses k_>.
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging member is excluded by its caller
            self.learnt = self.matrix @ self.gram @ self.matrix.T - self.matrix - self.matrix.T

    def law(self, features: Array, cutoffs: Array, *, mode: str, factor: float = 1.0) -> Conditional:
        """Return the joint law at all cut-offs and points; ``features`` (m, p); cells run over cut-offs, then points.

        ``factor`` ≠ 1 multiplies the shell kernel k_>: a deliberately wrong law, for negative controls.
        """
        stiff = self.diagonal >= cutoffs[:, None]
        kept = (stiff[:, None, :] * features.T).reshape(-1, len(self.diagonal))
        response = factor * (self.seen.T @ kept.T)
        mean = compiled("shell.mean")(response, self.matrix, self.y)
        initial = compiled("shell.loading")(kept, response, self.matrix, self.seen.T)
        if mode == "prune":
            return Conditional(mean, initial)
        redrawn = (~stiff[:, None, :] * features.T).reshape(kept.shape)
        return Conditional(mean, np.concatenate([initial, redrawn], axis=1))

    def moments(self, features: Array, cutoffs: Array) -> tuple[Array, dict[str, Array]]:
        """Return mean (cutoffs, p, d_out) and, for each mode, variance (cutoffs, p), without forming loadings.

        The diagonal of ``shell.covariance`` (a test holds them together), n² per cell instead of n·m; it is used for
        averages over many points, where the rounding of its cancellation is far below the sampling error.
        """
        # Neurons sorted by the cut-off that removes them: each shell is then one contiguous block.
        first = np.searchsorted(cutoffs, self.diagonal, side="right")
        order = np.argsort(first, kind="stable")
        edges = np.searchsorted(first[order], np.arange(len(cutoffs) + 2))
        seen, there = self.seen[order], features[order]
        target = self.matrix @ self.y
        points = features.shape[1]
        mean, learnt = np.zeros((len(cutoffs), points, self.y.shape[1])), np.zeros((len(cutoffs), points))
        norms = np.zeros((len(cutoffs) + 1, points))
        response = np.zeros((self.seen.shape[1], points))
        # From the largest cut-off down: the response of the stiff neurons grows shell by shell and stays in cache.
        for i in range(len(cutoffs), -1, -1):
            if i < len(cutoffs) and edges[i + 1] < edges[-1]:
                mean[i] = response.T @ target
                learnt[i] = np.einsum("ip,ip->p", response, self.learnt @ response)
            shell = slice(edges[i], edges[i + 1])
            if shell.start < shell.stop:
                response += seen[shell].T @ there[shell]
                norms[i] = np.einsum("mp,mp->p", there[shell], there[shell])
        stiff = np.cumsum(norms[::-1], axis=0)[::-1]
        return mean, {
            "resample": np.maximum(stiff[0] + learnt, 0.0),
            "prune": np.maximum(stiff[1:] + learnt, 0.0),
        }
