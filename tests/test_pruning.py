"""Pruning by any rule: shares against sampling, removal weight by weight, the law on ensembles, red when an edge is missing."""

import numpy as np
import pytest
import sympy as sp
from scipy import stats

import fieldflow as ff
from fieldflow.checks import pruning as check
from fieldflow.errors import BadInput, NoClosedForm
from fieldflow.experiment import load_experiment, template
from fieldflow.formulas import compiled
from fieldflow.pruning import PrunedFlow, prune
from fieldflow.runner import run

X = np.random.default_rng(6).normal(size=(6, 3))
Y = X[:, 0] ** 2 - X[:, 2]
THERE = np.array([[1.0, 0.5, -0.3], [-0.4, 0.2, 1.5]])
RULE = {"learning_rate": 0.4, "steps": 150}
RULES = ("random", "magnitude", "fisher", "saliency")


def flow(activation="relu", d_in=3):
    return ff.TrainingFlow(ff.MLP(d_in, depth=1, activation=activation), X[:, :d_in], Y, **RULE)


@pytest.mark.statistical
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("d_in", [1, 3])
def test_shares_against_a_million_weights(d_in, degree):
    """One unit: ω ~ N(0, 1), u ~ Gamma(d/2), λ ∝ u^k; kept share of ω²u^k, and the slope of the kept sum under a shift."""
    rng, count = np.random.default_rng(3), 10**6
    omega, u = rng.normal(size=count), rng.gamma(d_in / 2, size=count)
    scores = {
        "random": rng.uniform(size=count),
        "magnitude": np.abs(omega),
        "fisher": u,
        "saliency": omega**2 * u**degree,
    }
    law = flow("relu" if degree == 1 else sp.Symbol("u") ** 2, d_in)
    for fraction in (0.1, 0.5, 0.95):
        for rule, score in scores.items():
            share = PrunedFlow(law, by=rule).share(fraction)
            weight = omega**2 * u**degree
            kept = weight * (score >= np.quantile(score, fraction))
            residual = kept - share * weight
            error = residual.std() / np.sqrt(count) / weight.mean()
            assert abs(residual.mean() / weight.mean()) < 4.5 * error + 2e-6, (rule, fraction)
            if rule != "random":
                assert abs((kept - (1.0 - fraction) * weight).mean() / weight.mean()) > 8.0 * error


def test_fisher_rule_is_the_information_shell():
    law = flow()
    pruned, shell = PrunedFlow(law, by="fisher"), ff.ShellFlow(law, mode="prune")
    for cutoff in (0.05, 0.3, 1.5):
        fraction = shell.sloppy_fraction(cutoff)
        np.testing.assert_allclose(pruned.mean(THERE, fraction), shell.mean(THERE, cutoff), rtol=1e-10)
        np.testing.assert_allclose(
            pruned.covariance(THERE, fraction=fraction), shell.covariance(THERE, cutoff=cutoff), rtol=1e-9, atol=1e-12
        )
        y = np.array([0.3, -1.0])
        assert pruned.loss(THERE, y, fraction) == pytest.approx(shell.loss(THERE, y, cutoff), rel=1e-10)


def test_in_one_dimension_fisher_information_is_a_magnitude_and_rules_are_ordered():
    fractions = np.array([0.0, 0.2, 0.7, 0.99, 1.0])
    line = flow(d_in=1)
    np.testing.assert_allclose(
        PrunedFlow(line, by="fisher").share(fractions), PrunedFlow(line, by="magnitude").share(fractions), rtol=1e-10
    )
    shares = np.array(
        [PrunedFlow(flow(), by=rule).share(fractions) for rule in ("random", "fisher", "magnitude", "saliency")]
    )
    assert (shares[:, 0] == 1.0).all()
    assert (shares[:, -1] == 0.0).all()
    assert (np.diff(shares[:, 1:-1], axis=0) > 0.0).all()
    assert (np.diff(shares, axis=1) < 0.0).all()
    t = compiled("pruning.magnitude_threshold")(0.7)
    assert t == pytest.approx(stats.norm.ppf(0.85), rel=1e-13)
    assert shares[2, 2] == pytest.approx(1.0 - stats.chi2.cdf(t**2, 3), rel=1e-12)  # E[w² 1{|w| >= t}]


@pytest.mark.parametrize("bias", [0.0, 0.7])
def test_removal_weight_by_weight(bias):
    """Against each member's own weights and slopes, zeroed one by one; a read-out bias stays."""
    net = ff.MLP(3, widths=(20,), activation="erf", sigma_b=(0.3, bias))
    ens = ff.Ensemble(net, members=3, seed=5).train(X, Y, learning_rate=0.1, steps=30)
    fractions = [0.0, 0.25, 0.5, 1.0]
    found = prune(ens, THERE, fractions, by=RULES, fisher=X)
    assert found.shape == (4, 4, 3, 2)
    for index in range(3):
        member = ens.member(index)
        place = np.arange(*member.layout["W2"].indices(10**6))
        weights = member.parameters[place]
        diagonal = np.mean(member.jacobian(X)[:, place] ** 2, axis=0)
        for rule, score in {
            "magnitude": np.abs(weights),
            "fisher": diagonal,
            "saliency": weights**2 * diagonal,
        }.items():
            for i, fraction in enumerate(fractions):
                parameters = member.parameters.copy()
                parameters[place[np.argsort(score)[: int(20 * fraction)]]] = 0.0
                expected = ff.Member(net, parameters).outputs(THERE)
                np.testing.assert_allclose(found[RULES.index(rule), i, index], expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found[0, 0, index], member.outputs(THERE), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found[0, 3, index], found[1, 3, index], atol=1e-14)
    assert np.abs(found[0, 2] - found[1, 2]).max() > 1e-3


def test_same_members_whatever_the_rules_and_threads():
    net = ff.MLP(3, widths=(30,), activation="relu")
    one = ff.Ensemble(net, members=70, seed=2, threads=1).train(X, Y, **RULE)
    two = ff.Ensemble(net, members=70, seed=2, threads=2).train(X, Y, **RULE)
    every = prune(one, THERE, [0.3, 0.6], by=RULES)
    np.testing.assert_array_equal(every, prune(two, THERE, [0.3, 0.6], by=RULES))
    for place, rule in enumerate(RULES):
        np.testing.assert_array_equal(every[place], prune(one, THERE, [0.3, 0.6], by=rule)[0])
    np.testing.assert_allclose(prune(one, THERE, [0.0], by="fisher")[0, 0], one.sample(THERE), rtol=1e-12)


SMALL = {
    "\nmembers = 1000": "\nmembers = 200",
    "[250, 500, 1000, 2000]": "[100, 200, 400, 800]",
    "scan_members = 4000": "scan_members = 1200",
    "test = 100": "test = 5",
    "widths = [1000]": "widths = [200]",
}


def text():
    body = template("pruning").split("[quick]")[0]
    for old, new in SMALL.items():
        assert old in body
        body = body.replace(old, new)
    return body


def loaded(folder, body):
    path = folder / "experiment.toml"
    path.write_text(body, encoding="utf-8")
    return load_experiment(path)


def statuses(result):
    return {name: joint["status"] for name, joint in result.results["joint"].items()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return run(loaded(tmp_path_factory.mktemp("small"), text()), threads=1)


@pytest.mark.statistical
def test_every_rule_agrees_and_could_have_failed(small):
    assert statuses(small) == {f"relu/{rule}": "agrees" for rule in RULES}
    assert [picture["name"] for picture in small.figures["pictures"]] == ["losses", "shares"]
    assert "magnitude 0.965" in small.results["notes"][0]


def test_numbers_do_not_depend_on_threads(small, tmp_path):
    again = run(loaded(tmp_path, text()), threads=2)
    assert again.to_json() == small.to_json()
    assert again.figures == small.figures


@pytest.mark.statistical
def test_edges_left_out_turn_red(tmp_path, monkeypatch):
    """The share of a magnitude without the edges of the removed set: its mean alone is wrong, and is seen."""
    right = check.Limit.cells

    def broken(self, share, truth, *, noise=True):
        cells = right(self, share, truth, noise=noise)
        cells[: len(self.mean)] -= 0.05 * self.mean
        return cells

    monkeypatch.setattr(check.Limit, "cells", broken)
    assert set(statuses(run(loaded(tmp_path, text()), threads=2)).values()) == {"disagrees"}


def test_measured_share_is_a_slope():
    rng = np.random.default_rng(0)
    trained = rng.normal(1.0, 1.0, size=(4000, 3))
    slope, error = check.measured_share(0.4 * trained + 0.5 * rng.normal(size=trained.shape), trained)
    assert abs(slope - 0.4) < 4 * error
    assert error == pytest.approx(0.5 / np.sqrt(np.sum(trained**2)), rel=0.1)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("[0.2, 0.4, 0.6, 0.8, 0.9]", "[0.4, 0.2]", "pruning.fractions"),
        ("[0.2, 0.4, 0.6, 0.8, 0.9]", "[0.5, 1.0]", "pruning.fractions"),
        ("[0.2, 0.4, 0.6, 0.8, 0.9]", "[0.123]", "pruning.fractions"),
        ('["random", "magnitude", "fisher", "saliency"]', '["random", "random"]', "pruning.rules"),
        ('["random", "magnitude", "fisher", "saliency"]', '["best"]', "pruning.rules"),
        ('activation = "relu"', 'activation = "erf"', "network.activation"),
        ('activation = "relu"', 'activation = "step"', "network.activation"),
        ("sigma_b = 0.0 ", "sigma_b = 0.1 ", "network.sigma_b"),
        ("\nmembers = 200", "\nmembers = 20", "members"),
        ("points = [[1.5, 1.0]", "points = [[1.5]", "data.points"),
        ("[100, 200, 400, 800]", "[100, 400, 200, 800]", "checks.widths"),
        ("noise_std = 0.3", "noise_std = -1.0", "data.noise_std"),
    ],
)
def test_bad_keys_are_named_in_one_line(tmp_path, old, new, key):
    body = text()
    assert old in body
    with pytest.raises(BadInput, match=f"^{key}") as caught:
        loaded(tmp_path, body.replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_diverging_training_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"^training\.learning_rate"):
        run(loaded(tmp_path, text().replace("learning_rate = 1.0", "learning_rate = 12.0")), threads=1)


def test_bad_input_is_named():
    net = ff.MLP(3, widths=(30,), activation="relu")
    ens = ff.Ensemble(net, members=2)
    for fractions in ([0.5, 0.2], [-0.1], [1.2], [], 0.5):
        with pytest.raises(BadInput, match=r"^fractions: expected increasing numbers from 0 to 1"):
            prune(ens, THERE, fractions)
    with pytest.raises(BadInput, match=r"^by: expected one of random, magnitude, fisher, saliency, got 'chance'"):
        prune(ens, THERE, [0.5], by="chance")
    with pytest.raises(BadInput, match=r"^ens: expected one output and no cut-off"):
        prune(ens.coarse_grain(0.1, fisher=X), THERE, [0.5])
    with pytest.raises(BadInput, match=r"^ens: training diverged in 2 of 2 members"):
        prune(ens.train(X, Y, learning_rate=900.0, steps=300), THERE, [0.5])
    with pytest.raises(BadInput, match=r"^fraction: expected numbers from 0 to 1"):
        PrunedFlow(flow()).share(1.5)
    with pytest.raises(BadInput, match=r"^by: expected one of"):
        PrunedFlow(flow(), by="age")
    with pytest.raises(NoClosedForm, match=r"^by: \"fisher\" has one share only for"):
        PrunedFlow(flow("erf"), by="fisher")
    biased = ff.MLP(3, depth=1, activation="relu", sigma_b=(0.0, 0.1))
    with pytest.raises(NoClosedForm, match=r"^flow: expected no read-out bias"):
        PrunedFlow(ff.TrainingFlow(biased, X, Y, **RULE))
