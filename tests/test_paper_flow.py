"""The paper's own flow against the three ensembles it might mean; each wrong reading shifts by many standard errors."""

import json

import numpy as np
import pytest

from fieldflow import run
from fieldflow.ensemble import Ensemble, Trained
from fieldflow.errors import BadInput
from fieldflow.experiment import load_experiment, template
from fieldflow.keeper import Keeper
from fieldflow.network import MLP
from fieldflow.paper_flow import (
    FrozenLayer,
    Pass,
    biased_prediction,
    drawn_moments,
    exchangeable_law,
    frozen_moments,
    sample_independent,
    trained_prediction,
)
from fieldflow.shell_kernel import fisher_law

pytestmark = pytest.mark.filterwarnings("ignore:First-class function type feature")


@pytest.fixture(scope="module")
def shared():
    return run("shared-features", members=20_000, threads=1)


@pytest.fixture(scope="module")
def factorised():
    return run("factorised", members=20_000, threads=1, quick=True)


def frozen(sigma_b=0.5):
    net = MLP(2, widths=(12,), activation="relu", sigma_w=(np.sqrt(2.0), 1.0), sigma_b=(0.0, sigma_b))
    generator = np.random.Generator(np.random.Philox(1))
    x = generator.standard_normal((5, 2))
    rule = Trained(x, np.sin(x[:, :1]), 0.4, 60, "gd")
    return FrozenLayer(net, rule, fisher_law(net, "gaussian", 0.0, 1.0, 1.0), 3), generator.standard_normal((3, 2))


@pytest.mark.statistical
def test_a_shared_hidden_layer_makes_the_paper_exact(shared):
    joint = shared.results["joint"]
    assert {entry["status"] for entry in joint.values()} == {"agrees"}
    assert min(min(map(abs, entry["negative_controls"].values())) for entry in joint.values()) > 8
    assert shared.exit_code == 0


@pytest.mark.statistical
def test_factorised_draws_agree_and_76_fails_memberwise(factorised):
    joint = factorised.results["joint"]
    judged = {name: entry for name, entry in joint.items() if entry["claim"] == "exact"}
    assert {entry["status"] for entry in judged.values()} == {"agrees"}
    assert set(judged) == {
        f"factorised/{name}" for name in ("trained-law", "one-partition", "member-wise", "fourth-cumulant")
    }
    assert min(min(map(abs, entry["negative_controls"].values())) for entry in judged.values()) > 8
    assert joint["factorised/member-wise"]["negative_controls"]["(76) with one partition"] > 20
    rows = [row for row in factorised.results["checks"] if row["family"] == "factorised/member-wise"]
    assert max(abs(row["negative_control_pull"] or 0.0) for row in rows) > 20
    assert max(abs(row["pull"]) for row in rows) < 5


@pytest.mark.statistical
def test_the_gap_to_an_independent_ensemble_is_reported_not_judged(factorised):
    entry = factorised.results["joint"]["independent/paper-flow"]
    assert entry["claim"] == "literature"
    assert entry["gates"] is False
    rows = [row for row in factorised.results["checks"] if row["family"] == "independent/paper-flow"]
    start = [row for row in rows if row["cutoff"] == 0.0 and row["name"].startswith("mean")]
    assert min(abs(row["pull"]) for row in start) > 20
    assert any("trained on their own hidden layers" in note for note in factorised.results["notes"])
    assert factorised.exit_code == 0


@pytest.mark.parametrize("name", ["shared-features", "factorised"])
def test_threads_change_no_byte(name):
    study = [run(name, members=1000, threads=threads, quick=True) for threads in (1, 3)]
    assert study[0].to_json() == study[1].to_json()
    assert json.dumps(study[0].figures) == json.dumps(study[1].figures)


def test_blocks_of_72_are_the_elongated_73():
    layer, x = frozen()
    apart, together = biased_prediction(layer, x), trained_prediction(layer.readout, frozen_moments(layer, x))
    np.testing.assert_allclose(apart.mean, together.mean, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(apart.covariance, together.covariance, rtol=1e-10, atol=1e-13)


def test_moments_of_drawn_neurons_against_a_sum_over_many():
    layer, x = frozen(0.0)
    law, cutoff = layer.law, 0.6
    found = drawn_moments(layer.net, x, law, cutoff)
    v = np.random.Generator(np.random.Philox(2)).standard_normal((2_000_000, 2))
    h, stiff = np.maximum(v @ x.T, 0.0), 0.5 * (v**2).sum(axis=1) >= cutoff
    for value, samples in (
        (found.single[0], h * stiff[:, None]),
        (found.pair[:, 0, 0, 0], h * h[:, :1] * stiff[:, None]),
        (found.sloppy[:, 0] / 12, h * h[:, :1] * ~stiff[:, None]),
    ):
        error = samples.std(axis=0) / np.sqrt(len(samples))
        assert np.all(np.abs(samples.mean(axis=0) - value) < 4.5 * error)


def test_independent_members_are_those_of_the_ensemble():
    net = MLP(2, widths=(30,), activation="relu")
    generator = np.random.Generator(np.random.Philox(4))
    x, points = generator.standard_normal((4, 2)), generator.standard_normal((2, 2))
    y, cutoffs = x[:, 0] ** 2, np.array([0.0, 0.5])
    law = fisher_law(net, "gaussian", 0.0, 1.0, 1.0)
    ensemble = Ensemble(net, 70, 9, Trained(x, y[:, None], 0.3, 40, "gd"))
    found = sample_independent(ensemble, law, points, cutoffs, Pass(Keeper(), 70, 1, lambda n: None))
    own = Ensemble(net, 70, 9).train(x, y, learning_rate=0.3, steps=40).coarse_grain(cutoffs, fisher="gaussian")
    np.testing.assert_allclose(np.moveaxis(found.own, 1, 0), own.sample(points), rtol=1e-10, atol=1e-12)
    readout = exchangeable_law(30, found.sums, net.readout_variance)
    assert readout.covariance.shape == (30, 30)
    assert np.ptp(readout.mean) == 0.0


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "factorised",
            "sigma_b = 0.0",
            "sigma_b = 0.5",
            r"network\.sigma_b: expected 0 in a factorised",
        ),
        ("factorised", "cutoffs = [0, ", "cutoffs = [", r"shell\.cutoffs: expected 0 first"),
        ("shared-features", "members = 200000", "members = 50", r"members: "),
        ("shared-features", "width = 40", "width = 1", r"network\.width: "),
        ("shared-features", 'target = "x1**2 - x2/2 + 1/2"', 'target = "x3"', r"data\.target: "),
        ("shared-features", "0.4, 0.8", "0.8, 0.4", r"shell\.cutoffs: expected strictly increasing"),
        ("shared-features", "[shell]", "[shell]\nmode = 'prune'", r"shell\.mode: "),
    ],
)
def test_mistakes_are_one_line_naming_the_key(tmp_path, name, old, new, message):
    text = template(name)
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BadInput, match=message) as caught:
        load_experiment(path)
    assert "\n" not in str(caught.value)
