"""Experiments on cosine networks: a small one agrees, the same for any threads; wrong theory and wrong keys are told."""

import pytest

import fieldflow as ff
from fieldflow.checks import cosnet_field
from fieldflow.experiment import load_experiment, template

SMALL = {
    "members = 1200": "members = 128",
    "width = 4000": "width = 600",
    "scan_members = 500": "scan_members = 200",
    "[500, 1000, 2000, 4000]": "[300, 500, 700, 1000]",
    "momenta = 25": "momenta = 9",
    "separations = 9": "separations = 4",
}


def text(**change):
    body = template("cosnet-1d").split("[quick]")[0]
    for old, new in {**SMALL, **change}.items():
        assert old in body
        body = body.replace(old, new)
    return body


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("cosnet") / "small.toml"
    path.write_text(text(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def result(small):
    return ff.run(small, threads=1)


@pytest.mark.statistical
def test_every_family_agrees_and_could_have_failed(result):
    joint = result.results["joint"]
    assert sorted(name.split("/")[1] for name in joint) == [
        *("conditional-law", "effective-variance", "fisher-law", "infinite-width"),
        *("shell-volume", "spectrum", "two-point"),
    ]
    assert {entry["status"] for entry in joint.values()} == {"agrees"}
    assert all(abs(shift) >= 8 for entry in joint.values() for shift in entry["negative_controls"].values())
    assert [picture["name"] for picture in result.figures["pictures"]] == [
        *("spectrum", "propagator", "trained", "fisher-law"),
    ]


def test_numbers_do_not_depend_on_threads(small, result, tmp_path):
    other = ff.run(small, threads=2)
    assert other.results == result.results
    assert other.figures == result.figures
    result.save(tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "spectrum.png").stat().st_size > 10_000


@pytest.mark.statistical
def test_a_field_without_the_half_of_the_phase_average_is_refused(small, monkeypatch):
    """C_d twice as large, as (90) prints it, turns the spectrum and the two-point function red."""
    study = load_experiment(small)
    case = study.case(1)
    field = cosnet_field.sample_field(case, lambda *_: None)
    right = cosnet_field.predicted_power
    monkeypatch.setattr(cosnet_field, "predicted_power", lambda *given: tuple(2 * part for part in right(*given)))
    assert cosnet_field.spectrum(case, field).p_value < 1e-12


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"mass = 1.0": "mass = 0.0"}, "mass"),
        ({"radius = 8.0": "radius = 0.0"}, "cosnet.radius"),
        ({"d = 1  ": "d = 4  "}, "cosnet.d"),
        ({"cutoffs = [0.0135, 0.0295, 0.1]": "cutoffs = [0.1, 0.0135]"}, "field.cutoffs"),
        ({"cutoffs = [0, 0.0295, 0.1, 0.25, 0.45]": "cutoffs = [0, 0]"}, "shell.cutoffs"),
        ({"[300, 500, 700, 1000]": "[300]"}, "checks.widths"),
        ({"window = 3.0": "window = 3.0\nwindows = 2"}, "field.windows"),
        ({'target = "sin(2*x1) + 3/10"': 'target = "x2"'}, "data.target"),
    ],
)
def test_wrong_keys_are_named(change, key, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text(text(**change), encoding="utf-8")
    with pytest.raises(ff.errors.BadInput, match=key.replace(".", r"\.")) as caught:
        load_experiment(path)
    assert "\n" not in str(caught.value)
