"""What would one write about this run? The verdict table on screen, and a LaTeX report of fragments to \\input."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from fieldflow.formulas import derive
from fieldflow.latex import escape, number, table, with_error
from fieldflow.store import write_text
from fieldflow.symbolic.formula import Formula
from fieldflow.symbolic.prose import prose
from fieldflow.symbolic.reference import bibtex
from fieldflow.verdict import DISAGREES

_COLOUR = {"agrees": "green", "disagrees": "red", "underpowered": "yellow"}

PAPER = "howard2024bayesian"

SECTIONS = ("summary", "conventions", "formulas", "verdicts", "literature", "figures")


def verdict_table(results: Mapping[str, Any]) -> Table:
    """Return one line per family: what was claimed, how it was judged, whether it could have failed."""
    shown = Table(
        title=f"{results['experiment']['name']}: predictions against samples",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for heading in ("family", "claim", "χ²/dof", "p", "control", "status"):
        shown.add_column(heading, justify="left" if heading in ("family", "claim", "status") else "right", no_wrap=True)
    for name, joint in sorted(results["joint"].items()):
        rows = [check for check in results["checks"] if check["family"] == name]
        colour = _COLOUR[joint["status"]]
        status = f"[{colour}]{joint['status']}[/{colour}]"
        if joint["claim"] == "literature":
            bad = sum(check["status"] == DISAGREES for check in rows)
            status = f"{bad}/{len(rows)} differ"
        statistic = f"{joint['chi2'] / joint['dof']:.3f}" if joint["dof"] else "–"
        shown.add_row(name, joint["claim"], statistic, _short(_joint_p(joint)), _control(joint), status)
    return shown


def write(directory: Path, results: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Write report.tex, its sections and tables, and the bibliography of what was used."""
    used = [derive(name) for name in results["formulas"]]
    sections = {
        "conventions": conventions(results["conventions"]),
        "formulas": "\n".join([_FORMULAS_HEAD, *(_formula_tex(formula) for formula in used)]),
        **run_sections(results, figures),
    }
    for name, text in run_tables(results, figures).items():
        write_text(directory / "tables" / f"{name}.tex", text)
    for name in SECTIONS:
        write_text(directory / "sections" / f"{name}.tex", sections[name])
    keys = sorted({PAPER, *(reference.key for formula in used for reference in formula.references)})
    write_text(directory / "references.bib", bibtex(keys))
    write_text(directory / "report.tex", _document(results))


def run_tables(results: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables of a run by name: tables/NAME.tex of what the sections of the run input."""
    own = {entry["name"]: table(entry["columns"], entry["header"], entry["rows"]) for entry in figures["tables"]}
    literature = {"literature": _literature_tex(results)} if _has_literature(results) else {}
    return {"settings": _settings_table(results), "verdicts": _verdict_tex(results), **literature, **own}


def run_sections(results: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, str]:
    """Return what is to be said about a run, in sections by name; they input the tables and the figures."""
    return {
        "summary": _summary(results),
        "verdicts": _verdict_section(results, figures),
        "literature": _literature_section() if _has_literature(results) else "",
        "figures": _figures_tex(figures),
    }


def _document(results: Mapping[str, Any]) -> str:
    name = escape(results["experiment"]["name"])
    return "\n".join(
        [
            r"\documentclass[a4paper,11pt]{article}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage[margin=25mm]{geometry}",
            r"\usepackage{amsmath,amssymb,booktabs,graphicx,hyperref}",
            r"\date{}",
            rf"\title{{Predictions against samples:\\ experiment \texttt{{{name}}}}}",
            rf"\author{{fieldflow, seed {results['seed']}}}",
            r"\begin{document}",
            r"\maketitle",
            *(rf"\input{{sections/{section}}}" for section in SECTIONS),
            r"\bibliographystyle{plain}",
            r"\bibliography{references}",
            r"\end{document}",
            "",
        ]
    )


def _summary(results: Mapping[str, Any]) -> str:
    members, joint = results["members"], results["joint"]
    judged = {name: entry for name, entry in joint.items() if entry["claim"] != "literature"}
    agree = sum(entry["status"] == "agrees" for entry in judged.values())
    lines = [
        r"\section{Summary}",
        escape(results["experiment"]["resolved"].get("description", "")).capitalize() + ".",
        rf"{members['requested']} networks were drawn (Ref.~\cite{{{PAPER}}} has the setting). {members['excluded']['diverged']}",
        r"members were excluded because their training diverged, by a rule that sees the hidden layer, the inputs and the",
        r"targets only.",
        rf"Of {len(judged)} families of predictions, {agree} agree with the samples.",
        r"Table~\ref{tab:settings} lists the settings, Table~\ref{tab:verdicts} the verdicts.",
        "",
        *(escape(line) + "\n" for line in results["notes"]),
        r"\begin{table}[!ht]\centering",
        r"\input{tables/settings}",
        r"\caption{Settings, as run.}\label{tab:settings}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _settings_table(results: Mapping[str, Any]) -> str:
    """Return every key of the experiment with its value, tables of the file as prefixes."""
    resolved = results["experiment"]["resolved"]
    rows = [["members", str(results["members"]["requested"])]]
    for key, value in sorted(resolved.items()):
        if key not in ("name", "kind", "description", "minutes", "members", "checks"):
            rows += [[escape(f"{place}".replace("_", " ")), escape(text)] for place, text in _flat(key, value)]
    return table(r"lp{0.55\textwidth}", ["setting", "value"], rows)


def _flat(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield (place, text) of every value below one key."""
    if isinstance(value, Mapping):
        for key, inner in sorted(value.items()):
            yield from _flat(f"{place}: {key}", inner)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for entry in value:
            prefix = f"{entry['label']}" if len(value) > 1 else place
            yield from _flat(prefix, {key: inner for key, inner in entry.items() if key != "label"})
    elif value is not None:
        many = isinstance(value, list) and len(value) > 12
        yield place, f"{len(value)} from {value[0]:g} to {value[-1]:g}" if many else _listed(value)


def _listed(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_listed(entry) for entry in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def conventions(statements: Mapping[str, Mapping[str, str]]) -> str:
    """Return the section on conventions: the statements of each network, or of all formulas."""
    rows = []
    for label, entries in sorted(statements.items()):
        prefix = f"{label}: " if len(statements) > 1 else ""
        rows += [[escape(prefix + key.replace("_", " ")), prose(str(value))] for key, value in sorted(entries.items())]
    body = table("lp{0.6\\textwidth}", ["convention", "value"], rows)
    return "\n".join([r"\section{Conventions}", r"\noindent", body])


def _formula_tex(formula: Formula) -> str:
    places = [rf"\cite[{escape(reference.locator)}]{{{reference.key}}}" for reference in formula.references]
    source = ", ".join(places) if places else "derived from " + escape(", ".join(formula.derived_from))
    return "\n".join(
        [
            rf"\paragraph{{\texttt{{{escape(formula.name)}}}}} ({escape(formula.validity)}; {source})",
            formula.latex(style="align"),
            "",
        ]
    )


_FORMULAS_HEAD = "\n".join(
    [
        r"\section{Formulas}",
        r"Features $h$ are normalised by the prior standard deviation of the read-out weights; $H$ are those on the training",
        r"inputs, $K=HH^{\top}$, $h_{>}$ the features of stiff neurons, $k^{>}=Hh_{>}^{\top}$, $L$ the strictly lower triangle",
        r"of $K$. Every step of each derivation is checked when the formula is built.",
        "",
    ]
)


def _verdict_tex(results: Mapping[str, Any]) -> str:
    rows = []
    for name, joint in sorted(results["joint"].items()):
        if joint["claim"] != "literature":
            statistic = f"${joint['chi2']:.1f}/{joint['dof']}$"
            values = (joint["p_value"], joint["ks_p_value"], joint["holm_min_p"])
            rows.append([escape(name), joint["claim"], statistic, *(number(value, 2) for value in values),
                         escape(_control(joint)), joint["status"]])  # fmt: skip
    header = ["family", "claim", r"$\chi^2$/dof", "$p$", "KS $p$", "Holm $p$", "control", "status"]
    return table("llrrrrrl", header, rows)


def _verdict_section(results: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    lines = [
        r"\clearpage",
        r"\section{Verdicts}",
        r"Table~\ref{tab:verdicts} judges each family of predictions jointly; the single comparisons are in \texttt{results.json}.",
        r"\begin{table}[!ht]\centering\small\setlength{\tabcolsep}{4pt}",
        r"\resizebox{\textwidth}{!}{\input{tables/verdicts}}",
        r"\caption{Joint verdicts. $\chi^2$ (Hotelling's $T^2$ where the covariance is estimated) is taken over whitened",
        r"components; KS is the Kolmogorov--Smirnov test of those components; Holm $p$ is the smallest adjusted $p$-value of",
        r"the rows; control is the least number of standard errors by which a deliberately wrong prediction moves the joint",
        r"statistic. Below 8 the family would count as underpowered.}\label{tab:verdicts}",
        r"\end{table}",
        "",
    ]
    for entry in figures["tables"]:
        lines += [
            r"\begin{table}[!ht]\centering\small",
            rf"\input{{tables/{entry['name']}}}",
            rf"\caption{{{entry['caption']}}}",
            r"\end{table}",
            "",
        ]
    return "\n".join(lines)


def _has_literature(results: Mapping[str, Any]) -> bool:
    return any(check["claim"] == "literature" for check in results["checks"])


def _literature_tex(results: Mapping[str, Any]) -> str:
    rows = []
    for check in results["checks"]:
        if check["claim"] == "literature":
            label = check["family"].split("/")[0]
            rows.append([escape(f"{label}: {check['name']}"), escape(check["equation"].removeprefix("2405.17538 ")),
                         number(check["prediction"]), with_error(check["measurement"], check["std_error"]),
                         check["status"]])  # fmt: skip
    return table(r"p{0.46\textwidth}lrrl", ["claim", "where", "claimed", "measured", "status"], rows)


def _literature_section() -> str:
    return "\n".join(
        [
            r"\section{Claims of the literature}",
            r"Table~\ref{tab:literature} puts claims of the paper beside what the same experiment measures here.",
            r"\begin{table}[!ht]\centering\small",
            r"\resizebox{\textwidth}{!}{\input{tables/literature}}",
            rf"\caption{{Claims of Sec.~4.2 of Ref.~\cite{{{PAPER}}} beside what this run measured. They are reported, not",
            r"judged: the text describes figures, not numbers with errors. The errors are those of the ensemble on this one data",
            r"set; the cost of redrawing silent units in particular varies strongly between data sets.}\label{tab:literature}",
            r"\end{table}",
            "",
        ]
    )


def _figures_tex(figures: Mapping[str, Any]) -> str:
    lines = [r"\section{Figures}", r"Curves are predictions, points with bars are samples with their standard errors."]
    for picture in figures["pictures"]:
        name = picture["name"]
        lines += [
            r"\begin{figure}[!ht]\centering",
            rf"\includegraphics[width=\textwidth,height=0.36\textheight,keepaspectratio]{{figures/{name}.pdf}}",
            rf"\caption{{{picture['caption']}}}\label{{fig:{name}}}",
            r"\end{figure}",
        ]
    return "\n".join([*lines, r"\clearpage", ""])


def _joint_p(joint: Mapping[str, Any]) -> float | None:
    return joint["joint_p"] if joint["dof"] else None


def _control(joint: Mapping[str, Any]) -> str:
    shifts: Iterable[float] = [abs(value) for value in joint["negative_controls"].values() if value is not None]
    found = list(shifts)
    return f"{min(found):.3g} σ" if found else "–"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"
