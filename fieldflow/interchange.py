"""How do other programs read a result? As labelled arrays (xarray, and through it netCDF) or as plain NumPy records."""

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldflow.errors import BadInput

EXTRA = "xarray"

_CHECKS = {
    "name": "name of the comparison",
    "family": "family that is judged together",
    "claim": "exact, asymptotic or literature",
    "equation": "equation of the source",
    "formula_digest": "SHA-256 of the formula, empty if there is none",
    "status": "agrees, disagrees or underpowered",
    "cutoff": "Fisher cut-off",
    "input": "network input",
    "width": "width of the last hidden layer",
    "prediction": "predicted value",
    "prediction_std_error": "standard error of the prediction",
    "measurement": "measured value",
    "std_error": "standard error of the measurement",
    "n": "number of independent samples",
    "pull": "deviation in standard errors",
    "p_value": "p-value of the comparison",
    "negative_control_pull": "deviation from a deliberately wrong prediction, in standard errors",
}
_JOINT = {
    "claim": "exact, asymptotic or literature",
    "status": "agrees, disagrees or underpowered",
    "gates": "whether a disagreement decides the exit code",
    "chi2": "chi-squared of whitened components",
    "dof": "degrees of freedom",
    "p_value": "p-value of chi2",
    "ks_p_value": "p-value of a Kolmogorov-Smirnov test of the components",
    "holm_min_p": "smallest p-value of the comparisons, corrected for their number",
    "joint_p": "smallest p-value of the family, corrected for their number",
}
_CONTROLS = {
    "family": "family that the control tests",
    "control": "deliberately wrong prediction",
    "shift": "shift of the joint statistic in standard errors",
}
_TEXT = {"name", "family", "claim", "equation", "formula_digest", "status", "control"}
_WHOLE = {"n", "dof"}


def to_numpy(results: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the rows of results.json as structured arrays; numbers that are absent are NaN, texts empty.

    Parameters
    ----------
    results : mapping
        Content of results.json, schema 1.

    Returns
    -------
    dict
        ``checks`` (rows), ``joint`` (families) and ``controls`` (negative controls); the field ``input`` of ``checks``
        has as many components as the longest input.
    """
    joint = [{"family": name, **entry} for name, entry in sorted(results["joint"].items())]
    controls = [
        {"family": entry["family"], "control": control, "shift": shift}
        for entry in joint
        for control, shift in sorted(entry["negative_controls"].items())
    ]
    return {
        "checks": _records(results["checks"], tuple(_CHECKS)),
        "joint": _records(joint, ("family", *_JOINT)),
        "controls": _records(controls, tuple(_CONTROLS)),
    }


def _records(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> NDArray[Any]:
    columns = {name: _column(name, [row[name] for row in rows]) for name in names}
    layout = [(name, column.dtype, column.shape[1:]) for name, column in columns.items()]
    records = np.empty(len(rows), np.dtype(layout))
    for name, column in columns.items():
        records[name] = column
    return records


def _column(name: str, values: Sequence[Any]) -> NDArray[Any]:
    if name == "input":
        longest = max((len(value) for value in values if value is not None), default=0)
        padded = [[*(value or []), *[np.nan] * (longest - len(value or []))] for value in values]
        return np.array(padded, np.float64).reshape(len(values), longest)
    if name in _TEXT:
        return np.array(["" if value is None else value for value in values], np.str_)
    if name == "gates":
        return np.array(values, np.bool_)
    if name in _WHOLE:
        return np.array(values, np.int64)
    return np.array([np.nan if value is None else value for value in values], np.float64)


def to_xarray(results: Mapping[str, Any]) -> Any:
    """Return the rows of results.json as an ``xarray.Dataset``.

    Every row lies along the dimension ``check``, every family along ``joint`` (variables ``joint_…``) and every negative
    control along ``control``; ``component`` counts the components of an input.  All numbers have the unit "1".

    Raises
    ------
    BadInput
        If xarray is not installed.
    """
    try:
        xarray: Any = importlib.import_module(EXTRA)
    except ImportError as error:
        raise BadInput("to_xarray: needs the package xarray: pip install 'fieldflow[xarray]'") from error
    tables = to_numpy(results)
    variables = _variables(tables["checks"], "check", "", _CHECKS)
    variables |= _variables(tables["joint"], "joint", "joint_", {"family": "family that is judged together", **_JOINT})
    variables |= _variables(tables["controls"], "control", "control_", _CONTROLS)
    coordinates = {"name": variables.pop("name")}
    coordinates |= {"joint": variables.pop("joint_family"), "control": variables.pop("control_control")}
    return xarray.Dataset(variables, coords=coordinates, attrs=_attributes(results))


def _variables(
    records: NDArray[Any], dimension: str, prefix: str, names: Mapping[str, str]
) -> dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, str]]]:
    """Return each field as (dimensions, values, attributes)."""
    found: dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, str]]] = {}
    for name, description in names.items():
        values = np.ascontiguousarray(records[name])
        attributes = {"long_name": description}
        if name not in _TEXT and name != "gates":
            attributes["units"] = "1"
        dimensions = (dimension, "component") if values.ndim == 2 else (dimension,)
        found[prefix + name] = dimensions, values, attributes
    return found


def _attributes(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies the run; tables as JSON texts."""
    experiment, members = results["experiment"], results["members"]
    return {
        "schema": results["schema"],
        "experiment": experiment["name"],
        "experiment_digest": experiment["digest"],
        "experiment_resolved": json.dumps(experiment["resolved"], sort_keys=True),
        "seed": np.uint64(results["seed"]),
        "rng_version": results["rng_version"],
        "members_requested": members["requested"],
        "members_used": members["used"],
        "members_diverged": members["excluded"]["diverged"],
        "conventions": json.dumps(results["conventions"], sort_keys=True),
    }
