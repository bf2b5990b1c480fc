"""How do numbers, tables and citations become LaTeX? Floats with errors, booktabs, thebibliography; no physics here."""

import math
import re
from collections.abc import Iterable, Sequence

from fieldflow.symbolic.prose import escape
from fieldflow.symbolic.reference import bibtex

__all__ = ["bibliography", "cited", "escape", "number", "table", "with_error"]


def number(value: float | None, digits: int = 4) -> str:
    r"""Return a number in math mode with ``digits`` significant digits; None as a dash.

    >>> number(1.25e-7), number(None), number(12.0)
    ('$1.25\\times 10^{-7}$', '--', '$12$')
    """
    if value is None:
        return "--"
    if value == 0 or not math.isfinite(value):
        return "$0$" if value == 0 else escape(repr(value))
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = int(exponent)
    if -3 <= power < 6:
        places = 0 if value == round(value) else max(digits - 1 - power, 0)
        return f"${value:.{places}f}$"
    mantissa = mantissa.rstrip("0").rstrip(".")
    return rf"${mantissa}\times 10^{{{power}}}$"


def with_error(value: float, error: float) -> str:
    r"""Return value ± error with two digits of the error.

    >>> with_error(1.23456, 0.0123)
    '$1.235 \\pm 0.012$'
    """
    if error <= 0.0 or not math.isfinite(error):
        return number(value)
    places = max(0, 1 - math.floor(math.log10(error)))
    if abs(value) >= 1e6 or places > 7:
        power = math.floor(math.log10(max(abs(value), error)))
        scale = 10.0**power
        places = max(0, 1 - math.floor(math.log10(error / scale)))
        return rf"$({value / scale:.{places}f} \pm {error / scale:.{places}f})\times 10^{{{power}}}$"
    return rf"${value:.{places}f} \pm {error:.{places}f}$"


def table(columns: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a booktabs tabular whose cells are LaTeX already."""
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(header) + r" \\", r"\midrule"]
    lines += [" & ".join(cells) + r" \\" for cells in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def cited(texts: Iterable[str]) -> list[str]:
    r"""Return the keys that LaTeX texts cite, sorted.

    >>> cited([r"\cite[Lemma 1]{stein1981estimation}, \cite{b,a}"])
    ['a', 'b', 'stein1981estimation']
    """
    found = [keys for text in texts for keys in re.findall(r"\\cite(?:\[[^\]]*\])?\{([^}]*)\}", text)]
    return sorted({key.strip() for keys in found for key in keys.split(",")})


def bibliography(keys: Sequence[str]) -> str:
    """Return a ``thebibliography`` of the entries of references.bib called ``keys``, in that order.

    >>> print(bibliography(["price1958useful"]).splitlines()[1])
    \\bibitem{price1958useful} Robert Price, \\emph{A Useful Theorem for Nonlinear Devices Having {Gaussian} Inputs},
    """
    items = [f"\\bibitem{{{key}}} {_entry(bibtex([key]))}" for key in keys]
    return "\n".join(
        [rf"\begin{{thebibliography}}{{{'9' * len(str(len(keys)))}}}", *items, r"\end{thebibliography}", ""]
    )


def _entry(text: str) -> str:
    """Return one BibTeX entry as the lines of a bibliography."""
    fields = {name.lower(): value for name, value in re.findall(r"(?m)^\s*(\w+)\s*=\s*\{(.*)\},?\s*$", text)}
    lines = [f"{_authors(fields['author'])}, \\emph{{{fields['title']}}},"]
    where = fields.get("journal") or fields.get("booktitle") or fields.get("publisher") or fields.get("school") or ""
    note = fields.get("note", "")
    if note and note in where:
        note = ""
    volume = rf" \textbf{{{fields['volume']}}}" if "volume" in fields else ""
    pages = f", {fields['pages']}" if "pages" in fields else ""
    place = f"{where}{volume}{pages}".strip()
    lines.append(f"{_linked(place)} ({fields['year']})" if place else f"({fields['year']})")
    return "\n".join([*lines[:-1], lines[-1] + (f",\n{_linked(note)}." if note else ".")])


def _authors(names: str) -> str:
    people = [" ".join(reversed([part.strip() for part in name.split(",", 1)])) for name in names.split(" and ")]
    return people[0] if len(people) == 1 else f"{', '.join(people[:-1])} and {people[-1]}"


def _linked(note: str) -> str:
    return re.sub(r"arXiv:(\S+\d)", r"\\href{https://arxiv.org/abs/\1}{arXiv:\1}", note)
