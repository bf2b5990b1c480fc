"""How is an expectation without a closed form integrated? Source code for integrals over whitened variables.

Analytic integrands: the trapezoidal rule, which converges exponentially under a Gaussian.  Integrands with kinks at known
places: the double-exponential rule between the kinks.  Both halve their step until two results agree, and return the
difference as the error estimate.
"""

from typing import Any

from fieldflow import codegen

_HALVING = '''
def _integrate(tolerance, {names}):
    """Halve the step until two sums agree to the tolerance; their difference is the error estimate."""
    h = 0.5
    before, size = _total(h, {names})
    error = size
    for _ in range({halvings}):
        h *= 0.5
        now, size = _total(h, {names})
        error = abs(now - before)
        before = now
        if error <= tolerance * size:
            break
    return before, error
'''

_OUTER = """
def integrate({names}, tolerance, result, error):
    result[0], error[0] = _integrate(tolerance, {names})
"""

_TRAPEZOID = '''
def _total(h, {names}):
    """Return the trapezoidal sum at step h, and that of the absolute values."""
    n = int(9.5 / h)
    total, size = 0.0, 0.0
    for i in range(-n, n + 1):
{inner}
    return total * {cell}, size * {cell}
'''

_ONE_VARIABLE = """        value = _integrand({names}, i * h)
        total += value
        size += abs(value)"""

_TWO_VARIABLES = """        for j in range(-n, n + 1):
            value = _integrand({names}, i * h, j * h)
            total += value
            size += abs(value)"""

_PANELS = '''
def _nodes(h):
    """Return places in (-1, 1) and weights of the double-exponential rule."""
    n = int(3.4 / h)
    places, weights = np.empty(2 * n + 1), np.empty(2 * n + 1)
    for i in range(-n, n + 1):
        s = 1.5707963267948966 * math.sinh(i * h)
        places[i + n] = math.tanh(s)
        weights[i + n] = h * 1.5707963267948966 * math.cosh(i * h) / math.cosh(s) ** 2
    return places, weights


def _edges(breaks):
    """Return -R, the breaks inside, R."""
    inside = np.sort(breaks)
    edges = np.empty(inside.size + 2)
    edges[0], edges[-1] = -9.5, 9.5
    for i in range(inside.size):
        edges[i + 1] = min(9.5, max(-9.5, inside[i]))
    return edges


def _total(h, {names}):
    """Return the sum over the panels between kinks, and that of the absolute values."""
    places, weights = _nodes(h)
    total, size = 0.0, 0.0
    outer = _edges(np.array([{first}]))
    for p in range(outer.size - 1):
        middle, half = 0.5 * (outer[p + 1] + outer[p]), 0.5 * (outer[p + 1] - outer[p])
        if half == 0.0:
            continue
        for i in range(places.size):
            x = middle + half * places[i]
{inner}
    return total, size
'''

_ONE_PANEL = """            value = half * weights[i] * _integrand({names}, x)
            total += value
            size += abs(value)"""

_TWO_PANELS = """            inner = _edges(np.array([{second}]))
            for r in range(inner.size - 1):
                centre, width = 0.5 * (inner[r + 1] + inner[r]), 0.5 * (inner[r + 1] - inner[r])
                if width == 0.0:
                    continue
                for j in range(places.size):
                    y = centre + width * places[j]
                    value = half * width * weights[i] * weights[j] * _integrand({names}, x, y)
                    total += value
                    size += abs(value)"""

_HALVINGS = {(1, False): 12, (2, False): 7, (1, True): 9, (2, True): 5}
"""By number of variables and kinks or not: at most some ten million evaluations."""


def rule(names: list[str], variables: int, breaks: tuple[tuple[Any, ...], ...]) -> str:
    """Return the source of ``integrate`` over ``variables`` whitened variables of ``_integrand``.

    Parameters
    ----------
    names : list of str
        Arguments of the integrand before the variables.
    variables : int
        1 (x) or 2 (x, y).
    breaks : tuple of tuples of expressions
        Where the integrand has kinks in x, and in y given x; empty tuples if nowhere.
    """
    called = ", ".join(names)
    kinked = any(breaks)
    if kinked:
        printed = [", ".join(codegen.printed(place) for place in places) for places in breaks]
        inner = (_ONE_PANEL if variables == 1 else _TWO_PANELS).format(names=called, second=printed[-1] or "0.0")
        total = _PANELS.format(names=called, first=printed[0] or "0.0", inner=inner)
    else:
        inner = (_ONE_VARIABLE if variables == 1 else _TWO_VARIABLES).format(names=called)
        total = _TRAPEZOID.format(names=called, inner=inner, cell="h" if variables == 1 else "h * h")
    halving = _HALVING.format(names=called, halvings=_HALVINGS[variables, kinked])
    return total + halving + _OUTER.format(names=called)
