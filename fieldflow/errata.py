"""Is a correction visible in a number? The smallest example of every record of ``fieldflow.symbolic.errata``, by its name."""

from collections.abc import Callable
from functools import cache

from fieldflow import errata_actions, errata_bayes, errata_cosnet, errata_flow
from fieldflow.errata_examples import Example
from fieldflow.errors import BadInput
from fieldflow.symbolic.errata import ERRATA

EXAMPLES: dict[str, Callable[[], Example]] = {
    **errata_actions.EXAMPLES,
    **errata_flow.EXAMPLES,
    **errata_cosnet.EXAMPLES,
    **errata_bayes.EXAMPLES,
}


@cache
def example(name: str) -> Example:
    """Return printed, corrected and true value of the record called ``name``.

    Parameters
    ----------
    name : str
        As in ``fieldflow.symbolic.errata.ERRATA``.

    Raises
    ------
    BadInput
        For an unknown name.

    >>> found = example("eq90")
    >>> round(found.printed, 4), found.corrected, round(found.truth, 10)
    (2.5198, 2.0, 2.0)
    """
    if name not in EXAMPLES:
        raise BadInput(f"erratum: expected one of {', '.join(entry.name for entry in ERRATA)}, got {name!r}")
    return EXAMPLES[name]()
