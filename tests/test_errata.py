"""Every correction is visible in a number found without it; the section on them is complete and compiles."""

import re
import shutil
import subprocess

import mpmath
import pytest
import sympy as sp

from fieldflow import corrections
from fieldflow.errata import EXAMPLES, example
from fieldflow.errata_examples import SAMPLING
from fieldflow.errors import BadInput
from fieldflow.formulas import catalog, derive
from fieldflow.paper import prepare_paper, write_paper
from fieldflow.symbolic.errata import DIFFERENCES, ERRATA

needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")

NAMES = [name for name in catalog() if name.startswith(("erratum.", "paper."))]

REQUIRED = "(39) (41) (57) (54) (61) (75) (76) (77) (81) (83) (85) (84) (86) (87) (89) (90) (5) (7) (8) (12) (15) (19) (20) (21)"


def test_every_record_has_a_formula_and_an_example():
    names = [entry.name for entry in ERRATA]
    assert len(set(names)) == len(names)
    assert set(EXAMPLES) == set(names)
    for entry in ERRATA:
        assert derive(entry.formula).steps
        assert entry.printed
        assert entry.why.endswith(".")
    assert {name for name in catalog() if name.startswith("erratum.")} <= {entry.formula for entry in ERRATA}
    assert len(DIFFERENCES) >= 6


@pytest.mark.parametrize("number", REQUIRED.split())
def test_every_known_item_is_there(number):
    assert any(number in entry.source.locator for entry in ERRATA)


@pytest.mark.statistical
@pytest.mark.parametrize("name", [entry.name for entry in ERRATA])
def test_the_corrected_value_is_true_and_the_printed_one_is_not(name):
    found = example(name)
    rounding = 1e-8 * max(1.0, abs(found.truth))
    assert abs(found.corrected - found.truth) < 4.5 * found.error + rounding
    assert abs(found.printed - found.truth) > 8.0 * found.error + 1e-3 * max(1.0, abs(found.truth))
    assert (found.error > 0.0) <= (found.how == SAMPLING)


def test_unknown_records_are_named():
    with pytest.raises(BadInput, match=r"erratum: expected one of eq39, .*, got 'eq40'"):
        example("eq40")


@pytest.mark.parametrize(("d", "r"), [(1, "0.7"), (2, "0.7"), (3, "1.3")])
def test_spectrum_is_the_fourier_transform_of_the_parameter_average(d, r):
    """E over the ball of ½cos(b·r)/(b² + m²), against (2π)^{-d}∫ e^{ip·r} of the corrected spectrum, at 1e-12."""
    formula = derive("erratum.eq81")
    p, radius, mass, constant, sigma = formula.args
    with mpmath.workdps(25):
        size, distance = mpmath.mpf(2), mpmath.mpf(r)
        volume = mpmath.pi ** (mpmath.mpf(d) / 2) * size**d / mpmath.gamma(mpmath.mpf(d) / 2 + 1)
        value = sp.lambdify(p, formula.expr.subs({radius: 2, mass: 1, sigma: 1}) / constant, "mpmath")
        waves = {1: mpmath.cos, 2: lambda z: mpmath.besselj(0, z), 3: lambda z: mpmath.sin(z) / z}
        area = {1: 2, 2: 2 * mpmath.pi, 3: 4 * mpmath.pi}[d]
        cap = (2 * mpmath.pi) ** d / (2 * volume)
        spectral = mpmath.quad(lambda k: area * k ** (d - 1) * waves[d](k * distance) * value(k), [0, 1, 2])
        spectral *= cap / (2 * mpmath.pi) ** d
        # The angle between b and r integrated by itself: b_r has the density (size² - b_r²)^{(d-1)/2} only for fixed |b|.
        if d == 1:
            direct = mpmath.quad(lambda b: mpmath.cos(b * distance) / (2 * (b**2 + 1)), [-2, 0, 2]) / volume
        else:
            angle = {2: lambda t: 2, 3: lambda t: 2 * mpmath.pi * mpmath.sin(t)}[d]
            direct = (
                mpmath.quad(
                    lambda b, t: b ** (d - 1) * angle(t) * mpmath.cos(b * distance * mpmath.cos(t)) / (2 * (b**2 + 1)),
                    [0, 1, 2],
                    [0, mpmath.pi / 2, mpmath.pi],
                )
                / volume
            )
        assert abs(spectral - direct) < mpmath.mpf(10) ** -12


def test_bell_polynomials_of_a_skewed_law_by_enumeration():
    """A law on three points, standardised: E He_n = c_n with n = 6, exactly."""
    points, weights = (
        [sp.Integer(-1), sp.Integer(0), sp.Integer(3)],
        [sp.Rational(3, 8), sp.Rational(1, 2), sp.Rational(1, 8)],
    )
    z, t = sp.Symbol("z"), sp.Symbol("t")
    variance = sum(w * x**2 for w, x in zip(weights, points, strict=True))
    generating = sp.series(
        sp.log(sum(w * sp.exp(t * x) for w, x in zip(weights, points, strict=True))), t, 0, 7
    ).removeO()
    kappa = {n: sp.factorial(n) * generating.coeff(t, n) / variance ** sp.Rational(n, 2) for n in (1, 3, 6)}
    assert kappa[1] == 0
    hermite = z**6 - 15 * z**4 + 45 * z**2 - 15
    truth = sum(w * hermite.subs(z, x / sp.sqrt(variance)) for w, x in zip(weights, points, strict=True))
    formula = derive("erratum.eq39")
    assert sp.simplify(formula.expr.subs(dict(zip(formula.args, [kappa[3], kappa[6]], strict=True))) - truth) == 0


# The section


def test_the_section_holds_every_record_once():
    text = corrections.section(NAMES)
    for entry in ERRATA:
        assert text.count(rf"\label{{err:{entry.name}}}") == 1
    for name in NAMES:
        assert text.count(rf"\input{{formulas/{name}.tex}}") == name.startswith("erratum.")
    assert text == corrections.section(NAMES)
    assert corrections.section(["nngp.recursion"]) == ""


def test_the_paper_places_corrections_before_the_appendix():
    files = prepare_paper(names=["erratum.talk20", "fisher.readout"]).files
    document = files["paper.tex"]
    assert document.index(r"\input{corrections.tex}") < document.index(r"\appendix")
    assert r"\label{der:erratum.talk20}" not in document
    assert r"\input{formulas/erratum.talk20-derivation.tex}" in files["corrections.tex"]
    assert "corrections.tex" not in prepare_paper(names=["fisher.readout"]).files


@needs_latex
@pytest.mark.slow
def test_corrections_compile_without_overfull_lines(tmp_path):
    folder = write_paper(tmp_path / "paper", names=NAMES)
    for _ in range(3):
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
            cwd=folder, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
    log = (folder / "paper.log").read_text(encoding="utf-8", errors="replace")
    assert re.findall(r"Overfull \\hbox", log) == []
    assert "undefined" not in log.replace("undefined references", "")
    assert "multiply defined" not in log
