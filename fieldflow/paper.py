"""What would a paper on all of this say? A complete article: conventions, every formula, its derivation, verdicts of a run."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldflow import corrections, paper_diagrams, plotting, report
from fieldflow.errors import BadInput
from fieldflow.formulas import catalog, derive
from fieldflow.latex import bibliography, cited, escape
from fieldflow.paper_fragments import derivation, statement, symbol_table
from fieldflow.paper_sections import grouped
from fieldflow.result import Result, load
from fieldflow.store import check_replaceable, replace_directory, write_text
from fieldflow.symbol_table import check_symbols
from fieldflow.symbolic.convention import Convention
from fieldflow.symbolic.equality import PROVED
from fieldflow.symbolic.formula import Formula

RESULTS = "results.json"

_PREAMBLE = r"""\documentclass[a4paper,11pt]{article}
\usepackage{amsmath,booktabs,graphicx,tikz,hyperref}
\hypersetup{hidelinks}
\setlength{\textwidth}{160mm}
\setlength{\oddsidemargin}{-0.4mm}
\setlength{\textheight}{237mm}
\setlength{\topmargin}{-13mm}
\setlength{\emergencystretch}{3em}
\raggedbottom
\clubpenalty=10000 \widowpenalty=10000 \displaywidowpenalty=10000
\date{}
\title{Neural networks as field theories:\\ derived formulas and their checks}
\author{fieldflow}
\begin{document}
\maketitle"""


def write_paper(
    directory: str | Path,
    *,
    run: str | Path | Result | None = None,
    symbols: Mapping[str, str] | None = None,
    names: Iterable[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    r"""Write an article on the catalogue that pdflatex compiles with amsmath, booktabs, graphicx, hyperref and tikz.

    Parameters
    ----------
    directory : path
        Written whole or not at all; replaced only if fieldflow wrote it and it holds no results of a run. It receives
        paper.tex, conventions.tex, formulas/NAME.tex and formulas/NAME-derivation.tex (fragments that any article with
        amsmath can \input), and for a run verdicts.tex, tables and figures.
    run : path or Result, optional
        What ``fieldflow verify`` wrote, for verdict tables and figures.
    symbols : mapping, optional
        Calling name to LaTeX, for symbols to be printed under another name.
    names : iterable of str, optional
        Catalogue names; all by default.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    BadInput
        For a directory that may not be replaced, an unknown name, an unknown symbol, or no result in ``run``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = write_paper(Path(folder) / "paper", names=["fisher.readout"])
    ...     sorted(path.name for path in out.iterdir())
    ['.fieldflow', 'conventions.tex', 'formulas', 'paper.tex']
    """
    if not isinstance(directory, (str, Path)):
        raise BadInput(f"directory: expected a path, got {type(directory).__name__}")
    check_target(Path(directory), run)
    return prepare_paper(run=run, symbols=symbols, names=names, progress=progress).save(Path(directory))


@dataclass(frozen=True)
class Paper:
    """The files of a paper by their place, not yet written, and the series of its figures."""

    files: Mapping[str, str]
    figures: Mapping[str, Any] | None

    def save(self, directory: Path) -> Path:
        """Write the paper whole or not at all; return the directory."""
        return replace_directory(directory, self._write)

    def _write(self, fresh: Path) -> None:
        for place, text in self.files.items():
            write_text(fresh / place, text)
        if self.figures is not None:
            plotting.save_all(fresh / "figures", self.figures["pictures"])


def prepare_paper(
    *,
    run: str | Path | Result | None = None,
    symbols: Mapping[str, str] | None = None,
    names: Iterable[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Paper:
    """Return the paper that ``write_paper`` writes; nothing is written yet.

    >>> sorted(prepare_paper(names=["fisher.readout"]).files)[0]
    'conventions.tex'
    """
    result = load(run) if isinstance(run, (str, Path)) else run
    wanted = sorted(set(catalog() if names is None else names))
    formulas = _derived(wanted, progress or (lambda *_: None))
    check_symbols(symbols or {}, formulas.values())
    return Paper(_files(formulas, symbols or {}, result), None if result is None else result.figures)


def check_target(directory: Path, run: str | Path | Result | None = None) -> None:
    """Raise BadInput unless a paper may be written to ``directory``: not over foreign files, not over results."""
    check_replaceable(directory)
    if (directory / RESULTS).exists():
        raise BadInput(f"out: {directory} holds the results of a run; choose another directory")
    if isinstance(run, (str, Path)) and Path(run).resolve().is_relative_to(directory.resolve()):
        raise BadInput(f"run: {run} lies in the directory to be written, {directory}; choose another directory")


def _derived(names: list[str], progress: Callable[[str, int, int], None]) -> dict[str, Formula]:
    found = {}
    for done, name in enumerate(names, start=1):
        found[name] = derive(name)
        progress("deriving formulas", done, len(names))
    return found


def _files(formulas: Mapping[str, Formula], symbols: Mapping[str, str], result: Result | None) -> dict[str, str]:
    """Return every text file of the paper by its place."""
    files = {"conventions.tex": _conventions(formulas, symbols)}
    for name, formula in formulas.items():
        files[f"formulas/{name}.tex"] = statement(name, formula, symbols)
        if formula.steps:
            files[f"formulas/{name}-derivation.tex"] = derivation(name, formula, symbols)
    if result is not None:
        files["verdicts.tex"] = _verdicts(result)
        files |= {
            f"tables/{name}.tex": text for name, text in report.run_tables(result.results, result.figures).items()
        }
    if drawn := paper_diagrams.page(formulas):
        files["diagrams.tex"] = drawn
    if corrected := corrections.section(formulas):
        files["corrections.tex"] = corrected
    files["paper.tex"] = _document(formulas, result, cited(files.values()), bool(corrected))
    return files


def _document(formulas: Mapping[str, Formula], result: Result | None, keys: list[str], corrected: bool) -> str:
    own = {name: formula for name, formula in formulas.items() if not name.startswith(corrections.PREFIX)}
    parts = [_PREAMBLE, _abstract(formulas, result), r"\tableofcontents", r"\input{conventions.tex}"]
    for section, names in grouped(own):
        parts += [rf"\section{{{section.title}}}", section.introduction]
        parts += [_entry(name, formulas) for name in names]
        if paper_diagrams.page(names):
            parts.append(r"\input{diagrams.tex}")
    if result is not None:
        parts.append(r"\input{verdicts.tex}")
    if corrected:
        parts.append(r"\input{corrections.tex}")
    proved = [name for _, names in grouped(own) for name in names if formulas[name].steps]
    if proved:
        parts += [
            r"\appendix",
            r"\addtocontents{toc}{\protect\setcounter{tocdepth}{1}}",
            r"\section{Derivations}\label{sec:derivations}",
            r"Each step is a statement, the rule behind it and how it was checked when the formula was built: \emph{proved} by "
            r"computer algebra, or \emph{certified} by comparing both sides at random points of the domain to the stated number "
            r"of digits. A step whose sides reduce to the same expression by themselves prints it once.",
            *(_proof(name) for name in proved),
        ]
    if keys:
        parts.append(bibliography(keys).rstrip())
    return "\n\n".join([*(part for part in parts if part), r"\end{document}", ""])


def _abstract(formulas: Mapping[str, Formula], result: Result | None) -> str:
    checks = [step.check.status for formula in formulas.values() for step in formula.steps]
    proved = checks.count(PROVED)
    text = (
        f"This article lists {_counted(len(formulas), 'formula')}, each with its domain, validity and provenance. "
        f"Their derivations consist of {_counted(len(checks), 'step')}, of which {proved} are proved by computer algebra and "
        f"{len(checks) - proved} are certified numerically to high precision."
    )
    if result is not None:
        name = escape(result.results["experiment"]["name"])
        text += rf" They are compared with samples of trained networks in the experiment \texttt{{{name}}}."
    return f"\\begin{{abstract}}\n{text}\n\\end{{abstract}}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _entry(name: str, formulas: Mapping[str, Formula]) -> str:
    """Return the subsection of one formula: its fragment, and where in this article its derivation and origins are."""
    formula = formulas[name]
    pointers = []
    if formula.steps:
        pointers.append(rf"Derivation: Appendix~\ref{{der:{name}}}.")
    origins = [rf"\eqref{{eq:{source}}}" for source in formula.derived_from if source in formulas]
    if origins:
        pointers.append(f"It rests on {'Eq.' if len(origins) == 1 else 'Eqs.'}~{', '.join(origins)}.")
    body = [rf"{{\raggedright\input{{formulas/{name}.tex}}", *pointers, r"\par}"]
    return "\n".join([_heading(name), *body])


def _proof(name: str) -> str:
    return "\n".join(
        [
            rf"\subsection{{\texttt{{{escape(name)}}}}}\label{{der:{name}}}",
            rf"\noindent Derivation of Eq.~\eqref{{eq:{name}}}.",
            rf"\input{{formulas/{name}-derivation.tex}}",
        ]
    )


def _heading(name: str) -> str:
    return rf"\subsection{{\texttt{{{escape(name)}}}}}\label{{sec:{name}}}"


def _conventions(formulas: Mapping[str, Formula], symbols: Mapping[str, str]) -> str:
    statements = dict(Convention().items())
    statements.pop("width_scaling")  # that of a single formula, said beside it
    return "\n".join(
        [
            report.conventions({"": statements}),
            "",
            r"\medskip",
            r"\noindent Table~\ref{tab:symbols} lists the arguments of the formulas: as printed, as they are called in code, and",
            r"the range that is assumed. A symbol may mean different things in different sections; the domain of a formula",
            r"says which.",
            r"\begin{table}[!ht]\centering\small",
            symbol_table(formulas, symbols) + r"\caption{Symbols.}\label{tab:symbols}",
            r"\end{table}",
            "",
        ]
    )


def _verdicts(result: Result) -> str:
    """Return the sections of the run as subsections of one."""
    name = escape(result.results["experiment"]["name"])
    parts = report.run_sections(result.results, result.figures)
    parts["verdicts"] = parts["verdicts"].removeprefix("\\clearpage\n")
    below = [
        parts[part].replace(r"\section{", r"\subsection{") for part in ("summary", "verdicts", "literature", "figures")
    ]
    return "\n".join([rf"\section{{Predictions against samples: \texttt{{{name}}}}}", *below])
