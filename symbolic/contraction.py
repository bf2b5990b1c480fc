"""What does a diagram stand for? A contraction of amputated cumulants with two-point functions, symmetric in its legs."""

from fractions import Fraction
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

    A number at one mesh point, where ``doit`` writes it as powers of the G_n.  Sums of contractions are printed in powers of
    1/N.  As text, Ĝ4[1 2 a b] G2[a b] is summed over a and b.

    >>> Contraction.of(Multigraph((4, 4), (3, 1), ((0, 1), (1, 1))))
    Sym(Ĝ4[1 2 3 a] Ĝ4[4 b c d] G2[a b] G2[c d])
    """

    is_commutative = True

    def __new__(cls, graph: sp.Tuple, power: sp.Rational, *tensors: sp.Symbol) -> "Contraction":
        found: Contraction = super().__new__(cls, sp.sympify(graph), sp.sympify(power), *tensors)
        return found

    @classmethod
    def of(cls, graph: Multigraph, power: int | Fraction | None = None) -> "Contraction":
        """Return the contraction that a diagram stands for, of order N^{-power}: by default that of independent neurons."""
        used = sorted({2, *graph.degrees})
        order = sum(Fraction(n, 2) - 1 for n in graph.degrees) if power is None else Fraction(power)
        shape = sp.sympify((graph.degrees, graph.legs, graph.lines))
        return cls(shape, sp.Rational(order.numerator, order.denominator), *map(cumulant, used))

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
        return dict(zip(sorted({2, *self.graph.degrees}), self.args[2:], strict=True))

    def sort_key(self, order: Any = None) -> Any:
        """Return what sums are sorted by: powers of 1/N, then few vertices first, as diagrams are listed."""
        graph = self.graph
        last_first = tuple(-legs for legs in graph.legs), tuple(tuple(-count for count in row) for row in graph.lines)
        place = (self.args[1], len(graph.degrees), graph.degrees, *last_first)
        return self.class_key(), (1, (place,)), sp.S.One.sort_key(), sp.S.One

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the value at one mesh point: ∏ G_n/G_2^n · G_2 per line."""
        tensors = self.tensors
        own = tensors[2]
        return sp.Mul(*(tensors[n] / own**n for n in self.graph.degrees), own ** len(self.graph.edges))

    def _eval_derivative(self, symbol: Any) -> sp.Expr:
        return sp.diff(self.doit(), symbol)

    def _indexed(self) -> tuple[list[list[str]], list[list[str]]]:
        """Return the indices of each vertex, and the pair of each line: numbers for legs, letters that are summed over."""
        graph = self.graph
        outer = iter(range(1, graph.external + 1))
        vertices = [[str(next(outer)) for _ in range(count)] for count in graph.legs]
        lines, letter = [], iter(_letters())
        for u, v in graph.edges:
            pair = [next(letter), next(letter)]
            vertices[u].append(pair[0])
            vertices[v].append(pair[1])
            lines.append(pair)
        return vertices, lines

    def _sympystr(self, printer: Any) -> str:
        vertices, lines = self._indexed()
        parts = [f"Ĝ{n}[{' '.join(own)}]" for n, own in zip(self.graph.degrees, vertices, strict=True)]
        text = " ".join([*parts, *(f"G2[{' '.join(pair)}]" for pair in lines)])
        return f"Sym({text})" if self.permutations > 1 else text

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        vertices, lines = self._indexed()
        separator = "" if self.graph.external < 10 else ","
        parts = [
            rf"\hat{{G}}^{{({n})}}_{{{separator.join(own)}}}"
            for n, own in zip(self.graph.degrees, vertices, strict=True)
        ]
        text = " ".join([*parts, *(f"G^{{(2)}}_{{{''.join(pair)}}}" for pair in lines)])
        if self.permutations > 1:
            text = rf"\operatorname{{Sym}}\left[{text}\right]"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


def _letters() -> list[str]:
    """Return names of summed indices: a, b, …, z without letters that look like digits, then with primes."""
    plain = [letter for letter in ascii_lowercase if letter not in "lo"]
    return [letter + "'" * primes for primes in range(4) for letter in plain]
