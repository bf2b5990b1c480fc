"""Formula, Step, Reference, Convention and equality: what they refuse, and that they are deterministic."""

import pytest
import sympy as sp

from fieldflow.errors import BadInput, ProofFailed
from fieldflow.symbolic.convention import Convention
from fieldflow.symbolic.equality import compare
from fieldflow.symbolic.formula import Formula, step
from fieldflow.symbolic.reference import Reference, bibtex

x, y = sp.symbols("x y", positive=True)


def formula(**change):
    arguments = {
        "name": "test.square",
        "lhs": sp.Symbol("s"),
        "expr": x**2,
        "args": (x,),
        "domain": "x > 0",
        "validity": "exact",
        "derived_from": ("arithmetic",),
    }
    return Formula(**(arguments | change))


def test_the_constructor_refuses_what_cannot_be_believed():
    with pytest.raises(BadInput, match="unbound symbols y"):
        formula(expr=x * y)
    with pytest.raises(BadInput, match="floats"):
        formula(expr=0.5 * x)
    with pytest.raises(BadInput, match="provenance"):
        formula(derived_from=())
    with pytest.raises(BadInput, match="validity"):
        formula(validity="probably")
    with pytest.raises(BadInput, match="unbound"):
        formula(numerical=x * y)
    with pytest.raises(BadInput, match="unknown key"):
        Reference("nobody2020", "Eq. (1)")
    with pytest.raises(BadInput, match="locator"):
        Reference("howard2024bayesian", "")
    with pytest.raises(BadInput, match="width_scaling"):
        Convention(width_scaling="mup")


def test_equality_has_three_values():
    assert compare(sp.sin(2 * x), 2 * sp.sin(x) * sp.cos(x)).status == "proved"
    # True, and beyond simplify: a nested radical identity in symbols.
    nested = sp.sqrt(x + y + 2 * sp.sqrt(x * y))
    found = compare(nested, sp.sqrt(x) + sp.sqrt(y))
    assert (found.status, found.digits) == ("certified", 30)
    assert compare(x, x + sp.Rational(1, 10**25)).status == "refuted"
    a, b = sp.symbols("A B", commutative=False)
    assert compare(sp.expand((a + b) * a), a * a + b * a).status == "proved"
    assert compare(a * b, b * a).status == "refuted"


def test_a_step_that_does_not_hold_cannot_exist():
    with pytest.raises(ProofFailed, match="wrong"):
        step(x**2, x**3, "wrong")


def test_projections_of_one_object():
    square = formula()
    assert square.latex() == "s = x^{2}"
    assert square.latex(style="align").startswith("\\begin{gather}")
    assert square._repr_latex_() == "$\\displaystyle s = x^{2}$"
    assert square.diff(x).expr == 2 * x
    assert square.subs({x: y + 1}).args == (y,)
    assert square.limit(x, 0).expr == 0
    assert square.diff(x).derived_from == ("test.square",)
    with pytest.raises(BadInput, match="style"):
        square.latex(style="fancy")


def test_digest_sees_expression_arguments_and_convention():
    digests = {
        formula().digest,
        formula(expr=x**3).digest,
        formula(args=(x, y)).digest,
        formula(convention=Convention(width_scaling="fan_in")).digest,
    }
    assert len(digests) == 4
    assert formula().digest == formula().digest


def test_conventions_compare():
    fan_in, unscaled = Convention(width_scaling="fan_in"), Convention(width_scaling="unscaled")
    assert Convention().compatible(fan_in)
    assert not fan_in.compatible(unscaled)
    assert not Convention().compatible(Convention(loss="sum"))


def test_bibliography_holds_what_is_cited():
    text = bibtex(["price1958useful", "howard2024bayesian", "price1958useful"])
    assert text.count("@") == 2
    assert text.index("howard2024bayesian") < text.index("price1958useful")
