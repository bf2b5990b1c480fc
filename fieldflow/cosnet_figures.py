"""What do the figures of a cosine-network experiment show? Spectra with the moving shell, propagators, trained fields."""

from dataclasses import dataclass

import numpy as np

from fieldflow.checks.cosnet_case import CosCase
from fieldflow.checks.cosnet_field import Field, Parts, predicted_power
from fieldflow.checks.cosnet_training import Scan, cells, fitted
from fieldflow.cosnet import CosNet
from fieldflow.cosnet_flow import CosNetFlow
from fieldflow.inputs import Array
from fieldflow.numeric.cosnet import TrainedBlock
from fieldflow.picture import Line, Mark, Panel, Picture, Points

CURVE_POINTS = 121

MOMENTUM = r"momentum $|p|$ (1/input unit)"
DISTANCE = r"distance $r$ (input unit)"
CUTOFF = r"cut-off $\Lambda$ (hidden output² / noise variance)"


@dataclass(frozen=True)
class Series:
    """What was measured."""

    case: CosCase
    field: Field
    trained: TrainedBlock
    scan: Scan


def pictures(series: Series) -> list[Picture]:
    """Return the figures of one experiment."""
    case = series.case
    return [
        Picture(
            "spectrum",
            rf"Spectra at initialisation in $d={case.net.d}$: squared Fourier transforms of {case.members} networks of width "
            rf"{case.width} in the window $e^{{-x^2/2L^2}}$, $L={case.window:g}$, split by the information shell, and the "
            r"prediction smeared by the same window. The dashed line is $K(p)$ itself; the dotted one $R_\Lambda$: as $\Lambda$ "
            "grows, the shell moves in.",
            _spectra(series),
            columns=3,
        ),
        Picture(
            "propagator",
            "Two-point function of the stiff part, of the sloppy part and of the whole at initialisation, averaged over the "
            r"read-out; the dashed line is the whole without a momentum cut-off, $R\to\infty$ at the same $C_d\sigma_w^2$.",
            _propagators(series),
            columns=3,
        ),
        Picture(
            "trained",
            "Mean and covariance of the trained field along the flow. Lines: infinite width, with the shell kernel of the "
            r"Fisher inputs; points: $N\to\infty$ by extrapolation; dashed: the translation-invariant shell of broad inputs.",
            [_mean_panel(series), _curve_panel(series), *_covariance_panels(series)],
            shared_legend=False,
        ),
        Picture(
            "fisher-law",
            r"Law of $\lambda$: the share of sloppy units for broad inputs and for the inputs of training, and the densities.",
            [_law_panel(series), _density_panel(series)],
        ),
    ]


def _samples(parts: Parts, i: int, x: Array) -> list[Points]:
    """Return means and standard errors of the parts at cut-off number ``i``."""
    found = []
    for name, role, marker, values in (
        ("stiff part", "measured", "o", parts.stiff[:, i]),
        ("sloppy part", "alternative", "s", parts.sloppy[:, i]),
        ("whole", "limit", "^", parts.whole),
    ):
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        found.append(Points(x, values.mean(axis=0), error, f"{name}, samples", role, marker))
    return found


def _spectra(series: Series) -> list[Panel]:
    case, field = series.case, series.field
    top = float(case.momenta[-1])
    momenta = np.linspace(0.0, top, CURVE_POINTS)
    stiff, whole = predicted_power(case, case.field_cutoffs, momenta)
    panels = []
    for i, cutoff in enumerate(case.field_cutoffs):
        edge = float(case.net.shell_radius(cutoff, noise_variance=case.noise_variance))
        panels.append(
            Panel(
                [
                    Line(momenta, case.net.spectrum(momenta), r"$K(p)$", "guide", dashed=True),
                    Line(momenta, stiff[i], "stiff part, predicted"),
                    Line(momenta, whole - stiff[i], "sloppy part, predicted", "alternative"),
                    Line(momenta, whole, "whole, predicted", "limit"),
                    *_samples(field.power, i, case.momenta),
                    Mark(edge, r"$R_\Lambda$"),
                ],
                MOMENTUM,
                r"$K(p)$ (output² · input unit$^d$)",
                rf"$\Lambda$ = {cutoff:g}, $R_\Lambda$ = {edge:.3g}",
                yscale="log",
                ylim=(0.02 * float(whole[-1]), 2.0 * float(whole[0])),
            )
        )
    return panels


def _propagators(series: Series) -> list[Panel]:
    case, field, net = series.case, series.field, series.case.net
    low = 1e-3 * float(case.separations[-1])
    r = np.linspace(0.0, float(case.separations[-1]), CURVE_POINTS)
    whole = net.propagator(r)
    stiff = net.propagator(r, case.field_cutoffs, noise_variance=case.noise_variance)
    unbounded = net.strength * CosNet(net.d, np.inf, net.mass, readout="fixed").propagator(np.maximum(r, low))
    panels = []
    for i, cutoff in enumerate(case.field_cutoffs):
        panels.append(
            Panel(
                [
                    Line(
                        r,
                        np.where(unbounded < 1.2 * whole[0], unbounded, np.nan),
                        "whole, no cut-off",
                        "guide",
                        dashed=True,
                    ),
                    Line(r, stiff[i], "stiff part, predicted"),
                    Line(r, whole - stiff[i], "sloppy part, predicted", "alternative"),
                    Line(r, whole, "whole, predicted", "limit"),
                    *_samples(field.pairs, i, case.separations),
                ],
                DISTANCE,
                r"Cov$[f(x), f(x+r)]$ (output²)",
                rf"$\Lambda$ = {cutoff:g}",
            )
        )
    return panels


def _path(case: CosCase) -> Array:
    """Return points along the first axis that span the stated ones."""
    ends = 1.3 * np.max(np.abs(case.stated[:, 0])) + 0.1
    path = np.zeros((CURVE_POINTS, case.net.d))
    path[:, 0] = np.linspace(-ends, ends, CURVE_POINTS)
    return path


def _shown(case: CosCase) -> list[int]:
    """Return up to three cut-offs: the first, one in the middle, the last but one."""
    return sorted({0, len(case.cutoffs) // 2, len(case.cutoffs) - 1})


def _mean_panel(series: Series) -> Panel:
    case = series.case
    path, fit, errors = _path(case), *_intercepts(series)
    points = len(case.stated)
    drawn: list[Line | Points | Mark] = []
    for i, role, marker in zip(_shown(case), ("predicted", "alternative", "limit"), "os^", strict=False):
        cutoff = float(case.cutoffs[i])
        drawn.append(Line(path[:, 0], case.flow.mean(path, cutoff), rf"$\Lambda$ = {cutoff:g}", role))
        at = slice(i * points, (i + 1) * points)
        drawn.append(Points(case.stated[:, 0], fit[at], errors[at], "", role, marker))
    if case.net.d == 1:
        drawn.append(Points(case.trained.x[:, 0], case.trained.y[:, 0], None, "training set", "guide", "."))
    return Panel(drawn, r"$x_1$ (input unit)", r"$\mu_\Lambda(x)$ (output)")


def _intercepts(series: Series) -> tuple[Array, Array]:
    fit, covariance = fitted(series.scan)
    return fit[0], np.sqrt(np.diag(covariance))


def _grid(case: CosCase) -> Array:
    return np.linspace(0.0, 1.15 * float(case.cutoffs[-1]), CURVE_POINTS)


def _curve_panel(series: Series) -> Panel:
    """Return the mean at each stated point against the cut-off."""
    case = series.case
    grid, fit, errors = _grid(case), *_intercepts(series)
    points = len(case.stated)
    broad = _broad(case)
    drawn: list[Line | Points | Mark] = []
    for k, (role, marker) in enumerate(zip(("predicted", "alternative", "limit"), "os^", strict=True)):
        if k >= points:
            break
        place = rf"$x_1$ = {case.stated[k, 0]:g}"
        drawn.append(Line(grid, case.flow.mean(case.stated[k : k + 1], grid)[:, 0], place, role))
        drawn.append(Line(grid, broad.mean(case.stated[k : k + 1], grid)[:, 0], "", "guide", dashed=True))
        at = np.arange(len(case.cutoffs)) * points + k
        drawn.append(Points(case.cutoffs, fit[at], errors[at], "", role, marker))
    return Panel(drawn, CUTOFF, r"$\mu_\Lambda(x)$ (output)")


def _broad(case: CosCase) -> CosNetFlow:
    """Return the flow with the translation-invariant shell of broad Fisher inputs."""
    flow = case.flow
    return CosNetFlow(
        flow.net,
        flow.x_train,
        flow.y_train,
        learning_rate=flow.learning_rate,
        steps=flow.steps,
        method=flow.method,
        noise_variance=flow.noise_variance,
        mode=flow.mode,
    )


def _covariance_panels(series: Series) -> list[Panel]:
    """Return variance at the first point and covariance of the first two, against the cut-off."""
    case = series.case
    grid, fit, errors = _grid(case), *_intercepts(series)
    broad, labels = _broad(case), cells(case)
    panels = []
    for j, name in ((0, "variance"), (1, "covariance")):
        j = min(j, len(case.stated) - 1)
        pair = tuple(map(float, case.stated[0])) + tuple(map(float, case.stated[j]))
        at = [i for i, (kind, _, place) in enumerate(labels) if kind == "covariance" and place == pair]
        here, there = case.stated[:1], case.stated[j : j + 1]
        places = f"$x_1$ = {case.stated[0, 0]:g}" + (f", $x_1'$ = {case.stated[j, 0]:g}" if j else "")
        panels.append(
            Panel(
                [
                    Line(grid, case.flow.covariance(here, there, grid)[:, 0, 0], "infinite width"),
                    Line(grid, broad.covariance(here, there, grid)[:, 0, 0], "broad inputs", "guide", dashed=True),
                    Points(case.cutoffs, fit[at], errors[at], r"$N\to\infty$, samples"),
                ],
                CUTOFF,
                rf"{name} of $f_\Lambda$ (output²)",
                places,
            )
        )
    return panels


def _law_panel(series: Series) -> Panel:
    case, net = series.case, series.case.net
    top = 0.5 / (case.noise_variance * net.mass**2) if net.mass > 0 else 4.0 * float(case.cutoffs[-1])
    low = 0.2 / (case.noise_variance * (float(net.radius) ** 2 + net.mass**2))
    grid = np.geomspace(low, 2.2 * top, CURVE_POINTS)
    total = case.members * case.width
    broad, finite = series.field.sloppy / total, series.trained.sloppy.sum(axis=0) / total
    noise = case.noise_variance
    finite_law = net.sloppy_fraction(grid, case.input_std, noise_variance=noise)
    return Panel(
        [
            Line(grid, np.asarray(net.sloppy_fraction(grid, noise_variance=noise)), "broad inputs"),
            Line(grid, np.asarray(finite_law), "inputs of training", "alternative"),
            Points(case.field_cutoffs, broad, np.sqrt(broad * (1 - broad) / total), "samples, broad"),
            _positive(case.cutoffs, finite, total),
        ],
        CUTOFF,
        r"P$(\lambda < \Lambda)$",
        xscale="log",
    )


def _positive(cutoffs: Array, share: Array, total: int) -> Points:
    used = cutoffs > 0.0
    error = np.sqrt(share * (1 - share) / total)[used]
    return Points(cutoffs[used], share[used], error, "samples, inputs of training", "alternative", "s")


def _density_panel(series: Series) -> Panel:
    case, net, noise = series.case, series.case.net, series.case.noise_variance
    top = 1.0 / (noise * net.mass**2) if net.mass > 0 else 4.0 * float(case.cutoffs[-1])
    low = 0.2 / (noise * (float(net.radius) ** 2 + net.mass**2))
    grid = np.geomspace(low, 1.1 * top, 2 * CURVE_POINTS)
    broad = net.fisher_density(grid, noise_variance=noise)
    finite = net.fisher_density(grid, case.input_std, noise_variance=noise)
    return Panel(
        [
            Line(grid, np.where(broad > 0, grid * broad, np.nan), "broad inputs"),
            Line(grid, grid * finite, "inputs of training", "alternative"),
        ],
        r"$\lambda$ (hidden output² / noise variance)",
        r"density of $\ln\lambda$",
        xscale="log",
    )
