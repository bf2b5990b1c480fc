r"""How is one formula written down for a paper? As fragments that any article with amsmath can \input."""

from collections.abc import Mapping

import sympy as sp

from fieldflow.latex import escape, table
from fieldflow.symbol_table import chosen
from fieldflow.symbolic.formula import Formula
from fieldflow.symbolic.printing import latex
from fieldflow.symbolic.prose import prose


def statement(name: str, formula: Formula, symbols: Mapping[str, str]) -> str:
    r"""Return domain and validity, the equation with the label eq:NAME, and where it comes from.

    Parameters
    ----------
    name : str
        Catalogue name.
    formula : Formula
    symbols : mapping
        Calling name to LaTeX; names that the formula does not know are passed over.

    >>> from fieldflow.formulas import derive
    >>> print(statement("nngp.recursion", derive("nngp.recursion"), {"sigma_w": r"\sigma_W"}).splitlines()[3])
      q^{(\ell+1)} = \mathrm{E}[\sigma\sigma] a_{\ell} \sigma_W^{2} + \sigma_{b}^{2} \label{eq:nngp.recursion}
    """
    names = chosen(symbols, formula)
    facts = [f"Validity: {prose(formula.validity)}."]
    if formula.domain:
        facts.insert(0, f"Domain: {prose(formula.domain, names).rstrip('.')}.")
    if formula.convention.width_scaling != "any":
        facts.append(rf"Width scaling: \texttt{{{escape(formula.convention.width_scaling)}}}.")
    if formula.closed_form is False:
        facts.append("No closed form is known; the integral is evaluated by quadrature.")
    return "\n".join(
        [
            f"% {name}: needs amsmath; BibTeX of what it cites: fieldflow cite {name}",
            rf"\noindent {' '.join(facts)}",
            formula.latex("align", symbols=names, label=f"eq:{name}"),
            rf"\noindent {_provenance(formula)}",
            "",
        ]
    )


def derivation(name: str, formula: Formula, symbols: Mapping[str, str]) -> str:
    """Return the whole chain of steps: each statement, its rule, and how it was checked."""
    return f"% derivation of {name}: needs amsmath\n{formula.derivation_latex(symbols=chosen(symbols, formula))}\n"


def _provenance(formula: Formula) -> str:
    parts = []
    if formula.references:
        places = [rf"\cite[{_locator(entry.locator)}]{{{entry.key}}}" for entry in formula.references]
        parts.append("Source: " + ", ".join(places) + ".")
    if formula.derived_from:
        parts.append("Derived from " + _listed([_origin(source) for source in formula.derived_from]) + ".")
    return " ".join(parts)


def _locator(text: str) -> str:
    """Return a locator that does not break after its first word, in braces because it may hold brackets."""
    return f"{{{escape(text).replace(' ', '~', 1).replace(')-(', ')--(')}}}"


def _origin(source: str) -> str:
    dotted = "." in source and " " not in source
    return rf"\texttt{{{escape(source)}}}" if dotted else prose(source)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def symbol_table(formulas: Mapping[str, Formula], symbols: Mapping[str, str]) -> str:
    """Return a table of the arguments of all formulas: as printed, as called, and the range that is assumed."""
    found: dict[str, tuple[str, str]] = {}
    for formula in formulas.values():
        for argument in formula.args:
            name = str(argument)
            shown = f"${latex(argument, chosen(symbols, formula))}$"
            found.setdefault(name, (shown, _range(argument)))
    cells = [[shown, rf"\texttt{{{escape(name)}}}", kind]
             for name, (shown, kind) in sorted(found.items(), key=lambda entry: (entry[0].lower(), entry[0]))]  # fmt: skip
    half = -(-len(cells) // 2)
    rows = [[*left, *right] for left, right in zip(cells[:half], [*cells[half:], ["", "", ""]], strict=False)]
    header = ["symbol", "in code", "range"]
    return table(r"lll@{\qquad}lll", [*header, *header], rows)


def _range(argument: sp.Symbol) -> str:
    if isinstance(argument, sp.MatrixSymbol):
        return rf"${latex(argument.shape[0])} \times {latex(argument.shape[1])}$"
    whole = ", whole" if argument.is_integer else ""
    if argument.is_positive:
        return f"$> 0${whole}"
    if argument.is_nonnegative:
        return rf"$\geq 0${whole}"
    return f"real{whole}"
