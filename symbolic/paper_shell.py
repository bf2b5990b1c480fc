"""Where does the information shell take a read-out drawn independently of the hidden layer? Equations (74)-(76).

With one partition S for all members (76) holds; with each member's own partition, as in (94)-(96) of arXiv:2405.17538, the
features of stiff neurons are other features than those of all, and ``paper.eq76_memberwise`` takes its place.
"""

from collections.abc import Callable
from functools import cache, reduce
from operator import mul

import sympy as sp

from fieldflow.symbolic.formula import Formula, definition, step
from fieldflow.symbolic.paper_flow import ANY, matrix, nc, paper, replaced, s_w, summed, traced
from fieldflow.symbolic.reference import Reference


def _shell_words() -> tuple[sp.Expr, sp.Expr]:
    """Return w_Λ = S w + (1 - S) ξ of (96) and its transpose, S diagonal with 1 for stiff weights."""
    stiff, w, w_t, xi, xi_t = nc("S w w^T xi xi^T")
    return stiff * w + (1 - stiff) * xi, w_t * stiff + xi_t * (1 - stiff)


def _second_moment(mean: bool) -> sp.Expr:
    """Return E[w_Λ w_Λᵀ] over w and ξ, without the square of the mean unless ``mean``."""
    column, row = _shell_words()
    w, w_t, xi, xi_t, covariance, average, average_t = nc("w w^T xi xi^T Xi w_mean w_mean^T")
    both = covariance + average * average_t if mean else covariance
    product = sp.expand(column * row)
    product = replaced(product, {w * w_t: both, xi * xi_t: s_w})
    return sp.Add(*(term for term in sp.Add.make_args(product) if not term.free_symbols & {w, w_t, xi, xi_t}))


def _idempotent(expr: sp.Expr) -> sp.Expr:
    stiff = nc("S")
    return sp.expand(sp.expand(expr).subs(stiff**2, stiff))


@cache
def shell_weights() -> Formula:
    """Return (74): w̄(Λ) = S w̄, S = diag(1{λ_i >= Λ})."""
    stiff, w, average, xi = nc("S w w_mean xi")
    mean = sp.expand(_shell_words()[0]).subs(xi, 0).subs(w, average)
    return Formula(
        name="paper.eq74",
        lhs=sp.Symbol(r"\bar w(\Lambda)"),
        expr=summed(mean),
        args=(matrix("S"), matrix("w_mean")),
        domain="S diagonal: 1 for stiff weights (lambda_i >= Lambda), 0 for sloppy ones, the same for all members",
        validity=ANY,
        references=paper(74),
        derived_from=("fisher.readout",),
        steps=(step(mean, stiff * average, "w_Lambda = S w + (1 - S) xi, E xi = 0"),),
    )


@cache
def shell_covariance() -> Formula:
    """Return (75): Ξ(Λ) = S Ξ S + s_w (1 - S); printed with σ_w² in place of s_w."""
    stiff, covariance = nc("S Xi")
    found = _idempotent(_second_moment(False))
    return Formula(
        name="paper.eq75",
        lhs=sp.Symbol(r"\Xi(\Lambda)"),
        expr=summed(found.subs(s_w, s_w * nc("1"))),
        args=(matrix("S"), matrix("Xi"), s_w),
        domain="as paper.eq74; s_w = prior variance of one weight, sigma_w^2/N under fan_in (printed: sigma_w^2)",
        validity=ANY,
        references=paper(75),
        derived_from=("paper.eq74",),
        steps=(
            step(
                found,
                stiff * covariance * stiff + s_w * (1 - stiff),
                "E[xi xi^T] = s_w 1, xi independent of w, S^2 = S",
            ),
        ),
    )


@cache
def shell_mean() -> Formula:
    """Return the mean of (76): (S w̄)ᵀ V_x."""
    average_t, stiff, v_x = nc("w_mean^T S V_x")
    words = _shell_words()[1].subs({nc("xi^T"): 0, nc("w^T"): average_t}, simultaneous=True) * v_x
    return Formula(
        name="paper.eq76_mean",
        lhs=sp.Symbol(r"\mu_{\pi_\Lambda}(x)"),
        expr=traced(words),
        args=(matrix("w_mean"), matrix("S"), matrix("V_x")),
        domain="one partition S for all members, independent of their hidden layers",
        validity=ANY,
        references=paper(76),
        derived_from=("paper.eq73_mean", "paper.eq74"),
        steps=(step(words, average_t * stiff * v_x, "(74) in (73)"),),
    )


@cache
def shell_predictive() -> Formula:
    """Return the covariance of (76): tr[Ξ(Λ)V_xy] + w̄(Λ)ᵀ(V_xy - V_x V_yᵀ)w̄(Λ)."""
    stiff, average, average_t, v_xy, v_x, v_yt, covariance = nc("S w_mean w_mean^T V_xy V_x V_y^T Xi")
    found = sp.expand(_idempotent(_second_moment(True)) * v_xy - stiff * average * average_t * stiff * v_x * v_yt)
    expected = (stiff * covariance * stiff + s_w * (1 - stiff)) * v_xy
    expected += stiff * average * average_t * stiff * (v_xy - v_x * v_yt)
    return Formula(
        name="paper.eq76",
        lhs=sp.Symbol(r"\Sigma_{\pi_\Lambda}(x, y)"),
        expr=traced(found),
        args=(*map(matrix, ("Xi", "w_mean", "S", "V_x", "V_y", "V_xy")), s_w),
        domain="one partition S for all members, independent of their hidden layers; with each member's own partition, as in "
        "(94)-(96), see paper.eq76_memberwise",
        validity=ANY,
        references=paper(76),
        derived_from=("paper.eq73", "paper.eq74", "paper.eq75"),
        steps=(step(found, sp.expand(expected), "(74) and (75) in (73)"),),
    )


@cache
def memberwise_mean() -> Formula:
    """Return w̄ᵀV^>, V^> = E[S h]: the mean when each member has its own partition."""
    average_t, stiff, h_x, stiff_x = nc("w_mean^T S h_x V_stiff_x")
    words = sp.expand(average_t * stiff * h_x)
    found = words.subs(stiff * h_x, stiff_x)
    return Formula(
        name="paper.eq76_memberwise_mean",
        lhs=sp.Symbol(r"\mu_{\pi_\Lambda}(x)"),
        expr=traced(found),
        args=(matrix("w_mean"), matrix("V_stiff_x")),
        domain="w independent of the hidden layer; S = each member's own partition (94)-(96), V_stiff_x = E[S h(x)]",
        validity=ANY,
        references=(Reference("howard2024bayesian", "Eqs. (76), (94)-(96)"),),
        derived_from=("paper.eq74",),
        steps=(step(found, average_t * stiff_x, "S depends on the hidden layer: it stays under the average"),),
    )


@cache
def memberwise() -> Formula:
    """Return (Ξ + w̄w̄ᵀ):V^{>>} + s_w tr V^< - (w̄ᵀV^>)²: the law that replaces (76) for member-wise partitions."""
    stiff, h_x, h_yt, covariance, average, average_t = nc("S h_x h_y^T Xi w_mean w_mean^T")
    inner, outer = nc("V_stiff V_sloppy")
    left, right = nc("V_stiff_x V_stiff_y^T")
    given = _idempotent(_second_moment(True)) * h_x * h_yt
    found = sp.Integer(0)
    for term in sp.Add.make_args(sp.expand(given)):
        number, factors = term.args_cnc()
        word = reduce(mul, factors, sp.Integer(1))
        if factors[0] == stiff and stiff in factors[1:]:  # S A S h h^T = A (S h h^T S) inside the trace
            middle = reduce(mul, factors[1 : factors.index(stiff, 1)], sp.Integer(1))
            word = middle * inner
        found += reduce(mul, number, sp.Integer(1)) * word
    found = sp.expand(found.subs(stiff * h_x * h_yt, h_x * h_yt - outer))
    found = sp.expand(found - average * average_t * left * right)
    expected = (covariance + average * average_t) * inner + s_w * outer - average * average_t * left * right
    return Formula(
        name="paper.eq76_memberwise",
        lhs=sp.Symbol(r"\Sigma_{\pi_\Lambda}(x, y)"),
        expr=traced(found),
        args=(*map(matrix, ("Xi", "w_mean", "V_stiff_x", "V_stiff_y", "V_stiff", "V_sloppy")), s_w),
        domain="as paper.eq76_memberwise_mean; V_stiff = E[S h(x) h(y)^T S], V_sloppy = E[(1 - S) h(x) h(y)^T]",
        validity=ANY,
        references=(Reference("howard2024bayesian", "Eqs. (76), (94)-(96)"),),
        derived_from=("paper.eq76_memberwise_mean", "paper.eq75"),
        steps=(
            definition(sp.Symbol(r"\mathrm{E}[f(x)f(y)|h]", commutative=False), sp.expand(given),
                       "(96) given the hidden layer and its partition, S^2 = S, in cyclic order"),
            step(found, sp.expand(expected), "cyclic: S moves round the trace; then the average over hidden layers"),
        ),
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {
    "paper.eq74": shell_weights,
    "paper.eq75": shell_covariance,
    "paper.eq76": shell_predictive,
    "paper.eq76_mean": shell_mean,
    "paper.eq76_memberwise": memberwise,
    "paper.eq76_memberwise_mean": memberwise_mean,
}
