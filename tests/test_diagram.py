"""The commutative diagram on a small experiment: agreement, red when the map is broken, same bytes, bad keys."""

import numpy as np
import pytest

from fieldflow.checks import arrow, diagram
from fieldflow.errors import BadInput
from fieldflow.experiment import load_experiment
from fieldflow.formulas import compiled
from fieldflow.runner import run

SMALL = """
name = "small-diagram"
kind = "diagram"
seed = 3
members = 640
[[network]]
label = "relu"
d_in = 2
widths = [120]
activation = "relu"
sigma_w = [1.4142135623730951, 1.0]
cutoffs = [0.5, 1.5]
[data]
target = "x1**2 - x2/2"
train = 4
test = 3
seed = 3
[training]
learning_rate = 0.2
steps = 50
[map]
modes = ["resample"]
[checks]
inputs = 2
widths = [60, 120, 240, 480]
scan_members = 300
frozen_members = 20000
"""

COSINE = (
    SMALL.replace('"relu"\nd_in', '"cos"\nd_in').replace('"relu"\nsigma_w', '"cos"\nsigma_b = [4.0, 0.0]\nsigma_w')
    .replace("[1.4142135623730951, 1.0]", "[3.0, 1.0]").replace("[0.5, 1.5]", "[0.3, 0.6]\nfisher_inputs = 4")
    .replace('modes = ["resample"]', 'modes = ["prune"]\nsamples = 16384')
)  # fmt: skip

MOMENTA = SMALL[: SMALL.index("[[network]]")] + """
[[cosnet]]
label = "cosnet"
d = 2
width = 120
radius = 3.0
mass = 1.0
sigma_w = 3.0
broad = true
cutoffs = [0.06, 0.2]
""" + SMALL[SMALL.index("[data]") :]  # fmt: skip


def loaded(folder, text):
    path = folder / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path)


def statuses(result):
    return {name: joint["status"] for name, joint in result.results["joint"].items()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return run(loaded(tmp_path_factory.mktemp("small"), SMALL), threads=1)


@pytest.mark.statistical
def test_both_legs_agree_and_every_family_has_power(small):
    families = ("arrow", "legs", "diagram", "flow", "cumulant")
    assert statuses(small) == {f"relu/{family}-resample": "agrees" for family in families}
    assert small.exit_code == 0
    assert "Ornstein-Uhlenbeck" in small.results["notes"][0]
    names = [picture["name"] for picture in small.figures["pictures"]]
    assert names == ["diagram-resample", "closing", "cumulants", "information"]


@pytest.mark.statistical
def test_a_net_of_cosines_with_a_sampled_shell(tmp_path):
    result = run(loaded(tmp_path, COSINE), threads=1)
    assert set(statuses(result).values()) == {"agrees"}
    assert "4 Fisher inputs" in result.results["notes"][0]


@pytest.mark.statistical
def test_a_cosine_network_goes_around_with_its_momentum_shell(tmp_path):
    result = run(loaded(tmp_path, MOMENTA), threads=1)
    assert set(statuses(result).values()) == {"agrees"}
    assert len(result.results["joint"]) == 5
    assert "momentum shell" in result.results["notes"][0]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("mass = 1.0", "mass = 0.0", r"cosnet\[0\].mass"),
        ("radius = 3.0", "radius = 0.0", r"cosnet\[0\].radius"),
        ("[0.06, 0.2]", "[0.2, 0.06]", r"cosnet\[0\].cutoffs"),
        ("width = 120", "width = 20", "cosnet.width"),
        ("train = 4", "train = 4\ninput_mean = 1.0", "data.input_mean"),
        ("[[cosnet]]", "[[nothing]]", "nothing"),
    ],
)
def test_bad_keys_of_a_cosine_network_are_named(tmp_path, old, new, key):
    assert old in MOMENTA
    with pytest.raises(BadInput, match=f"^{key}"):
        loaded(tmp_path, MOMENTA.replace(old, new, 1))


def test_at_least_one_network(tmp_path):
    text = SMALL[: SMALL.index("[[network]]")] + SMALL[SMALL.index("[data]") :]
    with pytest.raises(BadInput, match=r"^network: expected at least one"):
        loaded(tmp_path, text)


def test_numbers_do_not_depend_on_threads(small, tmp_path):
    again = run(loaded(tmp_path, SMALL), threads=2)
    assert again.to_json() == small.to_json()
    assert again.figures == small.figures


@pytest.mark.statistical
def test_a_broken_map_turns_red(tmp_path, monkeypatch):
    """P with one factor too many: neither the members nor the moments follow it."""
    right = compiled("brg.projector")

    def broken(name):
        return (
            (lambda stiff, prior: right(stiff, prior) @ right(stiff, prior))
            if name == "brg.projector"
            else compiled(name)
        )

    monkeypatch.setattr(arrow, "compiled", broken)
    monkeypatch.setattr("fieldflow.brg.compiled", broken)
    result = run(loaded(tmp_path, SMALL), threads=1)
    assert result.exit_code == 1
    red = {name for name, status in statuses(result).items() if status == "disagrees"}
    assert red >= {f"relu/{family}-resample" for family in ("arrow", "diagram")}


def test_influence_values_average_to_the_moments():
    values = np.random.default_rng(0).normal(size=(50, 3))
    found = diagram._influence(values, np.zeros((1, 3, 3))).mean(axis=0)
    np.testing.assert_allclose(found[:3], values.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(found[3:], np.cov(values, rowvar=False)[np.triu_indices(3)], atol=1e-14)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("widths = [120]", "widths = [10]", "network.widths"),
        ("widths = [120]", "widths = []", r"network\[0\].widths"),
        ("[0.5, 1.5]", "[1.5, 0.5]", r"network\[0\].cutoffs"),
        ("[0.5, 1.5]", "[0.0, 0.5]", r"network\[0\].cutoffs"),
        ("sigma_w = [", "sigma_b = 0.1\nsigma_w = [", r"network\[0\].sigma_b"),
        ("inputs = 2", "inputs = 9", "checks.inputs"),
        ("members = 640", "members = 3", "members"),
        ("[60, 120, 240, 480]", "[60, 240, 120, 480]", "checks.widths"),
        ("[60, 120, 240, 480]", "[60, 120]", "checks.widths"),
        ('["resample"]', '["drop"]', "map.modes"),
        ("train = 4", "train = 4\ninput_mean = [1.0, 2.0, 3.0]", "data.input_mean"),
        ("target = ", 'nothing = "x"\ntarget = ', "data.nothing"),
        ('"x1**2 - x2/2"', '"x9"', "data.target"),
    ],
)
def test_bad_keys_are_named_in_one_line(tmp_path, old, new, key):
    assert old in SMALL
    with pytest.raises(BadInput, match=f"^{key}") as caught:
        loaded(tmp_path, SMALL.replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_one_hidden_layer_only(tmp_path):
    deeper = SMALL.replace("widths = [120]", "widths = [120, 120]").replace("[1.4142135623730951, 1.0]", "1.0")
    with pytest.raises(BadInput, match=r"^network\[0\].widths: expected one hidden layer, got 2"):
        loaded(tmp_path, deeper)


def test_diverging_training_is_named(tmp_path):
    experiment = loaded(tmp_path, SMALL.replace("learning_rate = 0.2", "learning_rate = 500.0"))
    with pytest.raises(BadInput, match=r"^training.learning_rate"):
        run(experiment, threads=1)
