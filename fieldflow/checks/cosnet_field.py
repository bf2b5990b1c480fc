"""Is the untrained field free, and its information shell a momentum shell? Spectra and two-point functions of samples.

Spectrum: for each drawn network the windowed Fourier transform ∫dx W(x) e^{-ip·x} f(x)/√∫W² of the stiff part, of the sloppy
part and of their sum, done exactly for each cosine (W = e^{-x²/2L²}).  The mean of its squared modulus is predicted at any
width: the spectrum smeared by the window, ``cosnet.windowed_spectrum``.  Two-point function: Cov[f(0), f(r) | b, c], averaged
over the read-out exactly and over b and c by sampling; predicted is the propagator of each shell.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fieldflow.checks.cosnet_case import CosCase, Progress, counted
from fieldflow.checks.record import EXACT, Check, Family, Source, row
from fieldflow.formulas import compiled, derive
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork
from fieldflow.numeric.cosnet import FieldBlock, empty_field, field_block
from fieldflow.numeric.statistics import chi2_shift, hotelling
from fieldflow.processes import Stop

VISIBLE = 0.05
"""Parts below this share of the whole spectrum are drawn, not judged: a handful of units carries them."""


@dataclass(frozen=True)
class Parts:
    """Stiff and sloppy part at each cut-off, (members, cutoffs, n), and the whole, (members, n)."""

    stiff: Array
    sloppy: Array
    whole: Array

    def cells(self) -> Array:
        """Return all parts of a member in one row: stiff, sloppy, whole."""
        members = len(self.whole)
        return np.concatenate([part.reshape(members, -1) for part in (self.stiff, self.sloppy, self.whole)], axis=1)


@dataclass(frozen=True)
class Field:
    """Squared windowed Fourier transforms, two-point functions, and numbers of sloppy units (cutoffs,)."""

    power: Parts
    pairs: Parts
    sloppy: NDArray[np.int64]


def sample_field(case: CosCase, progress: Progress) -> Field:
    """Draw the ensemble and return what each member's field is, shell by shell."""
    waves, pairs, counts = case.keeper.gather(
        case.name,
        "sample_field",
        FieldBlock,
        case.members,
        partial(_work, case.alone),
        threads=case.threads,
        progress=lambda done: progress("field", done),
    )
    return Field(_parts(waves, True), _parts(pairs, False), np.cumsum(counts.sum(axis=0))[:-1])


def _work(case: CosCase) -> BlockWork[FieldBlock]:
    layer, shell, seed = case.net.architecture(), case.field_shell(), np.uint64(case.seed)
    momenta, separations = case.momenta, case.separations

    def work(first: int, count: int, stop: Stop) -> FieldBlock:
        out = empty_field(count, len(shell.cutoffs) + 1, len(momenta), len(separations))
        field_block(layer, seed, first, momenta, case.window, separations, shell, out, stop)
        return out

    return work


def _parts(shells: Array, squared: bool) -> Parts:
    """Return the parts from single shells (members, shells, n[, 2]); shell i is removed by the cut-offs from i on."""
    below = np.cumsum(shells, axis=1)
    whole = below[:, -1]
    sloppy = below[:, :-1]
    stiff = whole[:, None] - sloppy

    def value(part: Array) -> Array:
        return np.sum(part**2, axis=-1) if squared else part

    return Parts(value(stiff), value(sloppy), value(whole))


def _cells(stiff: Array, whole: Array) -> Array:
    return np.concatenate([stiff.reshape(-1), (whole - stiff).reshape(-1), whole])


def predicted_power(case: CosCase, cutoffs: Array, momenta: Array) -> tuple[Array, Array]:
    """Return the windowed spectrum of the stiff parts (cutoffs, momenta) and of the whole (momenta,)."""
    net = case.net
    edges = np.atleast_1d(net.shell_radius(cutoffs, noise_variance=case.noise_variance))
    found = compiled("cosnet.windowed_spectrum")

    def below(edge: float) -> Array:
        if edge == 0.0:
            return np.zeros_like(momenta)
        value: Array = found(momenta, 0.0, edge, case.window, net.d, net.radius, net.mass, net.sigma_w)
        return value

    return np.array([below(float(edge)) for edge in edges]), below(float(net.radius))


def spectrum(case: CosCase, field: Field) -> Family:
    """Mean squared Fourier transforms of stiff part, sloppy part and sum against K_>(p), K_<(p), K(p)."""
    stiff, whole = predicted_power(case, case.field_cutoffs, case.momenta)
    wide, _ = predicted_power(case, 0.5 * case.field_cutoffs, case.momenta)
    seen = _cells(stiff, whole) >= VISIBLE * np.tile(whole, 2 * len(stiff) + 1)
    source = Source(
        f"{case.name}/spectrum",
        EXACT,
        "2405.17538 (81), (85), with the support; theory: shell",
        derive("cosnet.windowed_spectrum").digest,
    )
    return _compared(case, source, field.power, _cells(stiff, whole), _cells(wide, whole), seen, case.momenta, "|p|")


def two_point(case: CosCase, field: Field) -> Family:
    """Two-point functions of stiff part, sloppy part and sum against the propagators of the momentum shells."""
    net = case.net
    stiff, wide = (
        net.propagator(case.separations, factor * case.field_cutoffs, noise_variance=case.noise_variance)
        for factor in (1.0, 0.5)
    )
    whole = net.propagator(case.separations)
    source = Source(
        f"{case.name}/two-point",
        EXACT,
        "2405.17538 (81), inverse Fourier transform with the support",
        derive(f"cosnet.propagator_d{net.d}").digest,
    )
    cells, wrong = _cells(stiff, whole), _cells(wide, whole)
    return _compared(case, source, field.pairs, cells, wrong, np.ones(len(cells), bool), case.separations, "r")


def _compared(
    case: CosCase,
    source: Source,
    parts: Parts,
    predicted: Array,
    wrong: Array,
    used: NDArray[np.bool_],
    places: Array,
    letter: str,
) -> Family:
    """Return the family of cell means judged by Hotelling's T², with the two controls."""
    values = parts.cells()[:, used]
    members = len(values)
    covariance = np.cov(values, rowvar=False) / members
    errors = np.sqrt(np.diag(covariance))
    labels = [
        (name, float(cutoff), float(place))
        for name, cutoffs in (("stiff", case.field_cutoffs), ("sloppy", case.field_cutoffs), ("whole", [0.0]))
        for cutoff in cutoffs
        for place in places
    ]
    chosen = [labels[i] for i in np.flatnonzero(used)]
    expected, shifted = predicted[used], wrong[used]
    checks: list[Check] = [
        row(
            source,
            f"{name} part at {letter} = {place:.4g}",
            float(expected[i]),
            float(values[:, i].mean()),
            float(errors[i]),
            members,
            control=2.0 * float(expected[i]),
            cutoff=cutoff,
            width=case.width,
        )
        for i, (name, cutoff, place) in enumerate(chosen)
    ]
    statistic, rank, p_value = hotelling(values.mean(axis=0) - expected, covariance, members)
    controls = {}
    for name, other in (
        ("C_d of Eq. (90), without its 1/2", 2.0 * expected),
        ("lambda without the 1/2 of cos^2", shifted),
    ):
        moved, dof, _ = hotelling(values.mean(axis=0) - other, covariance, members)
        controls[name] = chi2_shift(moved, dof)
    return Family(source.family, EXACT, True, statistic, rank, p_value, controls, tuple(checks))


def shell_volume(case: CosCase, field: Field) -> Family:
    """Number of units outside the momentum shell, binomial with 1 - (R_Λ/R)^d."""
    source = Source(
        f"{case.name}/shell-volume", EXACT, "theory: cosnet.sloppy_fraction", derive("cosnet.sloppy_fraction").digest
    )
    noise = case.noise_variance
    predicted, wrong = (
        np.asarray(case.net.sloppy_fraction(factor * case.field_cutoffs, noise_variance=noise)) for factor in (1.0, 0.5)
    )
    total = case.members * case.width
    return counted(source, field.sloppy, total, predicted, wrong, case.field_cutoffs, case.width)
