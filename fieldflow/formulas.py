"""Which formulas does the project know, and how does one get at them? The catalogue, and compiled forms by name."""

import difflib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from threading import RLock
from typing import Any

import sympy as sp

from fieldflow.compile import compile_formula
from fieldflow.errors import BadInput
from fieldflow.symbolic import fisher, gaussian, homogeneous, nngp, shells, training
from fieldflow.symbolic.formula import Formula
from fieldflow.symbolic.gaussian import gaussian_expectation

__all__ = ["catalog", "compiled", "derive", "deriving", "gaussian_expectation", "pair_expectation", "second_moment"]

_BUILDERS: dict[str, Callable[[], Formula]] = {
    name: builder for module in (gaussian, nngp, homogeneous, training, shells, fisher) for name, builder in module.FORMULAS.items()
}


_DERIVING = RLock()
"""Derivations certify their steps at mpmath's working precision, which is one for the whole process."""


def deriving() -> AbstractContextManager[Any]:
    """Return the lock under which anything is derived, as a context."""
    return _DERIVING


def catalog() -> tuple[str, ...]:
    """Return the names of all formulas that ``derive`` knows, sorted.

    >>> "shell.mean" in catalog()
    True
    """
    return tuple(sorted(_BUILDERS))


def derive(name: str) -> Formula:
    """Return the formula called ``name``, derived (once per process) with every step checked.

    Raises
    ------
    BadInput
        For an unknown name; the nearest ones are suggested.

    >>> derive("shell.mean").validity
    'exact at any width, given the hidden layer'
    """
    if name not in _BUILDERS:
        near = difflib.get_close_matches(str(name), _BUILDERS, n=3, cutoff=0.3)
        raise BadInput(f"formula: unknown name {name!r}; nearest: {', '.join(near) or 'none'}; see `fieldflow list`")
    with _DERIVING:
        return _BUILDERS[name]()


@cache
def compiled(name: str) -> Callable[..., Any]:
    """Return the compiled form of a catalogued formula; it broadcasts over arrays."""
    with _DERIVING:
        return compile_formula(derive(name))


@cache
def pair_expectation(sigma: sp.Expr) -> Callable[..., Any]:
    """Return compiled E[σ(u)σ(v)] as a function of (q11, c, q22)."""
    with _DERIVING:
        return compile_formula(gaussian_expectation(sigma))


@cache
def second_moment(sigma: sp.Expr) -> Callable[..., Any]:
    """Return compiled E[σ(z)²], z ~ N(0, q), as a function of q."""
    with _DERIVING:
        return compile_formula(gaussian.second_moment(sigma))
