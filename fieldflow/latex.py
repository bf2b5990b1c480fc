"""How does a number or a word become LaTeX? Escaping, floats and booktabs tables; nothing here knows any physics."""

import math
from collections.abc import Sequence

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "²": r"\textsuperscript{2}",
    "λ": r"\ensuremath{\lambda}",
    "Λ": r"\ensuremath{\Lambda}",
    "σ": r"\ensuremath{\sigma}",
    "χ": r"\ensuremath{\chi}",
    "∞": r"\ensuremath{\infty}",
    "φ": r"\ensuremath{\phi}",
    "ω": r"\ensuremath{\omega}",
    "∝": r"\ensuremath{\propto}",
    "≥": r"\ensuremath{\geq}",
    "×": r"\ensuremath{\times}",
    "½": r"\ensuremath{\tfrac12}",
    "√": r"\ensuremath{\sqrt{\ }}",
}


def escape(text: str) -> str:
    r"""Return plain text as LaTeX.

    >>> escape("a_b < 1")
    'a\\_b \\ensuremath{<} 1'
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


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
