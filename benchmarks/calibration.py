"""Are the joint p-values uniform over seeds, and is every negative control caught? Writes docs/calibration.md.

Run as ``python benchmarks/calibration.py [--seeds N] [--workers W] [--out FILE]``; a quick look: ``--seeds 8 --out -``.
Two small experiments (``calibration.toml``, ``calibration-deep.toml``) are run once per seed of the ensemble, all on the
same data.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

import fieldflow as ff
from fieldflow.checks.record import LITERATURE
from fieldflow.numeric.statistics import chi2_p, holm, two_sided
from fieldflow.verdict import DISAGREES
from fieldflow.workers import available_threads

HERE = Path(__file__).parent
FILES = (HERE / "calibration.toml", HERE / "calibration-deep.toml")
ESTIMATED = ("loss-curve", "lower-layers", "infinite-width", "deep/sloppy-fraction")
"""Families whose covariance is estimated: their statistic is Hotelling's T², not χ²."""


@dataclass(frozen=True)
class Seen:
    """One family at one seed: p-values, status, and for each control its shift and whether it was caught."""

    p_value: float
    ks_p_value: float | None
    status: str
    dof: int
    shifts: dict[str, float]
    caught: dict[str, bool]


def one_seed(seed: int) -> dict[str, Seen]:
    """Run both experiments with one seed; return what each family said, literature left out."""
    seen = {}
    for path in FILES:
        results = ff.run(path, seed=seed, threads=1).results
        checks = results["experiment"]["resolved"]["checks"]
        samples = min(results["members"]["used"], checks["scan_members"] or results["members"]["used"])
        for name, joint in results["joint"].items():
            if joint["claim"] != LITERATURE:
                caught = {
                    control: is_caught(results["joint"], name, shift, samples, checks["alpha"])
                    for control, shift in joint["negative_controls"].items()
                }
                seen[name] = Seen(
                    joint["p_value"],
                    joint["ks_p_value"],
                    joint["status"],
                    joint["dof"],
                    joint["negative_controls"],
                    caught,
                )
    return seen


def is_caught(joint: dict[str, dict], name: str, shift: float, samples: int, alpha: float) -> bool:
    """Return whether a family would disagree, among the others of its run, with the control as its prediction.

    Only the control's joint statistic is used, not its rows and not Kolmogorov-Smirnov: a lower bound.
    """
    dof = joint[name]["dof"]
    statistic = dof + shift * np.sqrt(2.0 * dof)
    if name.endswith(ESTIMATED):
        scaled = statistic * (samples - dof) / (dof * (samples - 1))
        tails = stats.f.cdf(scaled, dof, samples - dof), stats.f.sf(scaled, dof, samples - dof)
        p_value = two_sided(float(tails[0]), float(tails[1]))
    else:
        p_value = chi2_p(float(statistic), dof)
    p_values = {
        entry: [values["p_value"], values["holm_min_p"], values["ks_p_value"]] for entry, values in joint.items()
    }
    p_values[name] = [p_value, None]
    known = {entry: [p for p in values if p is not None] for entry, values in p_values.items()}
    adjusted = holm(np.array([min(1.0, len(values) * min(values)) for values in known.values()]))
    return bool(adjusted[list(known).index(name)] < alpha)


def collect(seeds: int, workers: int) -> dict[str, list[Seen]]:
    """Return, per family, what was seen at each seed."""
    found = defaultdict(list)
    with ProcessPoolExecutor(workers) as pool:
        for seen in pool.map(one_seed, range(seeds), chunksize=4):
            for name, entry in seen.items():
                found[name].append(entry)
    return dict(found)


def samples_of(found: dict[str, list[Seen]]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the p-values that are judged: of every family, and of its components where it has such a test."""
    for name, entries in found.items():
        yield name, np.array([entry.p_value for entry in entries])
        if entries[0].ks_p_value is not None:
            yield f"{name}, components", np.array([entry.ks_p_value for entry in entries])


def share(values: np.ndarray, level: float) -> str:
    """Return the share of p-values below a level, with the binomial error of the level."""
    return f"{np.mean(values < level):.3f} ± {np.sqrt(level * (1.0 - level) / len(values)):.3f}"


def page(found: dict[str, list[Seen]], seeds: int) -> str:
    """Return the page of the documentation."""
    names, columns = zip(*samples_of(found), strict=True)
    uniform = np.array([stats.kstest(values, "uniform").pvalue for values in columns])
    adjusted = holm(uniform)
    lines = [
        "# Calibration of the verdicts",
        "",
        f"Written by `benchmarks/calibration.py`: two small experiments, `benchmarks/calibration.toml` (one hidden layer, "
        f"family names `shallow/…`) and `benchmarks/calibration-deep.toml` (two hidden layers, `deep/…`), run over {seeds} "
        "seeds of the ensemble on fixed data. If a verdict is calibrated its p-value is uniform over seeds.",
        "",
        "*Uniform*: Kolmogorov-Smirnov p-value of the p-values against the uniform law (*Holm*: adjusted for the number of "
        "rows). *Components*: the p-value of the Kolmogorov-Smirnov test within a family, of its whitened components against "
        f"N(0, 1). At {seeds} seeds a distance of {stats.kstwo.isf(0.05, seeds):.3f} has p = 0.05.",
        "",
        "| p-value of | seeds | uniform | Holm | smallest | share below 0.05 | share below 0.01 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, values, p, q in zip(names, columns, uniform, adjusted, strict=True):
        lines.append(
            f"| {name} | {len(values)} | {p:.3g} | {q:.2g} | {values.min():.1e} | {share(values, 0.05)} | "
            f"{share(values, 0.01)} |"
        )
    lines += ["", unusual(names, columns), "", *verdicts(found), "", *controls(found)]
    return "\n".join(lines) + "\n"


def unusual(names: tuple[str, ...], columns: tuple[np.ndarray, ...]) -> str:
    """Return a sentence with the rows whose tail is not what the level says."""
    far = [
        f"{name} ({np.mean(values < level):.3f} below {level})"
        for name, values in zip(names, columns, strict=True)
        for level in (0.05, 0.01)
        if abs(np.mean(values < level) - level) > 3.0 * np.sqrt(level * (1.0 - level) / len(values))
    ]
    return (
        f"Shares more than three binomial errors from their level: {', '.join(far) or 'none'}. "
        "What the p-values rest on: [benchmarks](../benchmarks/README.md)."
    )


def verdicts(found: dict[str, list[Seen]]) -> list[str]:
    """Return the table of how often each family said what."""
    lines = ["| family | degrees of freedom | agrees | underpowered | disagrees |", "|---|---|---|---|---|"]
    for name, entries in found.items():
        count, dof = Counter(entry.status for entry in entries), [entry.dof for entry in entries]
        between = f"{min(dof)}" if min(dof) == max(dof) else f"{min(dof)} to {max(dof)}"
        lines.append(f"| {name} | {between} | {count['agrees']} | {count['underpowered']} | {count[DISAGREES]} |")
    return lines


def controls(found: dict[str, list[Seen]]) -> list[str]:
    """Return the table of the negative controls."""
    lines = [
        "A negative control is *caught* at a seed if the family disagrees (by the same rule, among the other families of its "
        "run) once the control's statistic stands in place of its own. Its shift is in standard errors of the joint statistic.",
        "",
        "| family | negative control | smallest shift | caught |",
        "|---|---|---|---|",
    ]
    for name, entries in found.items():
        for control in entries[0].shifts:
            weakest = min((entry.shifts[control] for entry in entries), key=abs)
            caught = sum(entry.caught[control] for entry in entries)
            lines.append(f"| {name} | {control} | {weakest:.3g} | {caught} of {len(entries)} |")
    return lines


def main() -> None:
    """Run the seeds and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=available_threads(), help="processes")
    parser.add_argument("--out", default=str(HERE.parent / "docs" / "calibration.md"), help="- : only print")
    options = parser.parse_args()
    text = page(collect(options.seeds, options.workers), options.seeds)
    if options.out != "-":
        Path(options.out).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
