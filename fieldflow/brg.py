"""How does coarse-graining move *any* law on a mesh? The linear RG map f -> P f + N(0, Q) of the information shell.

P = K_>K^{-1} between the points of a mesh that contains the training inputs; Q = K - PKP^T (resample) or K_> - PKP^T
(prune): formulas ``brg.projector``, ``brg.mean``, ``brg.covariance_resample``, ``brg.covariance_prune``.  It takes
measured moments as well as predicted ones: the lower leg of figures 1 and 2 of arXiv:2405.17538.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy
from scipy import linalg

from fieldflow import inputs
from fieldflow.errors import BadInput, NotPositiveDefinite
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.kernels import nngp
from fieldflow.shell import MODES, ShellFlow
from fieldflow.stiff_path import HomogeneousPath, StiffPath, TabulatedPath

MAX_CONDITION = 1e12
"""Condition number of K above which K^{-1} has no more than four digits left."""


class Law(NamedTuple):
    """Mean (m[, d_out]) and covariance (m, m) on the mesh."""

    mean: Array
    covariance: Array


@dataclass(frozen=True)
class LinearRG:
    """The linear renormalisation group map on a mesh (immutable); made by ``from_shell`` or ``from_kernels``.

    ``ridge`` is the variance of white noise that every point of the mesh carries and that is never coarse-grained: K and
    K_> are both increased by ridge·1, so that P(0) = 1 and the semigroup law hold exactly while directions in which K is
    far below the ridge are left as they are.

    Parameters
    ----------
    prior : array (m, m)
        K on the mesh, ridge included.
    path : StiffPath
        K_> (m, m) and κ = -∂_ΛK_> as functions of the cut-off, without the ridge.
    mode : {"resample", "prune"}
    ridge : float

    Raises
    ------
    NotPositiveDefinite
        If K is singular: repeated points in the mesh, or a kernel of too low a rank; the condition number is named.

    >>> rg = LinearRG.from_kernels([[1.0]], [[[1.0]], [[0.5]]], cutoffs=[0.0, 1.0], mode="prune")
    >>> rg.projector(1.0).tolist(), rg.covariance([[0.2]], 1.0).tolist()
    ([[0.5]], [[0.3]])
    """

    prior: Array
    path: StiffPath
    mode: str
    ridge: float = 0.0

    def __post_init__(self) -> None:
        inputs.choice("mode", self.mode, MODES)
        condition = float(np.linalg.cond(self.prior))
        if not condition < MAX_CONDITION or np.linalg.eigvalsh(self.prior)[0] <= 0.0:
            raise NotPositiveDefinite(
                f"mesh: K is singular, its condition number is {condition:.3g} (limit {MAX_CONDITION:.0e}): repeated points, "
                "or more points than the rank of the kernel; leave points out or give ridge > 0"
            )

    @classmethod
    def from_shell(
        cls, shell: ShellFlow, mesh: Any, *, cutoffs: Any = None, mode: str | None = None, ridge: float = 0.0
    ) -> "LinearRG":
        """Return the map of an information shell on the points ``mesh`` (m, d_in), which must hold the training inputs.

        Parameters
        ----------
        shell : ShellFlow
        mesh : array_like (m, d_in)
        cutoffs : array_like (c,), optional
            Needed when the shell has no closed form: K_> is sampled there, and interpolated linearly in between (what
            the map does from one of them to another does not depend on the path).
        mode : {"resample", "prune"}, optional
            That of the shell by default.
        ridge : float

        Raises
        ------
        BadInput, NotPositiveDefinite
        """
        if not isinstance(shell, ShellFlow):
            raise BadInput(f"shell: expected a fieldflow.ShellFlow, got {type(shell).__name__}")
        mesh = inputs.points("mesh", mesh, shell.net.d_in)
        missing = [i for i, point in enumerate(shell.flow.x_train) if not np.any(np.all(mesh == point, axis=1))]
        if missing:
            raise BadInput(
                f"mesh: expected all training inputs among its points, row {missing[0]} of x_train is missing"
            )
        ridge = inputs.real("ridge", ridge, minimum=0.0)
        prior = nngp(shell.net, mesh)
        if shell.closed_form and shell.net.sigma_b[-1] == 0.0:
            path: StiffPath = HomogeneousPath(prior, shell.kernel)
        else:
            if cutoffs is None:
                raise BadInput("cutoffs: expected the cut-offs at which K_> is sampled; this shell has no closed form")
            grid = _increasing(cutoffs)
            path = TabulatedPath(grid, shell.kernel(mesh, mesh, grid).value)
        return cls(prior + ridge * np.eye(len(mesh)), path, shell.mode if mode is None else mode, ridge)

    @classmethod
    def from_kernels(
        cls, prior: Any, stiff: Any, *, cutoffs: Any, mode: str = "resample", ridge: float = 0.0
    ) -> "LinearRG":
        """Return the map of given kernels: ``prior`` (m, m) and ``stiff`` (c, m, m), K_> at each of the ``cutoffs`` (c,).

        Raises
        ------
        BadInput, NotPositiveDefinite
        """
        kernel = inputs.real_array("prior", prior)
        if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
            raise BadInput(f"prior: expected a square matrix, got shape {kernel.shape}")
        grid, table = _increasing(cutoffs), inputs.real_array("stiff", stiff)
        if table.shape != (len(grid), *kernel.shape):
            raise BadInput(f"stiff: expected shape {(len(grid), *kernel.shape)}, got {table.shape}")
        for name, value in (("prior", kernel), ("stiff", table)):
            if not np.allclose(value, np.swapaxes(value, -1, -2), rtol=1e-10, atol=1e-12 * np.max(np.abs(value))):
                raise BadInput(f"{name}: expected symmetric matrices")
        ridge = inputs.real("ridge", ridge, minimum=0.0)
        return cls(kernel + ridge * np.eye(len(kernel)), TabulatedPath(grid, table), mode, ridge)

    @property
    def size(self) -> int:
        """Number of points m of the mesh."""
        return len(self.prior)

    def stiff(self, cutoff: float) -> Array:
        """Return K_> at one cut-off, (m, m), ridge included."""
        value: Array = self.path.kernel(_cutoff(cutoff)) + self.ridge * np.eye(self.size)
        return value

    def projector(self, cutoff: float) -> Array:
        """Return P = K_>K^{-1}, (m, m); formula ``brg.projector``."""
        value: Array = compiled("brg.projector")(self.stiff(cutoff), self.prior)
        return value

    def noise(self, cutoff: float) -> Array:
        """Return Q, (m, m): the covariance that the map adds."""
        return self.covariance(np.zeros_like(self.prior), cutoff)

    def mean(self, mean: Any, cutoff: float) -> Array:
        """Return Pμ for a mean (m,) or (m, d_out) on the mesh; formula ``brg.mean``."""
        given = self._mean(mean)
        value: Array = compiled("brg.mean")(self.projector(cutoff), given.reshape(self.size, -1))
        return value.reshape(given.shape)

    def covariance(self, covariance: Any, cutoff: float) -> Array:
        """Return PΣP^T + Q for a covariance (m, m); ``brg.covariance_resample`` or ``brg.covariance_prune``."""
        given = self._covariance(covariance)
        kernels = (self.prior,) if self.mode == "resample" else (self.prior, self.stiff(cutoff))
        value: Array = compiled(f"brg.covariance_{self.mode}")(self.projector(cutoff), given, *kernels)
        return 0.5 * (value + value.T)

    def cumulant(self, cumulant: Any, cutoff: float) -> Array:
        """Return a connected correlator of n >= 3 points after the map: P on each index (formula ``polchinski.connected``).

        ``cumulant`` has shape (m,)*n.
        """
        value = inputs.real_array("cumulant", cumulant)
        if value.ndim < 3 or set(value.shape) != {self.size}:
            raise BadInput(f"cumulant: expected at least three axes of length {self.size}, got shape {value.shape}")
        projector = self.projector(cutoff)
        for _ in range(value.ndim):
            value = np.tensordot(
                value, projector, axes=(0, 1)
            )  # the mapped index goes to the end: n turns restore order
        return value

    def generator(self, cutoff: float) -> Array:
        """Return A = κK_>^{-1}, (m, m), with ∂_Λμ = -Aμ; formula ``brg.generator``.

        Raises
        ------
        NotPositiveDefinite
            Where K_> is singular (nothing is left to flow).
        """
        cutoff = _cutoff(cutoff)
        return self._generator(self.path.rate(cutoff), self.stiff(cutoff), cutoff)

    def diffusion(self, cutoff: float) -> Array:
        """Return D, (m, m): κ (prune) or AK + KA^T (resample, formula ``brg.diffusion_resample``)."""
        if self.mode == "prune":
            return self.path.rate(_cutoff(cutoff))
        value: Array = compiled("brg.diffusion_resample")(self.generator(cutoff), self.prior)
        return value

    def generator_eigenvalue(self, cutoff: float) -> float:
        """Return the smallest eigenvalue of the diffusion matrix D: the flow is a Markov diffusion only where it is >= 0.

        For pruning D = κ is never negative.  For resampling D = AK + KA^T is not negative where K and K_> commute, as
        for homogeneous activations; elsewhere it may be, and the flow is then a map of laws without a process behind it.
        """
        return float(np.linalg.eigvalsh(self.diffusion(cutoff))[0])

    def flow(self, mean: Any, covariance: Any, start: float, stop: float, *, tolerance: float = 1e-10) -> Law:
        """Return the law at ``stop`` of which ``mean`` and ``covariance`` are the law at ``start``, by integration.

        ∂_Λμ = -Aμ and ∂_ΛΣ = -AΣ - ΣA^T + D (formulas ``brg.generator_mean``, ``brg.generator_covariance``), an explicit
        Runge-Kutta method of order eight; from start = 0 it gives what ``mean`` and ``covariance`` give at once.

        Parameters
        ----------
        mean : array_like (m,) or (m, d_out)
        covariance : array_like (m, m)
        start, stop : float
            Finite cut-offs, start <= stop.
        tolerance : float
            Relative, of each step.
        """
        given, moment = self._mean(mean), self._covariance(covariance)
        first, last = _cutoff(start, "start"), _cutoff(stop, "stop")
        if not (np.isfinite(last) and first <= last):
            raise BadInput(f"stop: expected a finite cut-off >= start = {first:g}, got {stop!r}")
        tolerance = inputs.real("tolerance", tolerance, minimum=1e-13, maximum=1e-2)
        state = np.concatenate([given.reshape(-1), moment.reshape(-1)])
        for left, right in self.path.smooth(first, last):
            state = self._integrated(state, left, right, tolerance)
        split = given.size
        return Law(state[:split].reshape(given.shape), state[split:].reshape(self.size, self.size))

    def information(self, cutoff: float, noise_variance: float, points: Sequence[int] | None = None) -> float:
        """Return I_Λ = ½ ln det(K + s²) - ½ ln det(K_< + s²) in nats, s² = ``noise_variance`` of the data.

        ``points`` are the positions of the training inputs in the mesh (all by default).  The information that data with
        this noise carry about the stiff part; it never grows with Λ.  Formula ``brg.information``, by the eigenvalues of
        (K + s²)^{-1}K_> (``brg.information_mode``); the ridge is left out.
        """
        noise = inputs.real("noise_variance", noise_variance, minimum=0.0, strict=True)
        chosen = self._points(points)
        prior = (self.prior - self.ridge * np.eye(self.size))[np.ix_(chosen, chosen)]
        stiff = self.path.kernel(_cutoff(cutoff))[np.ix_(chosen, chosen)]
        shares = linalg.eigh(stiff, prior + noise * np.eye(len(chosen)), eigvals_only=True)
        return float(np.sum(compiled("brg.information_mode")(np.maximum(shares, 0.0))))

    def information_loss(self, cutoff: float, noise_variance: float, points: Sequence[int] | None = None) -> float:
        """Return -∂_ΛI_Λ = ½ tr[(K_< + s²)^{-1}κ] >= 0; formula ``brg.information_loss``."""
        noise = inputs.real("noise_variance", noise_variance, minimum=0.0, strict=True)
        chosen, cutoff = self._points(points), _cutoff(cutoff)
        some = np.ix_(chosen, chosen)
        prior = self.prior - self.ridge * np.eye(self.size)
        degraded = (prior - self.path.kernel(cutoff))[some] + noise * np.eye(len(chosen))
        return float(compiled("brg.information_loss")(degraded, self.path.rate(cutoff)[some]))

    def _points(self, points: Sequence[int] | None) -> list[int]:
        if points is None:
            return list(range(self.size))
        return [inputs.integer(f"points[{i}]", int(p), maximum=self.size - 1) for i, p in enumerate(points)]

    def _mean(self, mean: Any) -> Array:
        given = inputs.real_array("mean", mean)
        if given.ndim not in (1, 2) or given.shape[0] != self.size:
            raise BadInput(f"mean: expected shape ({self.size},) or ({self.size}, d_out), got {given.shape}")
        return given

    def _covariance(self, covariance: Any) -> Array:
        given = inputs.real_array("covariance", covariance)
        if given.shape != self.prior.shape:
            raise BadInput(f"covariance: expected shape {self.prior.shape}, got {given.shape}")
        return given

    def _generator(self, rate: Array, stiff: Array, cutoff: float) -> Array:
        condition = float(np.linalg.cond(stiff)) if np.any(stiff) else np.inf
        if not condition < MAX_CONDITION:
            raise NotPositiveDefinite(
                f"cutoff: K_> is singular at {cutoff:g}, its condition number is {condition:.3g}: there is no generator there"
            )
        value: Array = compiled("brg.generator")(rate, stiff)
        return value

    def _integrated(self, state: Array, left: float, right: float, tolerance: float) -> Array:
        """Return the moments at ``right`` from those at ``left``, on a stretch where κ is smooth."""
        split = len(state) - self.size**2
        speed = {name: compiled(f"brg.generator_{name}") for name in ("mean", "covariance")}
        middle = 0.5 * (left + right)

        def slope(cutoff: float, values: Array) -> Array:
            rate = self.path.rate(cutoff, beside=middle)
            drift = self._generator(rate, self.stiff(cutoff), cutoff)
            noise = rate if self.mode == "prune" else compiled("brg.diffusion_resample")(drift, self.prior)
            sigma = values[split:].reshape(self.size, self.size)
            parts = (
                speed["mean"](drift, values[:split].reshape(self.size, -1)),
                speed["covariance"](drift, sigma, noise),
            )
            return np.concatenate([part.reshape(-1) for part in parts])

        scale = tolerance * max(float(np.max(np.abs(state), initial=0.0)), float(np.max(np.abs(self.prior))))
        found = scipy.integrate.solve_ivp(slope, (left, right), state, method="DOP853", rtol=tolerance, atol=scale)
        if not found.success:
            raise NotPositiveDefinite(f"stop: the flow cannot be integrated beyond {found.t[-1]:g}: {found.message}")
        final: Array = found.y[:, -1]
        return final


def _cutoff(value: Any, name: str = "cutoff") -> float:
    """Return one cut-off, infinity allowed."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    raise BadInput(f"{name}: expected a number >= 0, got {value!r}")


def _increasing(cutoffs: Any) -> Array:
    grid, scalar = inputs.cutoffs(cutoffs)
    if scalar or len(grid) < 2:
        raise BadInput(f"cutoffs: expected at least two cut-offs in increasing order, got {cutoffs!r}")
    return grid
