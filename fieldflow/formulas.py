"""Which formulas does the project know, and how does one get at them? The catalogue, and compiled forms by name."""

import difflib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from threading import RLock
from typing import Any

import sympy as sp

from fieldflow import inputs
from fieldflow.compile import compile_formula
from fieldflow.derivation_cache import remembered
from fieldflow.errors import BadInput
from fieldflow.symbolic import (
    angular,
    brg,
    brg_flow,
    corrected_actions,
    corrected_bayes,
    corrected_cosnet,
    cosnet,
    cosnet_cumulants,
    cosnet_generating,
    cosnet_propagator,
    cosnet_shell,
    cosnet_transform,
    cumulants,
    degraded,
    design,
    edgeworth,
    finite_width,
    fisher,
    fisher_laws,
    fisher_unit,
    flow_action,
    gaussian,
    gaussnet,
    homogeneous,
    information,
    inverse_rules,
    lemmas,
    meanfield,
    nearby,
    nngp,
    nnqft,
    optimal,
    paper_flow,
    paper_shell,
    polchinski,
    pruning,
    readout_mixture,
    shells,
    training,
)
from fieldflow.symbolic.activations import activation, implemented
from fieldflow.symbolic.formula import Formula

__all__ = [
    "carried_expectation",
    "catalog",
    "compiled",
    "coupling_formula",
    "derive",
    "deriving",
    "gaussian_expectation",
    "pair_expectation",
    "second_moment",
    "unit_fisher",
]

_BUILDERS: dict[str, Callable[[], Formula]] = {
    name: builder
    for module in (
        lemmas,
        gaussian,
        nngp,
        nearby,
        meanfield,
        homogeneous,
        training,
        shells,
        finite_width,
        cumulants,
        edgeworth,
        readout_mixture,
        fisher,
        brg,
        brg_flow,
        polchinski,
        degraded,
        paper_flow,
        paper_shell,
        corrected_actions,
        corrected_cosnet,
        corrected_bayes,
        cosnet,
        cosnet_propagator,
        cosnet_transform,
        cosnet_cumulants,
        cosnet_generating,
        cosnet_shell,
        information,
        fisher_unit,
        fisher_laws,
        gaussnet,
        angular,
        optimal,
        pruning,
        inverse_rules,
        nnqft,
        flow_action,
        design,
    )
    for name, builder in module.FORMULAS.items()
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
    return _derived(name)


@cache
def _derived(name: str) -> Formula:
    with _DERIVING:
        return remembered(Formula, _BUILDERS[name], "catalogue", name)


@cache
def compiled(name: str) -> Callable[..., Any]:
    """Return the compiled form of a catalogued formula; it broadcasts over arrays."""
    with _DERIVING:
        return compile_formula(derive(name))


def coupling_formula(legs: int, order: int, *, odd: bool = False, counting: str = "iid") -> Formula:
    """Return g_legs of the action up to N^{-order} as a formula; see ``symbolic.inverse_rules.coupling_formula``.

    Equation (42) of arXiv:2405.17538.  Parameters and errors as there; the compiled form is that of one mesh point.

    >>> coupling_formula(legs=4, order=2).compile()(1.0, 0.12, 0.0).round(7)  # G2, G4, G6
    np.float64(-0.0071)
    """
    with _DERIVING:
        return inverse_rules.coupling_formula(legs, order, odd=odd, counting=counting)


def gaussian_expectation(
    sigma: Any, tau: Any = None, *, mean: tuple[Any, Any] = (0, 0), tolerance: float = 1e-10
) -> Formula:
    """Return E[σ(u)τ(v)] for (u, v) ~ N(mean, [[q11, c], [c, q22]]) as a formula of (q11, c, q22[, m1, m2]).

    Stein's lemma (1981, Lemma 1) and Price's theorem (1958); for the rectifiers the arc-cosine family of Cho and Saul
    (2009, Sec. 2.1).

    Parameters
    ----------
    sigma, tau : SymPy expression in one symbol, catalogue name, or function of an array
        ``tau`` = None means ``sigma``.  Sums of z^n·exp(αz² + βz) times 1, a step or an erf are done in closed form
        (``closed_form`` True, or "special" where bivariate normal probabilities are left); others by quadrature (False),
        whose compiled form has an ``error_estimate``.
    mean : pair of numbers or real symbols
        Symbols become further arguments.
    tolerance : float
        Relative accuracy asked of the quadrature.

    Raises
    ------
    BadInput
        For an activation, a mean or a tolerance that is not of the stated form.

    >>> z = sp.Symbol("z", real=True)
    >>> f = gaussian_expectation(sp.Max(z, 0)).compile()
    >>> float(f(2.0, 2.0, 2.0))
    1.0
    """
    first = activation(sigma)
    second = first if tau is None else activation(tau)
    tolerance = inputs.real("tolerance", tolerance, minimum=0.0, maximum=1.0, strict=True)
    key = (sp.srepr(first.expr), sp.srepr(second.expr), first.name, second.name, repr(mean), repr(tolerance))

    def build() -> Formula:
        return gaussian.gaussian_expectation(first, second, mean=mean, tolerance=tolerance)

    with _DERIVING:
        return build() if implemented(first.expr, second.expr) else remembered(Formula, build, "expectation", *key)


@cache
def pair_expectation(sigma: sp.Expr) -> Callable[..., Any]:
    """Return compiled E[σ(u)σ(v)] as a function of (q11, c, q22)."""
    return compile_formula(gaussian_expectation(sigma))


@cache
def second_moment(sigma: sp.Expr) -> Callable[..., Any]:
    """Return compiled E[σ(z)²], z ~ N(0, q), as a function of q."""
    with _DERIVING:
        if implemented(sigma):  # a caller's Python function has no text to be remembered by
            return compile_formula(gaussian.second_moment(sigma))
        formula = remembered(Formula, lambda: gaussian.second_moment(sigma), "second moment", sp.srepr(sigma))
        return compile_formula(formula)


@cache
def unit_fisher(sigma: sp.Expr) -> Callable[..., Any]:
    """Return compiled λ(m, τ, s²) = E[σ(z)²]/s², z ~ N(m, τ²), of a read-out weight above a unit σ."""
    if activation(sigma).name == "relu":
        return compiled("fisher.relu")

    def build() -> Formula:
        return fisher_unit.unit(sigma)

    with _DERIVING:
        known = implemented(sigma)
        return compile_formula(build() if known else remembered(Formula, build, "unit fisher", sp.srepr(sigma)))


@cache
def carried_expectation(sigma: sp.Expr) -> sp.Expr | None:
    """Return E[σ(u)σ(v)] as a function of (q11, c, q22, D, δ), derived with every step checked; None if not closed."""

    def build() -> gaussian.Expectation | None:
        formula = gaussian.gaussian_expectation(sigma)
        return gaussian.expectation(sigma, sigma) if formula.closed_form else None

    if implemented(sigma):
        return None
    with _DERIVING:
        found = remembered((gaussian.Expectation, type(None)), build, "carried", sp.srepr(sigma))
    return None if found is None else found.carried
