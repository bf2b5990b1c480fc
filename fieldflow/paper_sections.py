"""How is the catalogue ordered in a paper? By the part of a name before the dot, with a few words on each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A heading, what is said below it (LaTeX), and the prefixes of the formulas it holds."""

    title: str
    introduction: str
    prefixes: tuple[str, ...]


SECTIONS = (
    Section(
        "Gaussian expectations",
        r"Everything at infinite width rests on averages over jointly Gaussian pre-activations $u, v$ with variances "
        r"$q_{11}, q_{22}$ and covariance $c$. Stein's lemma removes powers, Price's theorem turns a derivative with respect "
        r"to $c$ into derivatives of the activations, and exponentials tilt the Gaussian.",
        ("lemma", "expectation", "second_moment"),
    ),
    Section(
        "Kernels",
        r"A layer of independent neurons maps covariances to covariances. The first recursion is that of the network's prior, "
        r"the second that of the tangent kernel which drives training.",
        ("nngp", "ntk"),
    ),
    Section(
        "Mean field",
        r"Fixed points of the kernel recursion, and how fast they are approached, separate an ordered phase from a chaotic one.",
        ("meanfield",),
    ),
    Section(
        "Training flow",
        r"Gradient training of a model that is linear in its trained parameters is one matrix function of the Gram matrix; the "
        r"methods differ in this function alone.",
        ("training",),
    ),
    Section(
        "Fisher information",
        r"The Fisher diagonal says how well the likelihood knows a parameter, and so which parameters a cut-off removes first.",
        ("fisher",),
    ),
    Section(
        "Information-shell flow",
        r"Weights whose Fisher information lies below the cut-off $\Lambda$ are redrawn from the prior or set to zero. Mean, "
        r"covariance and loss of the trained ensemble then flow with $\Lambda$.",
        ("shell",),
    ),
    Section("Equations of the paper", r"The published equations, in their own notation, as special cases.", ("paper",)),
    Section(
        "Cosine networks",
        r"One hidden layer of cosines is a field theory whose spectrum is chosen by hand; its cut-offs are momenta.",
        ("cosnet",),
    ),
    Section(
        "Pruning",
        r"Whatever the rule by which read-out weights are removed, at infinite width one number says what is left.",
        ("pruning",),
    ),
    Section(
        "Renormalisation as a linear flow",
        r"Removing information is a linear map of the function values: a projector acts on mean and covariance, and integrates "
        r"a flow equation of Polchinski's form.",
        ("brg", "polchinski"),
    ),
    Section(
        "Finite width",
        r"To first order in $1/N$ every deviation from infinite width is an average over one neuron.",
        ("finite_width",),
    ),
    Section(
        "Actions and couplings",
        r"The cumulants of a network at finite width are the connected correlators of a field theory; its couplings follow "
        r"order by order in $1/N$.",
        ("action", "cumulants", "nnqft"),
    ),
)


def grouped(names: Iterable[str], sections: Iterable[Section] = SECTIONS) -> list[tuple[Section, list[str]]]:
    """Return the names by section, sections in their order; a prefix that none claims becomes a section of its own.

    >>> [(section.title, names) for section, names in grouped(["nngp.input", "wick.pair", "ntk.recursion"])]
    [('Kernels', ['nngp.input', 'ntk.recursion']), ('Wick', ['wick.pair'])]
    """
    remaining: Mapping[str, list[str]] = _by_prefix(names)
    known = [section for section in sections if any(prefix in remaining for prefix in section.prefixes)]
    claimed = {prefix for section in known for prefix in section.prefixes}
    others = [Section(_title(prefix), "", (prefix,)) for prefix in sorted(set(remaining) - claimed)]
    return [
        (section, [name for prefix in section.prefixes for name in remaining.get(prefix, [])])
        for section in [*known, *others]
    ]


def _by_prefix(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        found.setdefault(name.split(".")[0], []).append(name)
    return found


def _title(prefix: str) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in prefix).split()
    return " ".join(words).capitalize() or "Formulas"
