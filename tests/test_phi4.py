"""The φ⁴ experiment: a small one agrees for any threads, broken theories turn red, too few networks are a status."""

import pytest

import fieldflow as ff
from fieldflow.checks import phi4 as check
from fieldflow.errors import BadInput
from fieldflow.experiment import load_experiment, template
from fieldflow.hamiltonian import available
from fieldflow.perturbation import Perturbation

SMALL_COUPLINGS = "[0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 10.0, 30.0, 100.0]"
SMALL = {
    "\nmembers = 300000": "\nmembers = 24000",
    "width = 400": "width = 150",
    "nodes = 12": "nodes = 8",
    "[0.0, 0.25, 0.5, 0.75, 1.0]": "[0.0, 0.5, 1.0]",
    "[0.0025, 0.005, 0.01]": "[0.01, 0.02]",
    SMALL_COUPLINGS: "[0.05, 0.2, 0.5, 3.0]",
    "draws = 1000": "draws = 0",
}


def text(**change):
    body = template("phi4").split("[quick]")[0]
    for old, new in {**SMALL, **change}.items():
        assert old in body
        body = body.replace(old, new, 1)
    return body


def written(folder, **change):
    path = folder / "experiment.toml"
    path.write_text(text(**change), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return ff.run(written(tmp_path_factory.mktemp("phi4")), threads=1)


def statuses(found):
    return {name.split("/")[1]: joint["status"] for name, joint in found.results["joint"].items()}


@pytest.mark.statistical
def test_every_family_agrees_and_could_have_failed(result):
    assert statuses(result) == dict.fromkeys(("free", "schwinger-dyson", "two-point", "four-point", "orders"), "agrees")
    assert result.exit_code == 0
    shifts = [shift for joint in result.results["joint"].values() for shift in joint["negative_controls"].values()]
    assert min(map(abs, shifts)) >= 8.0
    assert [picture["name"] for picture in result.figures["pictures"]] == ["two-point", "couplings"]
    assert any(note.startswith("Perturbation theory fails") for note in result.results["notes"])


def test_numbers_do_not_depend_on_threads(result, tmp_path):
    again = ff.run(written(tmp_path), threads=2)
    assert again.to_json() == result.to_json()
    assert again.figures == result.figures


@pytest.mark.statistical
def test_a_wrong_first_order_turns_red(tmp_path, monkeypatch):
    """4! for 12: the families of perturbation theory see it, the exact ones do not care."""
    right = Perturbation.terms

    def wrong(self, legs):
        found = right(self, legs)
        found[1] *= 2.0
        return found

    monkeypatch.setattr(Perturbation, "terms", wrong)
    found = statuses(ff.run(written(tmp_path), threads=2))
    assert found["two-point"] == "disagrees"
    assert found["free"] == found["schwinger-dyson"] == "agrees"


@pytest.mark.statistical
def test_a_wrong_force_turns_red(tmp_path, monkeypatch):
    right = check.Reweighted.schwinger_dyson_samples
    monkeypatch.setattr(check.Reweighted, "schwinger_dyson_samples", lambda self, factor=1.0: right(self, 0.5 * factor))
    found = ff.run(written(tmp_path), threads=2)
    assert statuses(found)["schwinger-dyson"] == "disagrees"
    assert found.exit_code == 1


def test_too_few_networks_are_a_status(tmp_path):
    few = ff.run(written(tmp_path, **{"\nmembers = 300000": "\nmembers = 20"}), threads=1)
    assert statuses(few) == {"free": "underpowered"}
    assert few.exit_code == 1
    assert "too few" in few.results["notes"][0]


@pytest.mark.statistical
def test_couplings_without_effective_networks_are_shown_and_not_used(tmp_path):
    change = {SMALL_COUPLINGS: "[0.05, 0.2, 0.5, 100000.0]", "\nmembers = 300000": "\nmembers = 12000"}
    found = ff.run(written(tmp_path, **change), threads=2)
    assert statuses(found)["unusable-weights"] == "underpowered"
    names = [row["name"] for row in found.results["checks"]]
    assert "effective members, coupling 100000" in names
    assert not any("Schwinger" in name and "100000" in name for name in names)


@pytest.mark.statistical
@pytest.mark.skipif(not available(), reason="needs the extra: pip install 'fieldflow[design]'")
def test_markov_chains_agree(tmp_path):
    found = ff.run(written(tmp_path, **{"draws = 1000": "draws = 300", "count = 4": "count = 3"}), threads=2)
    joint = found.results["joint"]["phi4/markov-chain"]
    assert joint["status"] == "agrees"
    assert joint["negative_controls"]["no interaction"] > 8.0


def test_without_the_extra_a_note_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("fieldflow.hamiltonian.EXTRA", "no_such_package")
    study = load_experiment(written(tmp_path, **{"draws = 1000": "draws = 300"}))
    chains, notes = study._chains(study.case(1))
    assert chains is None
    assert "pip install 'fieldflow[design]'" in notes[0]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"box = 1.0": "box = 0.9"}, "theory.box"),
        ({"box = 1.0": "box = 0.0"}, "theory.box"),
        ({"width = 400": "width = 0"}, "cosnet.width"),
        ({"mass = 1.0": "mass = 0.0"}, "cosnet.mass"),
        ({"[0.0025, 0.005, 0.01]": "[0.01, 0.005]"}, "sweep.weak"),
        ({"[0.0025, 0.005, 0.01]": "[-0.01]"}, "sweep.weak"),
        ({"shown = [0.01, 0.05, 0.2]": "shown = [0.07]"}, "sweep.shown"),
        ({"coupling = 0.5": "coupling = 0.4"}, "chains.coupling"),
        ({"[0.0, 0.25, 0.5, 0.75, 1.0]": "[0.0, 0.0]"}, "theory.points"),
        ({"order = 4 ": "order = 5 "}, "theory.order"),
        ({"count = 4": "count = 1"}, "chains.count"),
    ],
)
def test_wrong_keys_are_named(change, key, tmp_path):
    with pytest.raises(BadInput, match=key.replace(".", r"\.")) as caught:
        load_experiment(written(tmp_path, **change))
    assert "\n" not in str(caught.value)
