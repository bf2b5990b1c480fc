"""Which free field is a cosine network? Spectrum, propagator, information shell and renormalised parameters of CosNet.

f(x) = Σ w_i (b_i² + m²)^{α/2} cos(b_i·x + c_i): equations (77)-(90) of arXiv:2405.17538, corrected.  For broad Fisher inputs
the information shell is the momentum shell |b| <= R_Λ; for inputs N(0, input_std²) the kernel also depends on x + x'.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fieldflow import cosnet_correlators, cosnet_generating, inputs
from fieldflow.cosnet_neuron import Neuron
from fieldflow.cosnet_sample import sample_fields
from fieldflow.errors import BadInput, NoClosedForm
from fieldflow.formulas import compiled, derive
from fieldflow.inputs import Array
from fieldflow.numeric.cosnet import CosLayer
from fieldflow.symbolic.formula import Formula

REGULATORS = ("ball", "gaussian")
READOUTS = ("gaussian", "fixed")

_ALL = 14.0
"""Momenta beyond this many R do not matter with the Gaussian regulator: e^{-98}."""


class Renormalized(NamedTuple):
    """m² and p² in units of C_d σ_w²(Λ), equation (89), and the radius of the corrected (90)."""

    mass2: float
    momentum2_factor: float
    radius: float


@dataclass(frozen=True)
class CosNet:
    """A cosine network with one hidden layer: a free field of mass ``mass`` with the momentum cut-off ``radius``.

    Parameters
    ----------
    d : int
        Input dimension.
    radius : float
        R of the regulator; math.inf (no cut-off) with the fixed read-out only.
    mass : float
        m >= 0; m > 0 in d <= 2, where the massless field has no finite variance at any R.
    sigma_w : float, optional
        w ~ N(0, sigma_w²/width); 1 by default.  Rejected with the fixed read-out.
    width : int or math.inf, optional
        Number N of hidden units; needed to draw networks and for correlators beyond the propagator.
    alpha : float
        Density of b ∝ f_R(b)(b² + m²)^{-(α+1)}, amplitude (b² + m²)^{α/2}; -1 is the paper's.
    regulator : {"ball", "gaussian"}
        f_R = θ(R - |b|) or e^{-b²/2R²}.
    readout : {"gaussian", "fixed"}
        Gaussian weights, or the fixed amplitude √(2Ω_α/N), for which the spectrum is f_R(p)/(p² + m²).

    Raises
    ------
    BadInput

    >>> cos = CosNet(d=1, radius=8.0, mass=1.0, sigma_w=1.0, width=4000)
    >>> cos.spectrum([0.0, 7.9, 8.1]).round(6).tolist()
    [0.19635, 0.003097, 0.0]
    >>> cos.shell_radius(0.1)
    2.0
    """

    d: int
    radius: float
    mass: float
    sigma_w: float | None = None
    width: float | None = None
    alpha: float = -1
    regulator: str = "ball"
    readout: str = "gaussian"

    def __post_init__(self) -> None:
        inputs.integer("d", self.d, minimum=1, maximum=1000)
        inputs.choice("regulator", self.regulator, REGULATORS)
        inputs.choice("readout", self.readout, READOUTS)
        if self.width is not None and self.width != math.inf:
            inputs.integer("width", self.width, minimum=1)
        inputs.real("alpha", self.alpha)
        mass = inputs.real("mass", self.mass, minimum=0.0)
        if mass == 0.0 and self.d <= 2:
            raise BadInput(
                f"mass: expected > 0 in d <= 2 (infrared divergence: infinite variance), got 0 in d = {self.d}"
            )
        if mass > 0.0 and mass**2 < np.finfo(float).tiny:
            raise BadInput(f"mass: expected 0 or a number whose square is a float, got {mass:g}")
        self._check_radius()
        if mass == 0.0 and self.d <= 2 * (self.alpha + 1):
            raise BadInput(
                f"mass: expected > 0 for alpha >= d/2 - 1 (b has no density at m = 0), got alpha = {self.alpha:g}"
            )
        if self.readout == "fixed":
            if self.sigma_w is not None:
                raise BadInput('sigma_w: not accepted with readout = "fixed", whose amplitude is sqrt(2 Omega/N)')
        else:
            scale = 1.0 if self.sigma_w is None else inputs.real("sigma_w", self.sigma_w, minimum=0.0, strict=True)
            object.__setattr__(self, "sigma_w", scale)

    def _check_radius(self) -> None:
        """Refuse what is no radius, and an infinite one where no network has it as its limit."""
        if isinstance(self.radius, float) and self.radius == math.inf:
            if self.readout == "gaussian":
                raise BadInput(
                    'radius: expected a finite number: C_d = 0 without a cut-off; readout = "fixed" has a limit'
                )
            return
        inputs.real("radius", self.radius, minimum=0.0, strict=True)

    @property
    def conventions(self) -> dict[str, str]:
        """What factors are where, in words."""
        return {
            "network": "f = Σ w h, h = cos(b·x + c) over the square root of b² + m²; w ~ N(0, σ_w²/N), b uniform in the ball",
            "fourier_transform": "K(p) is that of the two-point function, without factors of 2π",
            "loss": "mean over samples of (f - y)², no factor ½",
            "fisher": "Gaussian likelihood; λ = E[h²]/noise variance of the raw read-out weight",
            "partition": "sloppy: λ < Λ (strict); stiff: λ ≥ Λ",
        }

    def architecture(self) -> CosLayer:
        """Return the network as the compiled code takes it; a width is needed."""
        width = inputs.integer("width", self.width, minimum=1)
        std = float(self.sigma_w or 0.0) / math.sqrt(width)
        return CosLayer(self.d, width, float(self.radius), float(self.mass), self.regulator == "ball", std)

    @property
    def strength(self) -> float:
        """C_d σ_w², the spectrum times (p² + m²); 1 with the fixed read-out."""
        if self.readout == "fixed":
            return 1.0
        return self._normalisation() * float(self.sigma_w or 0.0) ** 2

    def _normalisation(self) -> float:
        """Return C_d = 1/(2Ω_α), (2π)^d/(2 Vol B_R) for the paper's network."""
        if self._paper:
            return 1.0 / float(compiled("cosnet.renormalized_momentum")(1.0, self.d, self.radius))
        return 0.5 / self._neuron().volume

    @property
    def _paper(self) -> bool:
        return self.alpha == -1 and self.regulator == "ball"

    def _neuron(self) -> Neuron:
        fixed = self.readout == "fixed"
        gaussian = self.regulator == "gaussian"
        return Neuron(
            self.d, float(self.radius), float(self.mass), float(self.alpha), gaussian, None if fixed else self.sigma_w
        )

    def _width(self) -> float:
        if self.width is None:
            raise BadInput("width: expected a number of hidden units, or math.inf; CosNet(..., width=...) sets it")
        return self.width

    def spectrum(self, p: Any, cutoff: Any = 0.0, *, noise_variance: float = 1.0) -> Array:
        """Return K_>(p) = C_d σ_w² f_R(p) θ(R_Λ - p)/(p² + m²), shape ([cutoffs,] *p); formula ``cosnet.spectrum``.

        Parameters
        ----------
        p : array_like
            |p| >= 0.
        cutoff : float or increasing array (c,)
            Fisher cut-off Λ for broad inputs; 0 is the whole network, and beyond the shell the spectrum is 0.
        noise_variance : float
            s² of the Gaussian likelihood.
        """
        p = _distances("p", p)
        if self._paper and self.readout == "gaussian":
            whole = compiled("cosnet.spectrum")(p, self.d, self.radius, self.mass, self.sigma_w)
        else:
            with np.errstate(divide="ignore"):
                whole = self.strength * self._regulator(p) / (p**2 + self.mass**2)
        edges = np.atleast_1d(self.shell_radius(cutoff, noise_variance=noise_variance)).reshape(-1, *(1,) * p.ndim)
        values: Array = np.where((p <= edges) & (edges > 0.0), whole, 0.0)
        return values if np.ndim(cutoff) else values[0]

    def _regulator(self, p: Array) -> Array:
        if self.regulator == "ball":
            return np.where(p <= self.radius, 1.0, 0.0)
        return np.exp(-0.5 * (p / self.radius) ** 2)

    def propagator(self, r: Any, cutoff: Any = 0.0, *, noise_variance: float = 1.0) -> Array:
        """Return Cov[f(x), f(x + r)] of the stiff part, shape ([cutoffs,] *r): the inverse Fourier transform of ``spectrum``.

        Formulas ``cosnet.propagator_d1|d2|d3`` (any d: ``cosnet.propagator``), without a cut-off
        ``cosnet.propagator_infinite_d1|d2|d3``.

        Raises
        ------
        BadInput
            For r = 0 without a momentum cut-off in d >= 2, where the variance is infinite.
        """
        r = _distances("r", r)
        edges = np.atleast_1d(self.shell_radius(cutoff, noise_variance=noise_variance))
        values = np.array([self._propagator(r, float(edge)) for edge in edges])
        return values if np.ndim(cutoff) else values[0]

    def _propagator(self, r: Array, edge: float) -> Array:
        """Return the two-point function of the momenta below ``edge``."""
        if edge == 0.0:
            return np.zeros_like(r)
        if self.radius == math.inf:
            return self._unbounded(r)
        if self.regulator == "gaussian":
            if math.isinf(edge):
                return self.strength * self._neuron().transform(1.0, r)
            top = min(edge, _ALL * self.radius)
            unit = self.strength * 2.0
            return np.asarray(
                compiled("cosnet.propagator_gaussian")(r, self.d, self.radius, self.mass, math.sqrt(unit), 1.0, top)
            )
        name = f"cosnet.propagator_d{self.d}" if self.d <= 3 else "cosnet.propagator"
        dimension = () if self.d <= 3 else (self.d,)
        # Formulas carry C_d of their own radius; here it stays that of the network.
        own = 1.0 / float(compiled("cosnet.renormalized_momentum")(1.0, self.d, edge))
        value: Array = compiled(name)(r, *dimension, edge, self.mass, math.sqrt(self.strength / own))
        return value

    def _unbounded(self, r: Array) -> Array:
        if self.d > 3:
            raise NoClosedForm(f"d: without a momentum cut-off the propagator is for d = 1, 2, 3; got {self.d}")
        zero = r == 0.0
        if np.any(zero) and self.d > 1:
            raise BadInput(f"r: expected > 0 without a momentum cut-off: the variance is infinite in d = {self.d}")
        found = compiled(f"cosnet.propagator_infinite_d{self.d}")(np.where(zero, 1.0, r), self.mass)
        return np.where(zero, 0.5 / self.mass if self.mass > 0.0 else 0.0, found)

    def four_point(self, configs: Any) -> Array:
        """Return the full (not connected) G⁽⁴⁾ = E[f(x_1) f(x_2) f(x_3) f(x_4)], exact at any width.

        arXiv:2604.27050; formulas ``cosnet.four_point``, ``cosnet.four_point_gaussian``.

        Parameters
        ----------
        configs : array_like (n, 4, d)

        Returns
        -------
        array (n,)

        Raises
        ------
        BadInput
            For another shape, without a width, or where the four-point function is infinite.

        >>> cos = CosNet(d=2, radius=9.0, mass=1.0, width=30, alpha=0, regulator="gaussian", readout="fixed")
        >>> cos.four_point([[[0, 0], [0, 0], [1, 0], [1, 0]]]).round(6).tolist()
        [0.139683]
        """
        return cosnet_correlators.four_point(self._neuron(), self._width(), configs)

    def connected(self, points: Any, n: int, *, scale_moments: Any = None) -> Array:
        """Return the connected n-point tensor G_c⁽ⁿ⁾, exact at any width; 0 for odd n.

        Cumulants of one neuron times N^{1-n/2}; formulas ``cosnet.moment_fixed|gaussian``, ``cosnet.connected``,
        ``cosnet.width_factor``, ``cosnet.scaled``.

        Parameters
        ----------
        points : array_like (m, d)
        n : int
            1 to 8.
        scale_moments : sequence of float, optional
            E s, E s², … (n/2 of them) when all read-out weights of a network are multiplied by √s with one random s > 0:
            neurons are then dependent, and G_c⁽⁴⁾ = Var(s) Σ₃ G₂G₂ survives at width math.inf.

        Returns
        -------
        array (m,)*n, symmetric

        Raises
        ------
        BadInput
            For bad points or n, without a width, where the moments are infinite or no s has them, or for lack of memory.

        >>> CosNet(d=1, radius=8.0, mass=1.0, width=10).connected([[0.0], [0.5]], 4)[0, 0].round(6).tolist()
        [[0.008584, 0.008453], [0.008453, 0.008558]]
        """
        return cosnet_correlators.connected(self._neuron(), self._width(), points, n, scale_moments)

    def generating_functional(self, points: Any, sources: Any) -> Array:
        """Return W[J] = ln E exp(Σ_j J_j f(x_j)), exact at any width; its derivatives at J = 0 are ``connected``.

        W = N ln E_k[e^a I_0(a)], a = σ_w²(k² + m²)^α|J̃(k)|²/4N, or N ln E_k I_0(√(2Ω/N)(k² + m²)^{α/2}|J̃(k)|) for the
        fixed amplitude; formulas ``cosnet.generating_gaussian|fixed``, by quadrature over k.

        Parameters
        ----------
        points : array_like (m, d)
        sources : array_like (b, m) or (m,)
            J_j at the points.

        Returns
        -------
        array (b,) or ()

        Raises
        ------
        BadInput
            For other shapes, without a width, or where W is infinite.
        NoClosedForm
            Without a momentum cut-off, or for points too far apart for the quadrature.

        >>> cos = CosNet(d=1, radius=8.0, mass=1.0, width=10)
        >>> float(cos.generating_functional([[0.0], [0.5]], [0.3, -0.3]).round(9))
        0.002844544
        """
        return cosnet_generating.generating_functional(self._neuron(), self._width(), points, sources)

    def sample(self, points: Any, members: int, *, seed: int = 0, threads: int | None = None) -> Array:
        """Return the fields of ``members`` networks, drawn at random, at ``points`` (m, d): shape (members, m).

        Every density, regulator and read-out; member i is the same for any number of members and threads.

        >>> CosNet(d=2, radius=8.0, mass=1.0, width=5, alpha=0.5).sample([[0.0, 0.0]], 3).shape
        (3, 1)
        """
        return sample_fields(self._neuron(), self._width(), points, members, seed=seed, threads=threads)

    def shell_radius(self, cutoff: Any, *, noise_variance: float = 1.0) -> Array | float:
        """Return R_Λ = min(R, √max(0, 1/(2s²Λ) - m²)), a float or one per cut-off; formula ``cosnet.shell_radius``.

        Modes with |b| <= R_Λ are stiff for broad Fisher inputs; 0 means that the shell is empty.  With the Gaussian
        regulator R is no bound.

        >>> CosNet(d=2, radius=8.0, mass=1.0).shell_radius([0.0, 0.1, 7.0]).tolist()
        [8.0, 2.0, 0.0]
        """
        grid, scalar = inputs.cutoffs(cutoff)
        noise = inputs.real("noise_variance", noise_variance, minimum=0.0, strict=True)
        bound = self.radius if self.regulator == "ball" else math.inf
        if np.any(grid > 0.0):
            self._needs_shell()
        values = np.array([self._edge(value, bound, noise) for value in grid])
        return float(values[0]) if scalar else values

    def _edge(self, cutoff: float, bound: float, noise: float) -> float:
        if cutoff == 0.0:
            return bound
        if math.isinf(cutoff):
            return 0.0
        largest = bound if math.isfinite(bound) else np.finfo(float).max
        return float(compiled("cosnet.shell_radius")(cutoff, largest, self.mass, noise))

    def _needs_shell(self) -> None:
        if self.readout == "fixed":
            raise BadInput("cutoff: a fixed read-out has no weights to coarse-grain; expected 0")
        if self.alpha != -1:
            raise NoClosedForm(f"alpha: the information shell is derived for alpha = -1, got {self.alpha:g}")

    def renormalized(self, sigma_w2: float) -> Renormalized:
        """Return m²/(C_d s2), 1/(C_d s2) and R·s2^{-1/d} for s2 = σ_w²(Λ): (89) and the corrected (90).

        The support of the spectrum stays p <= R, and mass2/momentum2_factor = m²: the pole does not move.

        >>> CosNet(d=1, radius=8.0, mass=1.0).renormalized(2.0).radius
        4.0
        """
        s2 = inputs.real("sigma_w2", sigma_w2, minimum=0.0, strict=True)
        if not self._paper or self.readout == "fixed":
            raise NoClosedForm('renormalized: expected alpha = -1, regulator = "ball" and readout = "gaussian"')
        return Renormalized(
            float(compiled("cosnet.renormalized_mass")(s2, self.d, self.radius, self.mass)),
            float(compiled("cosnet.renormalized_momentum")(s2, self.d, self.radius)),
            float(compiled("cosnet.renormalized")(s2, self.d, self.radius)),
        )

    def shell_kernel(
        self, x1: Any, x2: Any = None, cutoff: Any = 0.0, input_std: float = math.inf, *, noise_variance: float = 1.0
    ) -> Array:
        """Return K_>(x1, x2) at each cut-off, shape ([cutoffs,] n1, n2), for Fisher inputs N(0, input_std²).

        Formula ``cosnet.shell_kernel``; input_std = inf (broad inputs) is the propagator of the momentum shell.
        """
        x1 = inputs.points("x1", x1, self.d)
        other = x1 if x2 is None else inputs.points("x2", x2, self.d)
        grid, scalar = inputs.cutoffs(cutoff)
        noise = inputs.real("noise_variance", noise_variance, minimum=0.0, strict=True)
        minus = np.linalg.norm(x1[:, None] - other, axis=2)
        std = _input_std(input_std)
        if math.isinf(std):
            values = np.array([self.propagator(minus, value, noise_variance=noise) for value in grid])
        else:
            plus = np.linalg.norm(x1[:, None] + other, axis=2)
            values = np.array([self._finite(minus, plus, float(value), std, noise) for value in grid])
        return values[0] if scalar else values

    def _finite(self, minus: Array, plus: Array, cutoff: float, std: float, noise: float) -> Array:
        if cutoff == 0.0:
            return self.propagator(minus)
        self._needs_gaussian_inputs()
        if math.isinf(cutoff):
            return np.zeros_like(minus)
        if self.mass == 0.0:
            raise NoClosedForm(
                "mass: the kernel of finite Fisher inputs is integrated for mass > 0 only; use input_std = inf"
            )
        values: Array = compiled("cosnet.shell_kernel")(
            cutoff, minus, plus, self.d, self.radius, self.mass, self.sigma_w, std, noise
        )
        return values

    def _needs_gaussian_inputs(self) -> None:
        self._needs_shell()
        if self.regulator != "ball":
            raise NoClosedForm('regulator: finite Fisher inputs are derived for "ball"; use input_std = inf')

    def sloppy_fraction(
        self, cutoff: Any, input_std: float = math.inf, *, noise_variance: float = 1.0
    ) -> Array | float:
        """Return P(λ < Λ), the distribution function of λ; ``cosnet.sloppy_fraction`` and ``_gaussian``."""
        grid, scalar = inputs.cutoffs(cutoff)
        noise = inputs.real("noise_variance", noise_variance, minimum=0.0, strict=True)
        std = _input_std(input_std)
        self._needs_gaussian_inputs()
        inside = (grid > 0.0) & np.isfinite(grid)
        values = np.where(np.isinf(grid), 1.0, 0.0)
        if math.isinf(std):
            edges = np.atleast_1d(self.shell_radius(grid, noise_variance=noise))
            values = np.where(np.isinf(grid), 1.0, compiled("cosnet.sloppy_fraction")(self.d, self.radius, edges))
        elif np.any(inside):
            found = compiled("cosnet.sloppy_fraction_gaussian")
            values[inside] = found(grid[inside], self.d, self.radius, self.mass, std, noise)
        return float(values[0]) if scalar else values

    def fisher_density(self, value: Any, input_std: float = math.inf, *, noise_variance: float = 1.0) -> Array:
        """Return the density of λ at ``value`` > 0; ``cosnet.fisher_density`` and ``cosnet.fisher_density_gaussian``."""
        value = inputs.real_array("value", value)
        noise = inputs.real("noise_variance", noise_variance, minimum=0.0, strict=True)
        std = _input_std(input_std)
        self._needs_gaussian_inputs()
        name = "cosnet.fisher_density" if math.isinf(std) else "cosnet.fisher_density_gaussian"
        spread = () if math.isinf(std) else (std,)
        result: Array = compiled(name)(value, self.d, self.radius, self.mass, *spread, noise)
        return result

    def formula(self, name: str) -> Formula:
        """Return the formula behind a method: "spectrum", "propagator", "shell_radius", "shell_kernel", …"""
        return derive(f"cosnet.{name}")

    def _repr_latex_(self) -> str:
        amplitude = r"(b_i^{2} + m^{2})^{\alpha/2}"
        spectrum = derive(
            "cosnet.spectrum" if self._paper and self.readout == "gaussian" else "cosnet.spectrum_general"
        )
        values = ",\\; ".join(
            f"{name} = {value:g}"
            for name, value in (("d", self.d), ("R", self.radius), ("m", self.mass), (r"\alpha", self.alpha))
        )
        return (
            rf"$\displaystyle f(x) = \sum_{{i}} w_i\,{amplitude}\cos(b_i\cdot x + c_i),\quad {spectrum.latex()},"
            rf"\quad {values}$"
        )


def _distances(name: str, value: Any) -> Array:
    array = inputs.real_array(name, value)
    if np.any(array < 0.0):
        raise BadInput(f"{name}: expected absolute values >= 0, got {np.min(array):g}")
    return array


def _input_std(value: Any) -> float:
    if isinstance(value, float) and value == math.inf:
        return math.inf
    return inputs.real("input_std", value, minimum=0.0, strict=True)
