"""What does a diagram stand for? A contraction of amputated cumulants with two-point functions, symmetric in its legs."""

from math import factorial, prod
from string import ascii_lowercase
from typing import Any

import sympy as sp

from fieldflow.symbolic.multigraph import Multigraph

G2 = sp.Symbol("G2", positive=True)


def cumulant(n: int) -> sp.Symbol:
    """Return the symbol of G_c^{(n)}, as it is called in code.

    >>> cumulant(4)
    G4
    """
    return G2 if n == 2 else sp.Symbol(f"G{n}", real=True)


class Contraction(sp.Expr):
    """Vertices Ĝ^{(n)} = Δ^n G_c^{(n)}, joined by G^{(2)}, averaged over the distinct permutations of the external legs.

    A number at one mesh point, where ``doit`` writes it as powers of the G_n.
    """

    is_commutative = True

    def __new__(cls, graph: sp.Tuple, *tensors: sp.Symbol) -> "Contraction":
        found: Contraction = super().__new__(cls, sp.sympify(graph), *tensors)
        return found

    @classmethod
    def of(cls, graph: Multigraph) -> "Contraction":
        """Return the contraction that a diagram stands for."""
        used = sorted({2, *graph.degrees})
        return cls(sp.sympify((graph.degrees, graph.legs, graph.lines)), *map(cumulant, used))

    @property
    def graph(self) -> Multigraph:
        """The diagram."""
        degrees, legs, lines = self.args[0]
        whole = [tuple(int(entry) for entry in part) for part in (degrees, legs)]
        return Multigraph(whole[0], whole[1], tuple(tuple(int(entry) for entry in row) for row in lines))

    @property
    def permutations(self) -> int:
        """Number of ways to give the external points to the vertices."""
        return factorial(self.graph.external) // prod(map(factorial, self.graph.legs))

    @property
    def tensors(self) -> dict[int, Any]:
        """The n of each G_c^{(n)} in it, 2 included, with the symbol (or the number put for it)."""
        return dict(zip(sorted({2, *self.graph.degrees}), self.args[1:], strict=True))

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the value at one mesh point: ∏ G_n/G_2^n · G_2 per line."""
        tensors = self.tensors
        own = tensors[2]
        return sp.Mul(*(tensors[n] / own**n for n in self.graph.degrees), own ** len(self.graph.edges))

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        graph = self.graph
        labels = [[str(i + 1)] for i in range(graph.external)]
        outer = iter(label for part in labels for label in part)
        indices = [[next(outer) for _ in range(count)] for count in graph.legs]
        propagators, letter = [], iter(_letters())
        for u, v in graph.edges:
            first, second = next(letter), next(letter)
            indices[u].append(first)
            indices[v].append(second)
            propagators.append(f"G^{{(2)}}_{{{first}{second}}}")
        separator = "" if graph.external < 10 else ","
        vertices = [
            rf"\hat{{G}}^{{({n})}}_{{{separator.join(own)}}}" for n, own in zip(graph.degrees, indices, strict=True)
        ]
        text = " ".join([*vertices, *propagators])
        if self.permutations > 1:
            text = rf"\operatorname{{Sym}}\left[{text}\right]"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


def _letters() -> list[str]:
    """Return names of summed indices: a, b, …, z without letters that look like digits, then with primes."""
    plain = [letter for letter in ascii_lowercase if letter not in "lo"]
    return [letter + "'" * primes for primes in range(4) for letter in plain]
