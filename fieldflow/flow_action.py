"""Which action does an ensemble have along training and along the information shell? Couplings to order 1/N on a mesh.

Equations (56)-(58) of arXiv:2405.17538, corrected.  At infinite width the action is ½(φ-μ)Σ_Λ^{-1}(φ-μ) and every coupling
vanishes; κ₃ and κ₄ of one-neuron averages (``FiniteWidth.cumulants``) give g_1 … g_4 at order 1/N by the inverse rules.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fieldflow import inputs
from fieldflow.action import couplings
from fieldflow.errors import BadInput
from fieldflow.finite_width import Coefficient, FiniteWidth, Tensors
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.kernels import nngp
from fieldflow.numeric.jackknife import leave_one_out, standard_error
from fieldflow.numeric.quadrature import REPLICATES
from fieldflow.shell_kernel import SAMPLED

LEGS = (1, 2, 3, 4)
"""The couplings that there are at order 1/N when κ₃ and κ₄ are both of this order."""


class Terms(NamedTuple):
    """N g_r by r, N times what the quadratic form gains over Σ^{-1}, 2g_2 included, and all of it without each replicate."""

    couplings: dict[int, Coefficient]
    quadratic: Coefficient
    left_out: list[Array]


class FlowAction:
    """Action S = ½φΔφ + Σ_r g_r φ…φ of a trained and coarse-grained ensemble on a mesh, to order 1/N (immutable).

    φ is measured from the mean of the ensemble, Δ is the inverse of its covariance at width N, and g_2 comes beside it: the
    whole quadratic form is Δ + 2g_2.  Consistently to 1/N the couplings, which begin there, are amputated with Σ_Λ of
    infinite width; the difference to amputation with G_2 = Σ_Λ + E/N is of order 1/N².

    Parameters
    ----------
    law : FiniteWidth
        Of the training time in question; along T there is one per time.
    x : array_like (m, d_in)
        The mesh.
    cutoff : float or array_like (cutoffs,)
        An array adds a leading axis to every result.

    Raises
    ------
    BadInput
        At construction; ``couplings`` and the others raise NotPositiveDefinite for a mesh on which Σ_Λ is singular.

    >>> from fieldflow import MLP, TrainingFlow
    >>> flow = TrainingFlow(MLP(1, depth=1, activation="relu"), [[1.0]], [1.0], learning_rate=0.5, steps=0)
    >>> found = FlowAction(FiniteWidth(flow), [[1.0]]).couplings(100)  # g_4 = -κ₄/(24 Σ⁴), κ₄ = 3.75/100, Σ = 1/2
    >>> bool(abs(found[4].value.item() + 0.025) < 4 * found[4].std_error.item()), found[3].value.item() == 0.0
    (True, True)
    """

    def __init__(self, law: FiniteWidth, x: Any, cutoff: Any = 0.0) -> None:
        if not isinstance(law, FiniteWidth):
            raise BadInput(f"law: expected a fieldflow.FiniteWidth, got {type(law).__name__}")
        self.law = law
        self.x = inputs.points("x", x, law.shell.net.d_in)
        self.cutoffs, self._scalar = inputs.cutoffs(cutoff)

    def couplings(self, width: int) -> dict[int, Coefficient]:
        """Return {1: g_1, … 4: g_4} at width N: tensors ([cutoffs,] m, …) with standard errors, no 1/r!.

        Formulas ``action.g1`` … ``action.g4`` at order 1/N with trained counting; equation (58), corrected.
        """
        count = inputs.integer("width", width, minimum=1)
        return {r: _scaled(value, count) for r, value in self.coefficients().items()}

    def coefficients(self) -> dict[int, Coefficient]:
        """Return N g_r as N → ∞, {1: …, 4: …}: what multiplies 1/N in ``couplings``."""
        return {r: self._returned(value) for r, value in self._terms.couplings.items()}

    def mean(self, width: int | None = None) -> Coefficient:
        """Return the mean from which φ is measured, ([cutoffs,] m): μ_Λ and its shift at width N (None: infinite)."""
        value = self.law.shell.mean(self.x, self.cutoffs)
        return self._returned(_to_width(value, self._averaged(self._replicates.mean), width))

    def covariance(self, width: int | None = None) -> Coefficient:
        """Return G_2 = Σ_Λ + E/N, ([cutoffs,] m, m): the inverse of the quadratic form without g_2 (None: Σ_Λ)."""
        value = self.law.shell.covariance(self.x, cutoff=self.cutoffs)
        return self._returned(_to_width(value, self._averaged(self._replicates.covariance), width))

    def quadratic_form(self, width: int | None = None) -> Coefficient:
        """Return Δ + 2g_2, ([cutoffs,] m, m), to order 1/N: equation (57), corrected (None: Σ_Λ^{-1}).

        Formula ``action.quadratic_form``.
        """
        precision: Array = np.linalg.inv(self.law.shell.covariance(self.x, cutoff=self.cutoffs)).astype(np.float64)
        return self._returned(_to_width(precision, self._terms.quadratic, width))

    def quadratic_coefficient(self) -> Coefficient:
        """Return N(Δ + 2g_2 - Σ_Λ^{-1}) as N → ∞, ([cutoffs,] m, m): what multiplies 1/N in ``quadratic_form``."""
        return self._returned(self._terms.quadratic)

    def left_out(self) -> list[Array]:
        """Return N g_1 … N g_4 and the quadratic coefficient without each replicate, (replicates, cutoffs, m, …) each.

        Their jackknife tells how the errors of different components, and of different times with one seed, go together.
        """
        return self._terms.left_out

    @cached_property
    def _replicates(self) -> Tensors:
        return self.law.replicates(self.x, self.cutoffs)

    def _averaged(self, replicates: Array) -> Coefficient:
        return Coefficient(replicates.mean(axis=0), standard_error(leave_one_out(replicates)))

    def _returned(self, found: Coefficient) -> Coefficient:
        return Coefficient(found.value[0], found.std_error[0]) if self._scalar else found

    @cached_property
    def _terms(self) -> Terms:
        """N g_r and the quadratic form with the errors of a jackknife over the replicates of the neurons' average."""
        whole = Tensors(*(part.mean(axis=0) for part in self._replicates))
        left = Tensors(*(leave_one_out(part) for part in self._replicates))
        sigma, sigma_left = self._covariances()
        value = _evaluated(sigma, whole)
        others = [_evaluated(sigma_left[i], Tensors(*(part[i] for part in left))) for i in range(REPLICATES)]
        columns = [np.array(column) for column in zip(*others, strict=True)]
        found = [Coefficient(part, standard_error(column)) for part, column in zip(value, columns, strict=True)]
        return Terms(dict(zip(LEGS, found[:-1], strict=True)), found[-1], columns)

    def _covariances(self) -> tuple[Array, Array]:
        """Return Σ_Λ (cutoffs, m, m), and what it is without each replicate of a sampled shell kernel."""
        shell, x, cutoffs = self.law.shell, self.x, self.cutoffs
        value = shell.covariance(x, cutoff=cutoffs)
        if shell.kernel.method != SAMPLED:
            return value, np.broadcast_to(value, (REPLICATES, *value.shape))
        response = leave_one_out(shell.kernel(shell.flow.x_train, x, cutoffs).replicates)
        if shell.mode == "resample":
            name, prior = "shell.covariance", np.broadcast_to(nngp(shell.net, x), (REPLICATES, *value.shape))
        else:
            name, prior = "shell.covariance_prune", leave_one_out(shell.kernel(x, x, cutoffs).replicates)
        formula = compiled(name)
        return value, formula(prior, response, response, shell.flow.matrix, shell.flow.prior)


def _evaluated(sigma: Array, tensors: Tensors) -> list[Array]:
    """Return N g_1 … N g_4 and N times the gain of the quadratic form, each (cutoffs, …)."""
    rows = []
    for place, matrix in enumerate(sigma):
        found = couplings({2: matrix, 3: tensors.third[place], 4: tensors.fourth[place]}, counting="trained")
        inverse = np.linalg.inv(matrix)
        form = compiled("action.quadratic_form")(inverse, tensors.covariance[place], found[2], 1.0)
        rows.append([*(found[r] for r in LEGS), form - inverse])
    return [np.array(column) for column in zip(*rows, strict=True)]


def _to_width(limit: Array, coefficient: Coefficient, width: int | None) -> Coefficient:
    if width is None:
        return Coefficient(limit, np.zeros_like(limit))
    scaled = _scaled(coefficient, inputs.integer("width", width, minimum=1))
    return Coefficient(limit + scaled.value, scaled.std_error)


def _scaled(found: Coefficient, width: int) -> Coefficient:
    return Coefficient(found.value / width, found.std_error / width)
