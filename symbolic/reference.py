"""Where was it said? A citation is data: a key of references.bib and a locator inside that work."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fieldflow.symbolic.errors import BadInput


@cache
def _entries() -> dict[str, str]:
    text = Path(__file__).with_name("references.bib").read_text(encoding="utf-8")
    found = re.findall(r"(?ms)^@\w+\{([^,\s]+),.*?^\}$", text)
    blocks = re.findall(r"(?ms)^@\w+\{.*?^\}$", text)
    return dict(zip(found, blocks, strict=True))


@dataclass(frozen=True)
class Reference:
    """A place in the literature.

    Parameters
    ----------
    key : str
        Key of an entry of references.bib.
    locator : str
        Equation, section or figure.

    >>> Reference("howard2024bayesian", "Eq. (64)").locator
    'Eq. (64)'
    """

    key: str
    locator: str

    def __post_init__(self) -> None:
        if self.key not in _entries():
            raise BadInput(f"reference: unknown key {self.key!r}; known: {', '.join(sorted(_entries()))}")
        if not self.locator:
            raise BadInput("locator: expected an equation, section or figure, got nothing")


def bibtex(keys: Iterable[str]) -> str:
    """Return the BibTeX entries of ``keys`` in alphabetical order.

    >>> bibtex(["price1958useful"]).startswith("@article{price1958useful,")
    True
    """
    chosen = sorted(set(keys))
    unknown = [key for key in chosen if key not in _entries()]
    if unknown:
        raise BadInput(f"reference: unknown key {unknown[0]!r}; known: {', '.join(sorted(_entries()))}")
    return "\n\n".join(_entries()[key] for key in chosen) + "\n"
