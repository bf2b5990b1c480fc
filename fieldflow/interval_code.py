"""How is an integral over an interval computed? Source code for the double-exponential rule between kinks and square roots.

The step is halved until two results agree; their difference is the error estimate.  Square-root ends of the panels cost
nothing: the rule's nodes crowd there.  Local names begin with _, so that no argument is hidden by them.
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


def _ends({names}):
    """Return the ends of the panels in increasing order."""
    _low, _high = {low}, {high}
    _at = np.array([_low, _high{breaks}])
    for _i in range(_at.size):
        _at[_i] = min(_high, max(_low, _at[_i]))
    return np.sort(_at)


def _summed(_h, _at, {names}):
    """Return the sum over the panels, and that of the absolute values."""
    _places, _weights = _nodes(_h)
    _total, _size = 0.0, 0.0
    for _j in range(_at.size - 1):
        _middle, _half = 0.5 * (_at[_j + 1] + _at[_j]), 0.5 * (_at[_j + 1] - _at[_j])
        if _half <= 0.0:
            continue
        for _i in range(_places.size):
            _value = _half * _weights[_i] * _integrand({names}, _middle + _half * _places[_i])
            _total += _value
            _size += abs(_value)
    return _total, _size


def integrate({names}, _tolerance, _result, _error):
    _at = _ends({names})
    _h = 0.25
    _before, _size = _summed(_h, _at, {names})
    _gap = _size
    for _ in range(10):
        _h *= 0.5
        _now, _size = _summed(_h, _at, {names})
        _gap = abs(_now - _before)
        _before = _now
        if _gap <= _tolerance * _size:
            break
    _result[0], _error[0] = _before, _gap
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
