"""How is a formula shown to a reader? As plain text, as LaTeX, and as the literature that it rests on."""

from collections.abc import Iterable, Iterator, Mapping

from fieldflow.formulas import catalog, derive
from fieldflow.symbol_table import check_symbols, chosen
from fieldflow.symbolic.formula import Formula
from fieldflow.symbolic.reference import bibtex

_UNTRAINED = ("action", "cumulants", "edgeworth", "nnqft")
"""Families of formulas on correlators as they are: they know of no loss, no learning rate and no Fisher information."""

_OF_TRAINING = ("loss", "learning_rate", "fisher", "partition")


def as_text(formula: Formula, *, steps: bool = False) -> str:
    """Return the formula with its validity, domain, convention and provenance, one item per line.

    Parameters
    ----------
    formula : Formula
    steps : bool
        Add the derivation, with how each step was checked.

    >>> print(as_text(derive("fisher.readout")).splitlines()[2])
      validity:     exact at any width, given the hidden layer
    """
    lines = [formula.name, f"  {formula.lhs} = {formula.expr}", f"  validity:     {formula.validity}"]
    lines.append(f"  domain:       {formula.domain}")
    lines += [f"  derived from: {source}" for source in formula.derived_from]
    lines += [f"  reference:    {entry.key}, {entry.locator}" for entry in formula.references]
    untrained = formula.name.split(".")[0] in _UNTRAINED
    lines += [
        f"  convention:   {name}: {statement}"
        for name, statement in formula.convention.items()
        if not (untrained and name in _OF_TRAINING)
    ]
    if steps:
        lines.append("  steps:")
        for number, step in enumerate(formula.steps, start=1):
            lines.append(f"  {number:>3}. {step.left} = {step.right}")
            lines.append(f"       by {step.rule} [{step.check}]")
    return "\n".join(lines)


def as_latex(formula: Formula, *, steps: bool = False, symbols: Mapping[str, str] | None = None) -> str:
    """Return LaTeX that needs amsmath only: the derivation as an appendix prints it if ``steps``, then the formula.

    ``symbols`` is calling name to LaTeX; every name must belong to this formula or to another of the catalogue.

    >>> print(as_latex(derive("fisher.readout")).splitlines()[0])
    \\begin{gather}
    """
    given = symbols or {}
    # One file serves all formulas; the others are derived only when a name is not known here.
    strange = set(given) - formula.symbol_names
    check_symbols(given, map(derive, catalog()) if strange else [formula])
    known = chosen(given, formula)
    chain = [formula.derivation_latex(symbols=known)] if steps and formula.steps else []
    return "\n".join([*chain, formula.latex("align", symbols=known)])


def citations(names: Iterable[str]) -> str:
    """Return BibTeX for what the named formulas rest on, led by one comment line per place that was used.

    Raises
    ------
    BadInput
        For an unknown name.

    >>> citations(["nngp.input"]).splitlines()[0]
    '% nngp.input: howard2024bayesian, Eq. (61), with its missing 1/fan_in'
    """
    formulas = list(_foundations(names))
    places = [f"% {formula.name}: {entry.key}, {entry.locator}" for formula in formulas for entry in formula.references]
    keys = [entry.key for formula in formulas for entry in formula.references]
    return "\n".join([*places, "", bibtex(keys)])


def _foundations(names: Iterable[str]) -> Iterator[Formula]:
    """Yield the named formulas and those they are derived from, each once; principles have no entry."""
    known = set(catalog())
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        formula = derive(name)
        waiting += [source for source in formula.derived_from if source in known]
        yield formula
