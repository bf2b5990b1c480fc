"""The main job on small experiments: agreement, red when the code is broken, byte-identical files, round trip."""

import json
from pathlib import Path

import numpy as np
import pytest

import fieldflow as ff
from fieldflow.checks import case as case_module
from fieldflow.checks import infinite_width, lower_layers, measured
from fieldflow.checks.sampling import sample
from fieldflow.conditional import MemberFlow
from fieldflow.experiment import load_experiment
from fieldflow.formulas import compiled
from fieldflow.numeric import ensemble as numeric_ensemble
from fieldflow.studies.shell import case_of

SMALL = """
name = "small"
seed = 7
members = 320
[[network]]
label = "net"
d_in = 2
widths = [6, 200]
activation = ["identity", "relu"]
sigma_w = 1.5
sigma_b = [0.2, 0.0, {readout_bias}]
[data]
target = "x1**2 - x2/2"
train = 12
test = 10
seed = 3
[training]
method = "{method}"
learning_rate = {rate}
steps = 300
[fisher]
inputs = 4
[shell]
cutoffs = [0, 0.05, 0.3, 1, 4, 1000]
mode = "{mode}"
[checks]
inputs = 3
"""

SCAN = """
name = "scan"
seed = 5
members = 320
[[network]]
label = "d2"
d_in = 2
widths = [300]
activation = "relu"
sigma_w = [1.4142135623730951, 1.0]
[data]
target = "x1**2 - x2/2 + 1/2"
train = 10
test = 8
seed = 1
[training]
learning_rate = 0.5
steps = 100
[fisher]
law = "gaussian"
[shell]
cutoffs = [0, 0.1, 0.4, 1.6]
[checks]
inputs = 3
widths = [250, 500, 1000, 2000]
scan_members = 400
"""


def written(folder: Path, text: str, **values: object) -> Path:
    path = folder / "experiment.toml"
    path.write_text(
        text.format(**({"method": "sgd", "mode": "resample", "readout_bias": 0.0, "rate": 0.005} | values)),
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return ff.run(written(tmp_path_factory.mktemp("small"), SMALL))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return ff.run(written(tmp_path_factory.mktemp("scan"), SCAN))


@pytest.mark.statistical
@pytest.mark.parametrize("method", ["gd", "sgd", "gradient_flow"])
@pytest.mark.parametrize("mode", ["resample", "prune"])
def test_exact_families_agree_with_a_readout_bias(tmp_path, method, mode):
    rate = 0.005 if method == "sgd" else 0.03
    result = ff.run(written(tmp_path, SMALL, method=method, mode=mode, readout_bias=0.6, rate=rate))
    exact = {name: entry for name, entry in result.results["joint"].items() if entry["claim"] == "exact"}
    assert len(exact) >= 3
    assert {entry["status"] for entry in exact.values()} == {"agrees"}
    assert result.exit_code == 0


@pytest.mark.statistical
def test_infinite_width_families_agree_and_could_have_failed(scan):
    joint = scan.results["joint"]
    for name in ("d2/infinite-width", "d2/critical-cutoff", "d2/sloppy-fraction"):
        assert joint[name]["status"] == "agrees"
        assert all(abs(shift) >= 8 for shift in joint[name]["negative_controls"].values())
    assert scan.exit_code == 0


@pytest.mark.statistical
def test_redrawing_from_the_wrong_law_turns_the_exact_family_red(tmp_path, monkeypatch):
    """Break the sampler: sloppy weights keep their trained values."""
    original = numeric_ensemble.Shell

    def never(cutoffs, inputs, noise_variance, resample):
        return original(np.zeros_like(cutoffs) + np.arange(len(cutoffs)) * 5e-324, inputs, noise_variance, resample)

    monkeypatch.setattr("fieldflow.ensemble.Shell", never)
    result = ff.run(written(tmp_path, SMALL))
    assert result.results["joint"]["net/conditional-law"]["status"] == "disagrees"
    assert result.exit_code == 1


@pytest.mark.statistical
def test_a_wrong_factor_in_the_conditional_law_turns_it_red(tmp_path, monkeypatch):
    original = MemberFlow.law
    monkeypatch.setattr(
        MemberFlow, "law", lambda self, f, c, *, mode, factor=1.0: original(self, f, c, mode=mode, factor=0.9)
    )
    result = ff.run(written(tmp_path, SMALL))
    assert result.results["joint"]["net/trained-law"]["status"] == "disagrees"
    assert result.exit_code == 1


@pytest.mark.statistical
def test_a_loose_partition_turns_the_strict_partition_red(tmp_path, monkeypatch):
    """Break the partition: λ <= Λ is sloppy, so that Λ = 0 removes the units with λ = 0."""
    text = SMALL.replace("sigma_b = [0.2, 0.0, {readout_bias}]", "sigma_b = 0.0")
    text = (
        text.replace("train = 12", "train = 12\ninput_mean = 1.0")
        .replace("inputs = 4", "inputs = 2")
        .replace("{rate}", "0.002")
    )
    assert ff.run(written(tmp_path, text)).results["joint"]["net/strict-partition"]["status"] == "agrees"
    original = numeric_ensemble.Shell

    def loose(cutoffs, inputs, noise_variance, resample):
        return original(np.nextafter(cutoffs, np.inf), inputs, noise_variance, resample)

    monkeypatch.setattr("fieldflow.ensemble.Shell", loose)
    result = ff.run(written(tmp_path, text))
    assert result.results["joint"]["net/strict-partition"]["status"] == "disagrees"
    assert result.exit_code == 1


@pytest.mark.statistical
def test_a_wrong_factor_in_z_turns_the_infinite_width_families_red(tmp_path, monkeypatch):
    original = compiled("shell.homogeneous_Z")

    def wrong(name):
        return (lambda *values: 0.5 * original(*values)) if name == "shell.homogeneous_Z" else compiled(name)

    monkeypatch.setattr("fieldflow.shell_kernel.compiled", wrong)
    result = ff.run(written(tmp_path, SCAN))
    assert result.results["joint"]["d2/infinite-width"]["status"] == "disagrees"
    assert result.exit_code == 1


def test_moments_are_the_diagonal_of_the_conditional_law(tmp_path):
    case = case_of(load_experiment(written(tmp_path, SMALL, readout_bias=0.6)), 0, 1)
    member = case_module.member_of(case, 3)
    stated = np.ascontiguousarray(member.test[:, :3])
    mean, variances = member.flow.moments(member.test, case.grid)
    for mode in ("resample", "prune"):
        law = member.flow.law(stated, case.grid, mode=mode)
        np.testing.assert_allclose(mean[:, :3, 0].reshape(-1), law.mean[:, 0], rtol=1e-9, atol=1e-12)
        squared = np.sum(law.loading**2, axis=1)
        np.testing.assert_allclose(variances[mode][:, :3].reshape(-1), squared, rtol=1e-8, atol=1e-12)


def test_conditional_covariance_is_the_catalogued_formula(tmp_path):
    """Loadings and ``shell.covariance`` are two routes to one covariance."""
    case = case_of(load_experiment(written(tmp_path, SMALL)), 0, 1)
    member = case_module.member_of(case, 1)
    stated, grid = np.ascontiguousarray(member.test[:, :3]), np.array([0.3])
    law = member.flow.law(stated, grid, mode="resample")
    stiff = (member.diagonal >= 0.3)[:, None] * stated
    response = member.flow.seen.T @ stiff
    covariance = compiled("shell.covariance")(
        stated.T @ stated, response, response, member.flow.matrix, member.flow.gram
    )
    np.testing.assert_allclose(law.loading @ law.loading.T, covariance, rtol=1e-9, atol=1e-11)


def test_results_are_schema_one_and_plain(small):
    results = json.loads(small.to_json())
    assert results["schema"] == 1
    assert set(results) >= {"experiment", "seed", "rng_version", "members", "conventions", "checks", "joint"}
    assert results["members"] == {"excluded": {"diverged": 0}, "requested": 320, "used": 320}
    keys = "name family claim equation formula_digest cutoff input width prediction prediction_std_error measurement"
    keys += " std_error n pull p_value negative_control_pull status"
    for check in results["checks"]:
        assert set(check) == set(keys.split())
        assert check["claim"] in ("exact", "asymptotic", "literature")
        assert check["status"] in ("agrees", "disagrees", "underpowered")
    for joint in results["joint"].values():
        assert set(joint) >= {"chi2", "dof", "p_value", "holm_min_p", "status"}
    at_zero = [c for c in results["checks"] if c["name"].startswith("variance") and c["cutoff"] == 0.0]
    assert at_zero
    assert all(check["negative_control_pull"] is None for check in at_zero)


def test_files_are_byte_identical_for_any_number_of_threads(tmp_path, small):
    path = written(tmp_path, SMALL)
    folders = [ff.run(path, threads=threads).save(tmp_path / f"out{threads}") for threads in (1, 3)]
    files = sorted(p.relative_to(folders[0]) for p in folders[0].rglob("*") if p.is_file())
    assert {str(f) for f in files} >= {"results.json", "report.tex", "references.bib", "tables/settings.tex"}
    assert {str(f) for f in files} >= {f"figures/fig{n}.{e}" for n in ("08", "09", "10", "11") for e in ("pdf", "png")}
    for file in files:
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes(), file
    text = (folders[0] / "results.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    loaded = ff.load(folders[0])
    assert loaded.to_json() == text
    assert loaded.exit_code == small.exit_code
    assert [axes.get_xlabel() for axes in loaded.plot("fig09").axes]
    assert "net/conditional-law" in str(list(loaded.table().columns[0].cells))


def test_saving_replaces_only_what_fieldflow_wrote(tmp_path, small):
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(ff.errors.BadInput, match=r"^out"):
        small.save(foreign)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    own = small.save(tmp_path / "own")
    (own / "tables" / "notes.txt").write_text("mine", encoding="utf-8")
    marker = own / ".fieldflow"
    marker.write_text(marker.read_text(encoding="utf-8") + "tables/stale.tex\n", encoding="utf-8")
    (own / "tables" / "stale.tex").write_text("of an older version", encoding="utf-8")
    small.save(own)
    assert (own / "tables" / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert not (own / "tables" / "stale.tex").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "own"]


def test_a_failing_save_leaves_the_old_result(tmp_path, small, monkeypatch):
    own = small.save(tmp_path / "own")
    before = (own / "results.json").read_bytes()

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fieldflow.result.report.write", fail)
    with pytest.raises(KeyboardInterrupt):
        small.save(own)
    assert (own / "results.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["own"]


def test_more_members_leave_the_earlier_ones(tmp_path):
    path = written(tmp_path, SMALL)
    few = sample(case_of(load_experiment(path, members=70), 0, 1), lambda *_: None)
    many = sample(case_of(load_experiment(path, members=140), 0, 2), lambda *_: None)
    assert (many.outputs.first[:70] == few.outputs.first).all()
    assert (many.loss.first[:70] == few.loss.first).all()


def test_the_standing_follows_the_joint_statement(tmp_path):
    """What is told meanwhile ends as χ² of the family, and every piece of members is told."""
    told = []
    result = ff.run(written(tmp_path, SMALL), standing=told.append)
    joint = result.results["joint"]["net/conditional-law"]
    later = [standing.family for standing in told[5:]]
    told = told[:5]
    assert {standing.family for standing in told} == {"net/conditional-law"}
    assert set(later) == set(result.results["joint"]) - {"net/literature"}
    assert told[-1].dof == joint["dof"] > told[0].dof > 0
    assert told[-1].chi2 == pytest.approx(joint["chi2"], rel=1e-12)
    assert (told[-1].p_value, told[-1].status) == (pytest.approx(joint["p_value"], rel=1e-6), "agrees")
    assert "net/conditional-law so far: χ²/dof = " in str(told[-1])


def test_large_ensembles_are_judged_by_all_their_members(monkeypatch, tmp_path):
    """With more members than are kept one by one, means are the same to rounding, medians to a bin, errors alike."""
    path = written(tmp_path, SMALL)
    case = case_of(load_experiment(path), 0, 2)
    whole = sample(case, lambda *_: None)
    monkeypatch.setattr(measured, "KEPT", 128)
    part = sample(case, lambda *_: None)
    assert (part.outputs.kept, part.outputs.count, whole.outputs.kept) == (128, 320, 320)
    np.testing.assert_allclose(part.outputs.mean, whole.outputs.mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(part.outputs.std, whole.outputs.std, rtol=1e-12)
    np.testing.assert_allclose(part.outputs.central(4), whole.outputs.central(4), rtol=1e-12)
    width = whole.outputs.std / 8.0
    assert np.all(np.abs(part.outputs.quantile(0.5) - whole.outputs.quantile(0.5)) <= width)
    edges = np.linspace(-2.0, 2.0, 9)
    counts = part.outputs.counts(0, edges), whole.outputs.counts(0, edges)
    assert np.abs(counts[0] - counts[1]).max() < 6.0
    errors = [
        quantity.bootstrap(lambda s: np.mean(s, axis=0), seed=1, resamples=2000)[0]
        for quantity in (part.outputs, whole.outputs)
    ]
    assert np.all(errors[0] > 0.5 * whole.outputs.mean_error)
    relative = 1.0 / np.sqrt(2.0 * 2000)  # standard error of a standard deviation of 2000 resamples
    assert np.all(np.abs(errors[1] / whole.outputs.mean_error - 1.0) < 5.0 * relative)
    few = part.outputs.first.std(axis=0) / np.sqrt(320)
    assert np.all(np.abs(errors[0] / few - 1.0) < 5.0 * relative)
    assert np.any(
        np.abs(errors[0] * np.sqrt(320 / 128) / few - 1.0) > 8.0 * relative
    )  # without the share of members kept
    monkeypatch.setattr("fieldflow.studies.shell.DRAWS", 64)
    monkeypatch.setattr(lower_layers, "DRAWS", 64)
    result = ff.run(path)
    assert result.exit_code == 0
    assert result.results["members"]["used"] == 320


def test_interrupt_stops_the_pool(tmp_path):
    case = case_of(load_experiment(written(tmp_path, SMALL)), 0, 2)

    def stop(stage, done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(case, stop)


def test_mixture_quantile_and_density():
    mean, variance = np.array([[0.0], [4.0]]), np.array([[1.0], [1.0]])
    assert lower_layers.mixture_quantile(mean, variance, 0.5)[0] == pytest.approx(2.0)
    at = np.linspace(-8, 12, 4001)
    density = lower_layers.mixture_density(mean[:, 0], variance[:, 0], at)
    assert density.sum() * (at[1] - at[0]) == pytest.approx(1.0)


def test_critical_crossing_of_a_known_curve():
    extra = np.array([0.98, 1.0, 1.02])
    # L(Λ) = Λ² with L(0) = 0, L(∞) = 10, excess 0.1: the crossing is at Λ = 1.
    loss = np.concatenate([[0.0], extra**2, [10.0]]) * np.array([[0.9], [1.1]])
    assert infinite_width._crossing(loss, extra, 0.1).mean() == pytest.approx(1.0, abs=1e-9)


def test_bad_arguments_are_named(tmp_path):
    for arguments, key in (({"members": 10}, "members"), ({"threads": 0}, "threads"), ({"seed": -1}, "seed")):
        with pytest.raises(ff.errors.BadInput, match=key):
            ff.run(written(tmp_path, SMALL), **arguments)
    with pytest.raises(ff.errors.BadInput, match="directory"):
        ff.load(tmp_path)
    with pytest.raises(ff.errors.BadInput, match="learning_rate"):
        ff.run(written(tmp_path, SMALL, rate=50.0))
