"""The public names, literally; laziness; documentation that runs."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import fieldflow

PUBLIC = [
    "Correlators",
    "CosNet",
    "CosNetFlow",
    "Edgeworth",
    "Ensemble",
    "FiniteWidth",
    "FlowAction",
    "LinearRG",
    "LowerLayers",
    "MLP",
    "MeanField",
    "Measurement",
    "Member",
    "NNQFT",
    "Perturbation",
    "Prediction",
    "PrunedFlow",
    "Reweighted",
    "ShellFlow",
    "Statistics",
    "TrainingFlow",
    "Verdict",
    "catalog",
    "connected",
    "correlators",
    "correlators_of",
    "coupling_formula",
    "couplings",
    "derive",
    "diagrams",
    "edge_of_chaos",
    "edge_of_chaos_curve",
    "errors",
    "exact_density",
    "gaussian_expectation",
    "load",
    "n_point",
    "nngp",
    "nngp_ntk",
    "ntk",
    "nuts",
    "prune",
    "run",
    "sample_correlators",
    "verify",
    "write_paper",
]

MODULES = sorted(
    info.name
    for prefix, path in (
        ("fieldflow.", fieldflow.__path__[:1]),
        ("fieldflow.symbolic.", importlib.import_module("fieldflow.symbolic").__path__),
        ("fieldflow.numeric.", importlib.import_module("fieldflow.numeric").__path__),
    )
    for info in pkgutil.walk_packages(path, prefix)
)


def test_public_names():
    assert fieldflow.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_resolve_and_are_documented(name):
    assert getattr(fieldflow, name).__doc__


def test_functions_are_not_hidden_by_modules():
    for name in MODULES:
        importlib.import_module(name)
    for name in PUBLIC:
        assert name == "errors" or callable(getattr(fieldflow, name))


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, fieldflow; print([m for m in ('sympy', 'numba', 'scipy', 'matplotlib', 'numpy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = fieldflow.nothing_like_this


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
