"""How is an integral over an interval computed? Source code for the double-exponential rule between kinks and square roots.

The step is halved until two results agree; their difference is the error estimate.  Square-root ends of the panels cost
nothing: the rule's nodes crowd there.
"""

from typing import Any

from fieldflow import codegen

_SOURCE = '''
def _nodes(h):
    """Return places in (-1, 1) and weights of the double-exponential rule."""
    n = int(3.4 / h)
    places, weights = np.empty(2 * n + 1), np.empty(2 * n + 1)
    for i in range(-n, n + 1):
        s = 1.5707963267948966 * math.sinh(i * h)
        places[i + n] = math.tanh(s)
        weights[i + n] = h * 1.5707963267948966 * math.cosh(i * h) / math.cosh(s) ** 2
    return places, weights


def _edges({names}):
    """Return the ends of the panels in increasing order."""
    low, high = {low}, {high}
    edges = np.array([low, high{breaks}])
    for i in range(edges.size):
        edges[i] = min(high, max(low, edges[i]))
    return np.sort(edges)


def _total(h, edges, {names}):
    """Return the sum over the panels, and that of the absolute values."""
    places, weights = _nodes(h)
    total, size = 0.0, 0.0
    for p in range(edges.size - 1):
        middle, half = 0.5 * (edges[p + 1] + edges[p]), 0.5 * (edges[p + 1] - edges[p])
        if half <= 0.0:
            continue
        for i in range(places.size):
            value = half * weights[i] * _integrand({names}, middle + half * places[i])
            total += value
            size += abs(value)
    return total, size


def integrate({names}, tolerance, result, error):
    edges = _edges({names})
    h = 0.25
    before, size = _total(h, edges, {names})
    gap = size
    for _ in range(10):
        h *= 0.5
        now, size = _total(h, edges, {names})
        gap = abs(now - before)
        before = now
        if gap <= tolerance * size:
            break
    result[0], error[0] = before, gap
'''


def rule(names: list[str], low: Any, high: Any, breaks: tuple[tuple[Any, ...], ...]) -> str:
    """Return the source of ``integrate`` of ``_integrand`` over (low, high).

    Parameters
    ----------
    names : list of str
        Arguments of the integrand before the variable.
    low, high : SymPy expressions of the arguments
    breaks : tuple of tuples of expressions
        Where the integrand has kinks, as functions of the arguments; places outside the interval do not matter.
    """
    places = [place for group in breaks for place in group]
    return _SOURCE.format(
        names=", ".join(names),
        low=codegen.printed(low),
        high=codegen.printed(high),
        breaks="".join(f", {codegen.printed(place)}" for place in places),
    )
