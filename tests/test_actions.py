"""Actions along both flows: against exact integrals, exactly solvable networks and ensembles; red when a term is missing."""

import itertools

import numpy as np
import pytest
from scipy import integrate, stats

import fieldflow as ff
from fieldflow.checks import action_members as members
from fieldflow.errors import BadInput, NotPositiveDefinite
from fieldflow.experiment import load_experiment, template
from fieldflow.formulas import compiled
from fieldflow.numeric.symmetric import unpacked
from fieldflow.runner import run

NET = ff.MLP(2, depth=1, activation="relu", sigma_w=(1.3, 0.8))
X, Y = np.array([[0.4, -1.0], [1.3, 0.2], [-0.7, 1.5]]), np.array([1.0, 0.2, -0.6])
MESH = np.array([[2.0, 1.0], [-1.5, 1.2], [-0.5, -2.0]])


def law(steps, samples=2**13, seed=0, mode="resample", **fisher):
    flow = ff.TrainingFlow(NET, X, Y, learning_rate=0.4, steps=steps)
    return ff.FiniteWidth(ff.ShellFlow(flow, mode=mode, **fisher), samples=samples, seed=seed)


# Cumulants on a mesh


@pytest.mark.parametrize("mode", ["resample", "prune"])
def test_the_diagonal_of_the_tensors_is_the_law_at_single_points(mode):
    found = law(12, samples=512, mode=mode)
    tensors, single = found.cumulants(MESH, [0.0, 0.3]), found.corrections(MESH, [0.0, 0.3])
    places = np.arange(len(MESH))
    for name, other, rank in (
        ("mean", "mean", 1), ("covariance", "variance", 2), ("third", "third_cumulant", 3), ("fourth", "fourth_cumulant", 4)
    ):  # fmt: skip
        for part in ("value", "std_error"):
            tensor = getattr(getattr(tensors, name), part)
            np.testing.assert_allclose(
                tensor[(slice(None), *[places] * rank)], getattr(getattr(single, other), part), rtol=1e-9
            )


def test_the_tensors_are_sums_over_pairings():
    """Written out from the derivatives along each neuron, one permutation after the other."""
    found = law(12, samples=512)
    tensors = found.replicates(MESH, np.array([0.0, 0.3]))
    (slopes, *_) = list(found._neurons(MESH, np.array([0.0, 0.3])))
    mean, covariance = slopes[1].mean, slopes[1].covariance
    third, fourth = np.zeros((3,) * 3), np.zeros((3,) * 4)
    for a, b, c in itertools.product(range(3), repeat=3):
        for i, j, k in ((a, b, c), (b, a, c), (c, a, b)):
            third[a, b, c] += np.mean(mean[:, i] * covariance[:, j, k])
    for a, b, c, d in itertools.product(range(3), repeat=4):
        for i, j, k, n in ((a, b, c, d), (a, c, b, d), (a, d, b, c)):
            fourth[a, b, c, d] += np.mean(covariance[:, i, j] * covariance[:, k, n])
    np.testing.assert_allclose(tensors.third[0, 1], third, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(tensors.fourth[0, 1], fourth, rtol=1e-11, atol=1e-13)


def moments_of_a_unit(points):
    """Return E Π h(x_a) over a ReLU unit of NET at two or four points, by the angle of its weights; E r², E r⁴ are 2, 8."""
    scaled = 1.3 / np.sqrt(2.0) * np.array(points)
    kinks = np.unique(
        np.mod(np.concatenate([np.arctan2(scaled[:, 1], scaled[:, 0]) + s * np.pi / 2 for s in (-1, 1)]), 2 * np.pi)
    )

    def product(angle):
        return np.prod(np.maximum(scaled @ np.array([np.cos(angle), np.sin(angle)]), 0.0))

    edges = [0.0, *kinks, 2 * np.pi]
    total = sum(integrate.quad(product, a, b, epsabs=1e-13)[0] for a, b in itertools.pairwise(edges))
    return {2: 2.0, 4: 8.0}[len(points)] * total / (2 * np.pi)


def test_before_training_kappa_4_is_exact_at_every_width():
    """N κ₄ = σ_w⁴ [3⟨hhhh⟩ - Σ₃⟨hh⟩⟨hh⟩] by quadrature; half of it is many standard errors away."""
    found = law(0, samples=2**15).cumulants(MESH)
    for indices in ((0, 0, 0, 0), (0, 0, 1, 1), (0, 1, 2, 2)):
        pairs = {
            pair: moments_of_a_unit(MESH[list(pair)]) for pair in itertools.combinations_with_replacement(range(3), 2)
        }
        a, b, c, d = indices
        products = pairs[a, b] * pairs[c, d] + pairs[a, c] * pairs[b, d] + pairs[a, d] * pairs[b, c]
        expected = 0.8**4 * (3.0 * moments_of_a_unit(MESH[list(indices)]) - products)
        value, error = found.fourth.value[indices], found.fourth.std_error[indices]
        assert abs(value - expected) < 5.0 * error
        assert abs(value - 0.5 * expected) > 8.0 * error
    assert np.all(found.third.value == 0.0)
    assert np.all(np.abs(found.covariance.value) < 1e-12)


# The action to order 1/N


def test_couplings_at_one_point_are_the_rules_typed_here():
    found = law(12)
    action = ff.FlowAction(found, MESH[:1], 0.3)
    single = found.corrections(MESH[:1], 0.3)
    sigma = float(action.covariance().value[0, 0])
    k3, k4 = single.third_cumulant.value[0], single.fourth_cumulant.value[0]
    g = action.couplings(50)
    expected = {1: k3 / (2 * sigma**2), 2: k4 / (4 * sigma**3), 3: -k3 / (6 * sigma**3), 4: -k4 / (24 * sigma**4)}
    for r, value in expected.items():
        assert g[r].value.item() == pytest.approx(value / 50, rel=1e-9)
    assert g[4].std_error.item() == pytest.approx(single.fourth_cumulant.std_error[0] / 24 / sigma**4 / 50, rel=1e-9)
    form = 1 / sigma + (k4 / (2 * sigma**3) - single.variance.value[0] / sigma**2) / 50
    assert action.quadratic_form(50).value.item() == pytest.approx(form, rel=1e-9)


def test_the_action_has_the_correlators_it_was_made_from():
    """Round trip on the mesh: what is missed falls as 1/N², while what is kept falls as 1/N."""
    action = ff.FlowAction(law(12), MESH, 0.3)
    missed = []
    for width in (10**4, 10**5):
        g = {r: found.value for r, found in action.couplings(width).items()}
        covariance = action.covariance(width).value
        back = ff.correlators(covariance, g, 1, counting="trained")
        tensors = action.law.cumulants(MESH, 0.3)
        errors = [np.abs(back[1]).max(), np.abs(back[2] - covariance).max()]
        errors += [np.abs(back[n] - part.value / width).max() for n, part in ((3, tensors.third), (4, tensors.fourth))]
        form = np.linalg.inv(covariance) + 2.0 * g[2]
        missed.append([*errors, np.abs(form - action.quadratic_form(width).value).max()])
    kept = np.log10(np.array(missed[0])[2:] / np.array(missed[1])[2:])
    assert kept == pytest.approx([2.0] * 3, abs=0.02)
    # The first two cancel at order 1/N, the two-point function with g_2 and the mean with g_1.
    assert max(missed[1][:2]) < 1e-7


def test_the_quadratic_form_and_the_couplings_against_the_integral():
    """Correlators of e^{-S} at one point by quadrature: errors fall as 1/N²; without g_2, or g_1, as 1/N."""
    sigma, excess, k3, k4 = 1.2, 0.9, 0.6, -1.5

    def errors(width, left_out=0):
        g = ff.couplings({2: sigma, 3: k3, 4: k4}, counting="trained")
        g = {r: float(value) / width * (r != left_out) for r, value in g.items()}
        form = float(compiled("action.quadratic_form")([[1 / sigma]], [[excess]], [[width * g[2]]], width)[0, 0])

        def weight(x, n):
            return x**n * np.exp(-(form * x**2 / 2 + g[1] * x + g[3] * x**3 + g[4] * x**4))

        raw = [integrate.quad(weight, -14, 14, args=(n,), epsabs=1e-13, epsrel=1e-12, limit=200)[0] for n in range(5)]
        m1, m2, m3, m4 = (value / raw[0] for value in raw[1:])
        kappa = [m1, m2 - m1**2, m3 - 3 * m1 * m2 + 2 * m1**3]
        kappa.append(m4 - 4 * m1 * m3 - 3 * m2**2 + 12 * m1**2 * m2 - 6 * m1**4)
        return np.abs(np.array(kappa) - [0.0, sigma + excess / width, k3 / width, k4 / width])

    def powers(**options):
        return np.log10(errors(10**3, **options) / errors(10**4, **options))

    assert powers() == pytest.approx([2.0] * 4, abs=0.1)
    assert powers(left_out=2)[1] == pytest.approx(1.0, abs=0.1)
    assert powers(left_out=1)[0] == pytest.approx(1.0, abs=0.1)


def test_an_array_of_cut_offs_adds_a_leading_axis():
    both, one = ff.FlowAction(law(12), MESH, [0.0, 0.3]), ff.FlowAction(law(12), MESH, 0.3)
    for r, found in both.coefficients().items():
        assert found.value.shape == (2, *[3] * r)
        np.testing.assert_allclose(found.value[1], one.coefficients()[r].value, rtol=1e-12)
    np.testing.assert_array_equal(both.covariance().value, law(12).shell.covariance(MESH, cutoff=[0.0, 0.3]))
    assert np.all(both.covariance().std_error == 0.0)
    np.testing.assert_allclose(one.mean(100).value, one.mean().value + law(12).cumulants(MESH, 0.3).mean.value / 100)
    np.testing.assert_allclose(both.quadratic_form().value, np.linalg.inv(both.covariance().value))


@pytest.mark.statistical
@pytest.mark.parametrize("mode", ["resample", "prune"])
def test_errors_are_the_spread_between_seeds(mode):
    """Of a shell kernel that is sampled as well, whose part of the error dominates that of g_2."""
    net = ff.MLP(3, depth=1, activation="relu")
    x = np.array([[0.4, -1.0, 0.3], [1.3, 0.2, -0.5]])
    mesh = np.array([[1.0, 1.0, -0.5], [-1.0, 0.4, 1.2]])
    found = []
    for seed in range(12):
        flow = ff.TrainingFlow(net, x, [1.0, -0.5], learning_rate=0.4, steps=10)
        shell = ff.ShellFlow(flow, fisher=mesh, mode=mode, samples=1024, seed=seed)
        assert shell.method == "quasi-Monte Carlo"
        found.append(ff.FlowAction(ff.FiniteWidth(shell, samples=2048, seed=100 + seed), mesh, 0.4).coefficients())
    for r in (1, 2, 3, 4):
        values = np.array([entry[r].value[(0,) * r] for entry in found])
        claimed = np.sqrt(np.mean([entry[r].std_error[(0,) * r] ** 2 for entry in found]))
        ratio = values.std(ddof=1) / claimed
        low, high = np.sqrt(stats.chi2.ppf([1e-5, 1 - 1e-5], 11) / 11)
        assert low < ratio < high


def test_bad_input_is_named():
    with pytest.raises(BadInput, match=r"^law: expected a fieldflow\.FiniteWidth, got ShellFlow"):
        ff.FlowAction(law(1).shell, MESH)
    with pytest.raises(BadInput, match=r"^x: expected shape \(n, 2\)"):
        ff.FlowAction(law(1), [[1.0]])
    with pytest.raises(BadInput, match=r"^cutoff: expected non-negative"):
        ff.FlowAction(law(1), MESH, -1.0)
    with pytest.raises(BadInput, match=r"^width: expected an integer from 1"):
        ff.FlowAction(law(1, samples=256), MESH).couplings(0)
    with pytest.raises(BadInput, match=r"^cumulants\[2\]: rows 0 and 1 are equal"):
        ff.FlowAction(law(1, samples=256), [[1.0, 0.0], [1.0, 0.0]]).coefficients()
    with pytest.raises(NotPositiveDefinite, match="condition number"):
        ff.FlowAction(law(1, samples=256), [[1.0, 0.0], [2.0, 0.0]]).coefficients()
    with pytest.raises(BadInput, match=r"^fourth cumulants on 3000 points: needs"):
        law(1).cumulants(np.random.default_rng(0).normal(size=(3000, 2)))


# Measured couplings


def test_couplings_of_samples_of_a_known_law():
    """φ = s·z, two points, s² = 1 ± 0.6: κ₄ = 0.36 Σ₃ΣΣ, so g_2 = ¼·0.36·(m + 2)Σ^{-1}; Gaussian samples are far off."""
    rng = np.random.Generator(np.random.Philox(5))
    sigma = np.array([[1.0, 0.4], [0.4, 2.0]])
    scale = np.sqrt(np.where(rng.random(40_000) < 0.5, 0.4, 1.6))
    field = scale[:, None] * (rng.normal(size=(40_000, 2)) @ np.linalg.cholesky(sigma).T)
    found = members.sampled(field, sigma, 100)[:, 0]
    inverse = np.linalg.inv(sigma)
    pairs = np.einsum("ab,cd->abcd", inverse, inverse)
    quartic = -0.36 / 24 * (pairs + pairs.transpose(0, 2, 1, 3) + pairs.transpose(0, 3, 2, 1))
    where = members.places(2)
    expected = {"g2": 0.25 * 0.36 * 4 * inverse, "g4": quartic}
    for name, rank in (("g1", 1), ("g2", 2), ("g3", 3), ("g4", 4)):
        value = unpacked(found[:, where[name]].mean(axis=0), 2, rank)
        error = unpacked(stats.sem(found[:, where[name]], axis=0), 2, rank)
        pulls = np.abs(value - expected.get(name, 0.0)) / error
        assert np.max(pulls) < 4.5
        if name in expected:
            assert np.max(np.abs(value) / error) > 8.0


def test_linear_parts_are_taken_from_the_two_point_function_alone():
    rng = np.random.Generator(np.random.Philox(6))
    mean, spread = rng.normal(size=(400, 1, 2)), rng.normal(size=(400, 1, 2, 2))
    covariance = 3.0 * np.eye(2) + 0.1 * (spread + spread.transpose(0, 1, 3, 2))
    limit = members.Limit(np.zeros((1, 2)), np.eye(2)[None])
    fixed = np.broadcast_to(0.2 * np.eye(2), covariance.shape)
    with_line = members.measured(members.Given(mean, covariance, 0 * mean, fixed), limit, 7, 40)
    without = members.measured(members.Given(mean, covariance - fixed, 0 * mean, 0 * covariance), limit, 7, 40)
    np.testing.assert_allclose(with_line, without, rtol=1e-9, atol=1e-9)


# The experiment

SMALL = {
    "scan_members = 3000": "scan_members = 800",
    "blocks = 150 ": "blocks = 80 ",
    "initial_members = 150000": "initial_members = 16000",
    "\nmembers = 4000": "\nmembers = 400",
    "train = 8": "train = 3",
    "steps = [0, 1, 3, 12, 30, 100]": "steps = [0, 2, 8]",
    "cutoffs = [0, 0.25, 0.75, 1.5]": "cutoffs = [0, 0.75]",
    "points = [[2.5, 1.5], [-1.5, 2.0], [-1.0, -2.5]]": "points = [[2.5, 1.5], [-1.5, 2.0]]",
    "[250, 500, 1000, 2000, 4000]": "[150, 300, 600, 1200]",
    "neurons = 131072": "neurons = 8192",
    "widths = [20]": "widths = [12]",
}


def text():
    body = template("actions").split("[quick]")[0]
    for old, new in SMALL.items():
        assert old in body
        body = body.replace(old, new)
    return body


def loaded(folder, body):
    path = folder / "experiment.toml"
    path.write_text(body, encoding="utf-8")
    return load_experiment(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return run(loaded(tmp_path_factory.mktemp("small"), text()), threads=1)


def statuses(result):
    return {name: joint["status"] for name, joint in result.results["joint"].items()}


@pytest.mark.statistical
def test_every_coupling_agrees_along_both_flows(small):
    found = statuses(small)
    assert set(found.values()) == {"agrees"}
    compared = {f"relu/{name}-{flow}" for name in members.QUANTITIES for flow in ("training", "shell")}
    assert set(found) == compared | {"relu/conditional-law", "relu/initial-g1g2", "relu/initial-g3g4"}
    assert [picture["name"] for picture in small.figures["pictures"]] == ["training", "shell", "extrapolation"]


@pytest.mark.statistical
def test_a_pruned_member_with_fewer_stiff_neurons_than_points_is_compared_where_it_lives(tmp_path):
    found = statuses(run(loaded(tmp_path, text().replace('mode = "resample"', 'mode = "prune"', 1)), threads=2))
    assert "disagrees" not in found.values()
    assert found["relu/conditional-law"] == "agrees"


@pytest.mark.statistical
def test_one_point_and_one_cut_off_have_one_component(tmp_path):
    found = statuses(run(loaded(tmp_path, text().replace("[[2.5, 1.5], [-1.5, 2.0]]", "[[2.5, 1.5]]"))))
    assert len(found) == 2 * len(members.QUANTITIES) + 3
    assert "disagrees" not in found.values()


def test_numbers_do_not_depend_on_threads(small, tmp_path):
    again = run(loaded(tmp_path, text()), threads=2)
    assert again.to_json() == small.to_json()
    assert again.figures == small.figures


@pytest.mark.statistical
def test_pairings_left_out_turn_red(tmp_path, monkeypatch):
    """κ₄ with one pairing of three, symmetrised: seen in g_2, g_4, the quadratic form, and exactly before training."""

    def broken(name):
        if name == "finite_width.kappa4":
            return lambda first, second, third, width: compiled(name)(first, second, third, 3.0 * width)
        return compiled(name)

    monkeypatch.setattr("fieldflow.finite_width.compiled", broken)
    found = statuses(run(loaded(tmp_path, text()), threads=2))
    red = {name for name, status in found.items() if status == "disagrees"}
    along = {f"relu/{name}-{flow}" for name in ("g2", "g4", "quadratic") for flow in ("training", "shell")}
    assert red == along | {"relu/initial-g1g2", "relu/initial-g3g4"}


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("widths = [12]", "widths = [12, 12]", "network.sigma_w"),
        ("\nmembers = 400", "\nmembers = 100", "members"),
        ("steps = [0, 2, 8]", "steps = [2, 8]", "steps|training.steps"),
        ("steps = [0, 2, 8]", "steps = [0, 2.5]", "steps|training.steps"),
        ("cutoffs = [0, 0.75]", "cutoffs = [0.5, 0.75]", "cutoffs|shell.cutoffs"),
        ("[[2.5, 1.5], [-1.5, 2.0]]", "[[2.5], [1.0]]", "data.points"),
        ("[[2.5, 1.5], [-1.5, 2.0]]", "[[2.5, 1.5], [2.5, 1.5]]", "data.points: expected different"),
        ('"x1**2 - x2/2"', '"x9"', "target|data.target"),
        ("[150, 300, 600, 1200]", "[300, 150, 600, 1200]", "widths|checks.widths"),
        ("scan_members = 800", "scan_members = 801", "scan_members|checks.scan_members"),
        ("blocks = 80 ", "blocks = 3 ", "checks.blocks"),
        ('mode = "resample"', 'mode = "drop"', "shell.mode"),
    ],
)
def test_bad_keys_are_named_in_one_line(tmp_path, old, new, key):
    assert old in text()
    with pytest.raises(BadInput, match=f"^({key})") as caught:
        loaded(tmp_path, text().replace(old, new, 1))
    assert "\n" not in str(caught.value)
