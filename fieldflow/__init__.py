"""Neural networks as field theories: derive their flows, sample them, and hold the one against the other.

The package is lazy (PEP 562): ``import fieldflow as ff`` loads nothing heavy; each public name loads its module when first used.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# In a wheel symbolic/ and numeric/ lie inside this folder; in a checkout they lie beside it.
if not (Path(__file__).parent / "symbolic").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

_PUBLIC = {
    "MLP": "network",
    "nngp": "kernels",
    "ntk": "kernels",
    "nngp_ntk": "kernels",
    "TrainingFlow": "flow",
    "ShellFlow": "shell",
    "LinearRG": "brg",
    "FiniteWidth": "finite_width",
    "FlowAction": "flow_action",
    "LowerLayers": "lower_layers",
    "Ensemble": "ensemble",
    "Statistics": "member_statistics",
    "sample_correlators": "sampled",
    "correlators_of": "sampled",
    "Correlators": "correlator_estimate",
    "Member": "member",
    "PrunedFlow": "pruning",
    "prune": "pruning",
    "CosNet": "cosnet",
    "CosNetFlow": "cosnet_flow",
    "connected": "cumulants",
    "n_point": "cumulants",
    "Edgeworth": "edgeworth",
    "exact_density": "point_density",
    "MeanField": "meanfield",
    "edge_of_chaos": "meanfield",
    "edge_of_chaos_curve": "meanfield",
    "Prediction": "prediction",
    "Measurement": "prediction",
    "Verdict": "verdict",
    "verify": "verdict",
    "run": "runner",
    "load": "result",
    "gaussian_expectation": "formulas",
    "catalog": "formulas",
    "derive": "formulas",
    "write_paper": "paper",
    "coupling_formula": "formulas",
    "couplings": "action",
    "correlators": "action",
    "diagrams": "diagram",
    "NNQFT": "nnqft",
    "Reweighted": "reweighting",
    "Perturbation": "perturbation",
    "nuts": "hamiltonian",
    "errors": "errors",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fieldflow' has no attribute {name!r}")
    module = import_module(f"fieldflow.{_PUBLIC[name]}")
    value = module if name == "errors" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
