"""How are the corrections to the literature written down? Printed equation, why, corrected formula, derivation, a number."""

from collections.abc import Collection

from fieldflow.errata import example
from fieldflow.errata_examples import SAMPLING, Example
from fieldflow.latex import escape, number, table, with_error
from fieldflow.symbolic.errata import DIFFERENCES, GROUPS, Erratum
from fieldflow.symbolic.prose import prose

PREFIX = "erratum."
"""Of the formulas that have their place, with their derivations, in this section."""

_ZERO = 1e-12
"""Numbers below are rounding."""

_INTRODUCTION = r"""Equations are given as printed, then why they do not hold as they stand, the corrected
equation with its derivation, and, at the end of each part, the smallest numerical example: the
value that the printed equation gives, the corrected one, and the true one, which was found
without either."""


def section(names: Collection[str]) -> str:
    """Return the section on the records whose formula is among ``names``; nothing if there is none.

    >>> section(["nngp.recursion"])
    ''
    >>> section(["erratum.talk20"]).splitlines()[0]
    '\\\\section{Corrections to the literature}\\\\label{sec:corrections}'
    """
    groups = [(title, [entry for entry in entries if entry.formula in names]) for title, entries in GROUPS]
    chosen = [(title, entries) for title, entries in groups if entries]
    if not chosen:
        return ""
    parts = [r"\section{Corrections to the literature}\label{sec:corrections}", _INTRODUCTION]
    shown: set[str] = set()
    for position, (title, entries) in enumerate(chosen, start=1):
        parts.append(rf"\subsection{{{title}}}")
        for entry in entries:
            parts.append(_record(entry, first=entry.formula not in shown))
            shown.add(entry.formula)
        parts.append(_examples(title, entries, position))
    parts.append(_differences())
    return "\n\n".join([*parts, ""])


def _record(entry: Erratum, *, first: bool) -> str:
    """Return one correction; its formula is printed here unless it stands elsewhere already."""
    locator = entry.source.locator.replace(" ", "~", 1)
    place = rf"\cite[{{{escape(locator).replace(chr(92) + 'textasciitilde{}', '~')}}}]{{{entry.source.key}}}"
    lines = [
        rf"\paragraph{{{escape(entry.title[0].upper() + entry.title[1:])}.}}\label{{err:{entry.name}}}",
        rf"Printed in {place}:",
        rf"\begin{{gather*}} {entry.printed} \end{{gather*}}",
        prose(entry.why),
    ]
    if entry.formula.startswith(PREFIX) and first:
        lines += [
            r"\par\medskip\noindent\emph{Corrected.}",
            rf"{{\raggedright\input{{formulas/{entry.formula}.tex}}\par}}",
            r"\noindent\emph{Derivation.}\nopagebreak",
            rf"\input{{formulas/{entry.formula}-derivation.tex}}",
        ]
    elif entry.formula.startswith(PREFIX):
        lines.append(rf"The corrected equation is Eq.~\eqref{{eq:{entry.formula}}}.")
    else:
        lines.append(
            rf"The corrected equation is Eq.~\eqref{{eq:{entry.formula}}}, derived in Appendix~\ref{{der:{entry.formula}}}."
        )
    return "\n".join(lines)


def _examples(title: str, entries: list[Erratum], position: int) -> str:
    rows = []
    for entry in entries:
        found = example(entry.name)
        rows.append(
            [escape(_place(entry)), rf"\raggedright {found.quantity}", _value(found.printed),
             _value(found.corrected), _truth(found), found.how]
        )  # fmt: skip
    body = table(
        r"p{0.1\textwidth}p{0.32\textwidth}rrrl", ["where", "number", "printed", "corrected", "true", "found by"], rows
    ).rstrip()
    return "\n".join(
        [
            r"\begin{table}[!ht]\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            body,
            rf"\caption{{{title}: what each correction changes in the smallest example.}}\label{{tab:corrections-{position}}}",
            r"\end{table}",
        ]
    )


def _place(entry: Erratum) -> str:
    """Return where an equation stands, short enough for a table; T. is the talk."""
    where = entry.source.locator
    for words in ("below ", "Eqs. ", "Eq. "):
        where = where.removeprefix(words)
    short = {"halverson2021neural": "slides", "jefferson2019deep": "note"}
    talk = entry.source.key == "berman2025aspects" and where.startswith("(")
    return f"T.{where}" if talk else short.get(entry.source.key, where)


def _value(value: float) -> str:
    return number(0.0 if abs(value) < _ZERO else value, 5)


def _truth(found: Example) -> str:
    return (
        with_error(found.truth, found.error) if found.how == SAMPLING and found.error > _ZERO else _value(found.truth)
    )


def _differences() -> str:
    rows = [[prose(entry.what), prose(entry.text), prose(entry.code)] for entry in DIFFERENCES]
    width = r"p{0.26\textwidth}p{0.28\textwidth}p{0.36\textwidth}"
    return "\n".join(
        [
            r"\subsection{Differences of settings}",
            r"These are not errors of derivation but places where the text of \cite{howard2024bayesian}, its table and its code",
            r"(or two places of one work) differ.",
            r"\begin{table}[!ht]\centering\small",
            table(width, ["what", "text", "code or elsewhere"], rows).rstrip(),
            r"\caption{Differences of settings.}\label{tab:differences}",
            r"\end{table}",
        ]
    )
