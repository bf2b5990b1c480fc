"""The paper: fragments that stand alone, lines that fit, names that can be changed, nothing written unless all is well."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sympy as sp

from fieldflow import cli, paper
from fieldflow.errors import BadInput
from fieldflow.formulas import catalog, derive
from fieldflow.latex import bibliography, cited
from fieldflow.paper import prepare_paper, write_paper
from fieldflow.paper_fragments import derivation, statement
from fieldflow.paper_sections import grouped
from fieldflow.result import Result
from fieldflow.symbol_table import read_symbols
from fieldflow.symbolic.formula import Formula, definition
from fieldflow.symbolic.gaussian import gaussian_expectation
from fieldflow.symbolic.linewidth import width
from fieldflow.symbolic.printing import latex
from fieldflow.symbolic.prose import prose
from fieldflow.symbolic.special import DifferenceOfProducts, NormalCdf, RegularizedUpperGamma
from fieldflow.symbolic.symbols import z

GOLDEN = Path(__file__).parent / "golden"
FEW = ["nngp.recursion", "shell.mean", "training.gd", "training.sgd"]
RENAMED = {"sigma_w": r"\sigma_W", "a_l": "A", "E_sigma": r"\langle\sigma\sigma\rangle"}


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command in an empty directory and gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["fieldflow", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return command


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(paper, "catalog", lambda: tuple(FEW))


def fake_result():
    """The least that a run leaves behind."""
    joint = {"claim": "exact", "gates": True, "chi2": 12.0, "dof": 10, "p_value": 0.3, "ks_p_value": 0.4, "holm_min_p": 1.0,
             "joint_p": 0.3, "negative_controls": {"a half": 20.0}, "status": "agrees"}  # fmt: skip
    network = {"label": "net_1", "d_in": 2, "widths": [10], "activation": ["relu"], "scaling": "fan_in",
               "sigma_w": [1.0, 1.0], "sigma_b": [0.0, 0.0]}  # fmt: skip
    resolved = {"network": [network], "data": {"seed": 1}, "training": {"method": "gd"}, "fisher": {},
                "shell": {"mode": "resample", "cutoffs": [0.0, 1.0]}}  # fmt: skip
    results = {
        "schema": 1,
        "experiment": {"name": "my_run", "digest": "0", "resolved": resolved},
        "seed": 1,
        "members": {"requested": 16, "used": 16, "excluded": {"diverged": 0}},
        "conventions": {"net_1": {"loss": "mean, no factor ½"}},
        "formulas": [],
        "notes": ["net_1: training loss 0.1"],
        "training": {},
        "checks": [],
        "joint": {"net_1/law": joint},
    }
    return Result(results, {"pictures": [], "tables": []})


def compiled(folder, main="paper.tex"):
    """Compile and return the log."""
    run = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", main]
    for _ in range(3):
        done = subprocess.run(run, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-3000:]
    return (folder / main).with_suffix(".log").read_text(encoding="utf-8", errors="replace")


def overfull(log):
    return [float(found) for found in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]


needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")


# Fragments


@pytest.mark.parametrize(
    ("golden", "text"),
    [
        ("fragment.shell.relu_Z", lambda: statement("shell.relu_Z", derive("shell.relu_Z"), {})),
        ("derivation.training.sgd", lambda: derivation("training.sgd", derive("training.sgd"), {})),
        ("remapped.nngp.recursion", lambda: statement("nngp.recursion", derive("nngp.recursion"), RENAMED)),
    ],
)
def test_golden_fragments(golden, text):
    assert text() == (GOLDEN / f"{golden}.tex").read_text(encoding="utf-8")


def test_names_are_changed_everywhere_and_nowhere_else():
    relu = derive("expectation.relu")
    text = relu.latex("align", symbols={"c": "K(x,y)", "q11": "K(x,x)"}) + relu.derivation_latex(
        symbols={"c": "K(x,y)"}
    )
    assert "K(x,y)^{2}" in text
    assert not re.search(r"(?<![A-Za-z])c(?![A-Za-z])", text.split(r"\begin{enumerate}")[0].replace("K(x,y)", ""))
    assert relu.latex() == derive("expectation.relu").latex()
    squared = Formula("f", sp.Symbol("f"), sp.Symbol("s2") ** 2, (sp.Symbol("s2"),), "", "exact", derived_from=("x",))
    assert squared.latex(symbols={"s2": r"\varsigma^2"}) == r"f = \left(\varsigma^2\right)^{2}"


def test_functions_that_stand_for_sums_keep_their_brackets():
    x, y = sp.symbols("x y", positive=True)
    text = latex(x * DifferenceOfProducts(x, x, y, y) + RegularizedUpperGamma(x, y) ** 2 / NormalCdf(x) ** 3)
    assert r"x \left(x^{2} - y^{2}\right)" in text
    assert r"\left(Q\left(x, y\right)\right)^{2}" in text
    assert r"\left(\Phi\left(x\right)\right)^{3}" in text
    assert latex(sp.Rational(3, 10**40) * x + sp.Rational(1, 10**9)) == r"\frac{3 x}{10^{40}} + 10^{-9}"


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ({"q1": "x"}, r"symbols\.q1: unknown name; accepted: .*q11"),
        ({"q11": 3}, r"symbols\.q11: expected LaTeX in quotes, got 3"),
        ({"q11": "a}{"}, r"symbols\.q11: expected one line of LaTeX with balanced braces"),
        ({"q11": "a\nb"}, "one line"),
        ({"q11": " "}, "one line"),
        ({"q11": "a % b"}, "balanced"),
        ({"q11": "$a$"}, "balanced"),
    ],
)
def test_bad_names_are_refused(symbols, message, tmp_path):
    with pytest.raises(BadInput, match=message):
        derive("expectation.relu").latex(symbols=symbols)
    with pytest.raises(BadInput, match=message):
        write_paper(tmp_path / "out", symbols=symbols, names=FEW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[symbols\n", "is not a TOML file"),
        ("[names]\nq11 = 'a'\n", "names: unknown key"),
        ("symbols = 3\n", "expected a table"),
        (None, "cannot read"),
        (b"\xff\xfe", "is not a TOML file"),
    ],
)
def test_bad_symbol_files_are_refused(text, message, tmp_path):
    path = tmp_path / "names.toml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput, match=message):
        read_symbols(path)


def test_sentences_become_latex():
    for text, expected in {
        "K + rho 1 positive definite": r"$K + \rho 1$ positive definite",
        "a = mean of mu*y; b = 3": r"$a =$ mean of $\mu \,y$; $b = 3$",
        "gradient flow, t -> infinity": r"gradient flow, $t \to \infty$",
        "sample 1 of 3 sees a read-out": "sample 1 of 3 sees a read-out",
        "inputs N(0, s_x^2), as in shell.relu_Z": r"inputs $N(0, s_{x}^{2})$, as in \texttt{shell.relu\_Z}",
        "(f - y)², 50 % of {x & #1": r"($f - y)^{2}$, 50 \% of \{x \& \#1",
        "kappa = -dK_>/dLambda": r"$\kappa = -dK_{>}/d\Lambda$",
        "dmu/dLambda, by Leibniz": r"$d\mu /d\Lambda$, by Leibniz",
        "": "",
    }.items():
        assert prose(text) == expected


@pytest.mark.parametrize("name", catalog())
def test_alignment_marks_stand_only_where_rows_are_aligned(name):
    """A mark in a plain ``gather`` stops TeX; so do two superscripts on an accent, whose braces alone TeX drops."""
    text = statement(name, derive(name), {}) + derivation(name, derive(name), {})
    inner = re.compile(
        r"\\begin\{(split|cases|aligned|align\*?|[bpv]?matrix|array)\}(?:(?!\\begin\{).)*?\\end\{\1\}", re.DOTALL
    )
    while inner.search(text):
        text = inner.sub("", text)
    assert not re.search(r"(?<!\\)&", text)
    assert not re.search(r"\{\\d?dot\{\w\}[^\s{}]*(_\{\w+\}|\^\{[^{}]*\})*\}\^", text)


# Long equations


def long_formulas():
    x, y = sp.Symbol("x", real=True), sp.Symbol("y", positive=True)
    terms = sum(sp.Rational(k + 1, k + 2) * x**k * sp.sin(k * x) for k in range(1, 25))
    ratio = terms / (1 + y + sum(y**k for k in range(3, 25)))
    s = sp.Symbol("s", real=True)
    return {
        "sum": terms,
        "product": sp.Mul(terms, sp.sqrt(1 + y**2), sp.Add(*[y**k for k in range(12)])),
        "ratio": ratio,
        "root": sp.sqrt(terms + 30) + y,
        "power": (1 + terms) ** sp.Rational(-7, 2),
        "function": sp.exp(terms) + sp.erf(terms),
        "cases": sp.Piecewise((terms, x > 0), (x, sp.Eq(x, 0)), (ratio, True)),
        "integral": sp.Integral(sp.exp(-(s**2)) * terms.subs(x, s * y), (s, -sp.oo, sp.oo)),
    }


@pytest.mark.parametrize("kind", long_formulas())
@pytest.mark.parametrize("room", [31.0, 22.0])
def test_long_equations_are_broken(kind, room):
    expr = long_formulas()[kind]
    found = Formula(
        "f", sp.Symbol("f"), expr, tuple(sorted(expr.free_symbols, key=str)), "", "exact", derived_from=("x",)
    )
    text = found.latex("align", width=room)
    rows = [row for row in text.splitlines() if "&" in row]
    assert len(rows) > 2
    assert max(width(row.replace(r"\notag", "").removesuffix(r"\\")) for row in rows) <= room * 1.05
    for opening, closing in ((r"\left", r"\right"), (r"\bigl[", r"\bigr]"), (r"\biggl[", r"\biggr]"), ("{", "}")):
        assert text.count(opening) - text.count(r"\leftarrow") == text.count(closing)


@needs_latex
@pytest.mark.slow
def test_long_equations_fit_the_page(tmp_path):
    x, y = sp.Symbol("x", real=True), sp.Symbol("y", positive=True)
    bodies = []
    for kind, expr in long_formulas().items():
        found = Formula(kind, sp.Symbol("f"), expr, tuple(sorted(expr.free_symbols, key=str)), "", "exact",
                        derived_from=("x",), steps=(definition(expr, expr + x, "a"), definition(expr * y, x, "b")))  # fmt: skip
        bodies += [found.latex("align"), found.derivation_latex()]
    for sigma, tau in ((sp.Max(z, 0) ** 4, None), (sp.Max(z, 0) ** 3, sp.Abs(z)), (sp.Max(z, 0) ** 2, z**3 - z)):
        found = gaussian_expectation(sigma, tau)
        bodies += [found.latex("align"), found.derivation_latex()]
    head = "\\documentclass{article}\n\\usepackage{amsmath}\n\\begin{document}\n"
    (tmp_path / "main.tex").write_text(head + "\n\n".join(bodies) + "\n\\end{document}\n", encoding="utf-8")
    assert max(overfull(compiled(tmp_path, "main.tex")), default=0.0) < 20.0


# The whole paper


def test_files_and_determinism(tmp_path, monkeypatch):
    monkeypatch.setattr(paper.plotting, "save_all", lambda folder, figures: folder.mkdir())
    stages = []
    first = write_paper(tmp_path / "a", names=FEW, run=fake_result(), progress=lambda *call: stages.append(call))
    second = write_paper(tmp_path / "b", names=reversed(FEW), run=fake_result())
    files = sorted(
        str(path.relative_to(first)) for path in first.rglob("*") if path.is_file() and path.suffix == ".tex"
    )
    assert files == sorted(
        ["conventions.tex", "paper.tex", "verdicts.tex", *(f"tables/{name}.tex" for name in ("settings", "verdicts")),
         *(f"formulas/{name}{end}.tex" for name in FEW for end in ("", "-derivation"))]
    )  # fmt: skip
    assert stages[-1] == ("deriving formulas", len(FEW), len(FEW))
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes()
        assert str(tmp_path) not in (first / file).read_text(encoding="utf-8")


def test_every_reference_has_its_label_and_every_work_is_cited():
    files = prepare_paper(names=FEW, run=fake_result()).files
    whole = "\n".join(files.values())
    labels = re.findall(r"\\label\{([^}]*)\}", whole)
    assert len(labels) == len(set(labels))
    assert set(re.findall(r"\\(?:eq)?ref\{([^}]*)\}", whole)) <= {
        *labels,
        *(f"fig:fig{n}" for n in ("08", "09", "10", "11")),
    }
    assert set(re.findall(r"\\bibitem\{([^}]*)\}", whole)) == set(cited(files.values()))
    packages = ",".join(re.findall(r"\\usepackage(?:\[[^]]*\])?\{([^}]*)\}", whole)).split(",")
    assert set(packages) <= {"amsmath", "booktabs", "graphicx", "hyperref", "tikz"}
    assert r"\mathbb" not in whole
    assert r"\date{}" in files["paper.tex"]
    for name in FEW:  # fragments refer to nothing outside themselves
        assert r"\ref{" not in files[f"formulas/{name}.tex"]
        assert rf"\ref{{der:{name}}}" in files["paper.tex"]
        assert rf"\eqref{{eq:{name}}}" in files["paper.tex"]
        assert rf"\label{{der:{name}}}" in files["paper.tex"]


def test_sections_by_prefix():
    assert [(s.title, names) for s, names in grouped(["zeta_2.b", "shell.mean", "expectation.relu", "zeta_2.a"])] == [
        ("Gaussian expectations", ["expectation.relu"]),
        ("Information-shell flow", ["shell.mean"]),
        ("Zeta 2", ["zeta_2.a", "zeta_2.b"]),
    ]


def test_bibliography_of_what_is_asked():
    text = bibliography(["lee2019wide", "price1958useful"])
    assert text.count(r"\bibitem") == 2
    assert r"\href{https://arxiv.org/abs/1902.06720}{arXiv:1902.06720}" in text
    assert r"IRE Transactions on Information Theory \textbf{4}, 69--72 (1958)." in text


@needs_latex
@pytest.mark.slow
def test_the_paper_and_a_fragment_alone_compile(tmp_path):
    folder = write_paper(
        tmp_path / "paper", names=[*FEW, "expectation.relu", "fisher.relu", "shell.gamma"], symbols=RENAMED
    )
    log = compiled(folder)
    assert "undefined" not in log
    assert "multiply defined" not in log
    assert max(overfull(log), default=0.0) < 20.0
    alone = "\\documentclass{article}\n\\usepackage{amsmath}\n\\begin{document}\n\\input{formulas/shell.mean.tex}\n"
    alone += "\\input{formulas/training.sgd-derivation.tex}\n" + bibliography(["howard2024bayesian"]).replace(
        r"\href", r"\texttt"
    )
    (folder / "mine.tex").write_text(alone + "\\end{document}\n", encoding="utf-8")
    assert "undefined" not in compiled(folder, "mine.tex")


# What is not written


def test_foreign_directories_results_and_the_run_itself_are_left_alone(tmp_path):
    foreign, results = tmp_path / "thesis", tmp_path / "results"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("precious")
    with pytest.raises(BadInput, match=r"^out: .*not written by fieldflow"):
        write_paper(foreign, names=FEW)
    results.mkdir()
    for name in (".fieldflow", "results.json"):
        (results / name).write_text("{}")
    with pytest.raises(BadInput, match="holds the results of a run"):
        write_paper(results, names=FEW)
    own = write_paper(tmp_path / "own", names=FEW)
    with pytest.raises(BadInput, match="lies in the directory to be written"):
        write_paper(own, run=own / "run", names=FEW)
    with pytest.raises(BadInput, match="expected a fieldflow result"):
        write_paper(own, run=foreign, names=FEW)
    with pytest.raises(BadInput, match=r"nearest: shell\.mean"):
        write_paper(own, names=["shell.men"])
    (own / "notes").write_text("mine")
    write_paper(own, names=FEW[:1])
    assert (own / "notes").read_text() == "mine"
    assert len(list((own / "formulas").iterdir())) == 2  # of what fieldflow wrote, only what is new
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own", "results", "thesis"]


@pytest.mark.usefixtures("few")
def test_the_command(call, tmp_path):
    (tmp_path / "names.toml").write_text('[symbols]\nsigma_w = "\\\\sigma_W"\n')
    assert call("paper", "out", "--symbols", "names.toml") == (0, "written to out\n", "")
    assert r"\sigma_W^{2}" in (tmp_path / "out/formulas/nngp.recursion.tex").read_text()
    assert call("paper", "out", "--quiet") == (0, "", "")
    code, out, _ = call("paper", "--help")
    assert code == 0
    assert "Example: fieldflow paper" in out


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        (["paper"], "DIR"),
        (["paper", "out", "--run", "absent"], "expected a fieldflow result"),
        (["paper", "out", "--symbols", "absent.toml"], "symbols: cannot read absent.toml"),
        (["paper", "out", "--symbols", "bad.toml"], "symbols.sigma: unknown name; accepted: "),
        (["paper", "bad.toml"], "not a directory"),
        (["derive", "nngp.recursion", "--symbols", "bad.toml"], "symbols: give --latex as well"),
        (["derive", "nngp.recursion", "--code", "fortran"], "expected one of python, c, mathematica"),
        (["derive", "nngp.recursion", "--code", "c", "--latex"], "not accepted with --latex"),
        (["derive", "shell.relu_Z", "--code", "c"], "c has no counterpart of RegularizedUpperGamma"),
    ],
)
def test_bad_input_is_one_line_exit_2_and_nothing_written(call, tmp_path, arguments, piece):
    (tmp_path / "bad.toml").write_text('[symbols]\nsigma = "x"\n')
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert piece in err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("place", ["derive", "write_text"])
def test_interrupt_leaves_nothing(call, monkeypatch, tmp_path, place):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(paper, place, interrupted)
    assert call("paper", "out") == (130, "", "interrupted: nothing was written\n")
    assert list(tmp_path.iterdir()) == []


def test_derive_prints_code_and_remapped_latex(call, tmp_path):
    (tmp_path / "names.toml").write_text('[symbols]\nsigma_w = "\\\\sigma_W"\nq11 = "K"\n')
    code, out, err = call("derive", "nngp.recursion", "--latex", "--steps", "--symbols", "names.toml")
    assert (code, err) == (0, "")
    assert out.startswith(r"\begin{enumerate}")
    assert r"\sigma_W^{2}" in out
    code, out, err = call("derive", "nngp.recursion", "--code", "python")
    assert (code, err) == (0, "")
    assert out.startswith("def nngp_recursion(sigma_w, sigma_b, a_l, E_sigma):")


def test_every_work_has_what_a_bibliography_needs():
    text = (Path(__file__).parent.parent / "symbolic" / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{(\w+),", text, re.MULTILINE)
    assert len(keys) > 20
    assert bibliography(keys).count(r"\bibitem") == len(keys)
