"""Results for other programs: nothing lost, nothing renamed by accident, the same after a file in between."""

import json
import sys

import numpy as np
import pytest
import xarray

from fieldflow import interchange
from fieldflow.errors import BadInput
from fieldflow.result import Result

ROW = {
    "name": "mean", "family": "a/exact", "claim": "exact", "equation": "(74)", "formula_digest": "f" * 64, "cutoff": 0.5,
    "input": [1.0, -2.0], "width": 200, "prediction": 1.5, "prediction_std_error": 0.0, "measurement": 1.25,
    "std_error": 0.125, "n": 600, "pull": -2.0, "p_value": 0.0455, "negative_control_pull": 9.5, "status": "agrees",
}  # fmt: skip
BARE = {**ROW, "name": "Verlustfunktion Λ", "formula_digest": None, "cutoff": None, "input": None, "width": None}
BARE |= {"prediction": None, "pull": None, "p_value": None, "negative_control_pull": None, "status": "underpowered"}
JOINT = {
    "claim": "exact", "gates": True, "chi2": 12.5, "dof": 10, "p_value": 0.25, "ks_p_value": None, "holm_min_p": 1.0,
    "joint_p": 0.5, "negative_controls": {"half": 20.0, "sign": -30.0}, "status": "agrees",
}  # fmt: skip
RESULTS = {
    "schema": 1,
    "experiment": {"name": "small", "digest": "d" * 64, "resolved": {"seed": 2**64 - 1}},
    "seed": 2**64 - 1,
    "rng_version": "philox4x32-10",
    "members": {"requested": 600, "used": 598, "excluded": {"diverged": 2}},
    "conventions": {"net": {"width_scaling": "fan_in"}},
    "checks": [ROW, BARE, {**ROW, "input": [3.0], "family": "b"}],
    "joint": {"b": {**JOINT, "gates": False, "ks_p_value": 0.75, "negative_controls": {}}, "a/exact": JOINT},
}
RESULT = Result(RESULTS, {})


def test_numpy_records_hold_every_number():
    tables = RESULT.to_numpy()
    checks = tables["checks"]
    assert sorted(checks.dtype.names) == sorted(ROW)
    for i, row in enumerate(RESULTS["checks"]):
        for name, value in row.items():
            found = checks[name][i]
            if name == "input":
                given = value or []
                np.testing.assert_array_equal(found, [*given, *[np.nan] * (2 - len(given))])
            elif value is None:
                assert found == "" if name == "formula_digest" else np.isnan(found)
            else:
                assert found == value
    joint = tables["joint"]
    assert list(joint["family"]) == ["a/exact", "b"]
    assert sorted(joint.dtype.names) == sorted({*JOINT, "family"} - {"negative_controls"})
    assert list(joint["gates"]) == [True, False]
    assert np.isnan(joint["ks_p_value"][0])
    assert joint["ks_p_value"][1] == 0.75
    assert tables["controls"].tolist() == [("a/exact", "half", 20.0), ("a/exact", "sign", -30.0)]


def test_an_empty_result_is_empty_records():
    tables = interchange.to_numpy({**RESULTS, "checks": [], "joint": {}})
    assert [len(table) for table in tables.values()] == [0, 0, 0]
    assert dict(interchange.to_xarray({**RESULTS, "checks": [], "joint": {}}).sizes) == {
        "check": 0, "component": 0, "joint": 0, "control": 0,
    }  # fmt: skip


def test_dataset_has_dimensions_units_and_identity():
    data = RESULT.to_xarray()
    assert dict(data.sizes) == {"check": 3, "component": 2, "joint": 2, "control": 2}
    tables = RESULT.to_numpy()
    for name in ROW:
        np.testing.assert_array_equal(data[name].values, tables["checks"][name])
        assert data[name].dims == (("check", "component") if name == "input" else ("check",))
    assert float(data.joint_chi2.sel(joint="b")) == 12.5
    assert float(data.control_shift.sel(control="sign").item()) == -30.0
    assert list(data.control_family.values) == ["a/exact", "a/exact"]
    for variable in data.variables.values():
        assert variable.attrs["long_name"]
        assert (variable.attrs.get("units") == "1") == (variable.dtype.kind in "fi")
    assert data.attrs["experiment_digest"] == "d" * 64
    assert int(data.attrs["seed"]) == 2**64 - 1
    assert json.loads(data.attrs["experiment_resolved"]) == {"seed": 2**64 - 1}
    assert json.loads(data.attrs["conventions"]) == {"net": {"width_scaling": "fan_in"}}
    assert [data.attrs[f"members_{kind}"] for kind in ("requested", "used", "diverged")] == [600, 598, 2]


def test_netcdf_and_back(tmp_path):
    data = RESULT.to_xarray()
    data.to_netcdf(tmp_path / "results.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "results.nc", engine="h5netcdf") as back:
        assert set(back.variables) == set(data.variables)
        for name, variable in data.variables.items():
            np.testing.assert_array_equal(back[name].values, variable.values)
            assert dict(back[name].attrs) == variable.attrs
        assert {key: back.attrs[key] for key in data.attrs} == data.attrs


def test_without_xarray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(BadInput, match=r"to_xarray: needs the package xarray: pip install 'fieldflow\[xarray\]'"):
        RESULT.to_xarray()
