"""The 1/N expansion: against exactly solvable networks, finite differences and ensembles; red when a term is missing."""

import mpmath
import numpy as np
import pytest
from scipy import integrate, stats

import fieldflow as ff
from fieldflow.checks import finite_width as check
from fieldflow.errors import BadInput, NoClosedForm
from fieldflow.experiment import load_experiment, template
from fieldflow.finite_width import FiniteWidth
from fieldflow.flow import training_matrix
from fieldflow.formulas import compiled
from fieldflow.runner import run

NET = ff.MLP(1, depth=1, activation="relu", sigma_w=(1.3, 0.8))
SCALE = 0.8**2
"""t = SCALE h², h = relu(1.3 z) at x = 1."""


def half_normal_moments(power, start=0.0):
    """Return E[h^power 1{h >= start}] of h = relu(1.3 z), by quadrature."""
    return integrate.quad(lambda z: (1.3 * z) ** power * stats.norm.pdf(z), start / 1.3, np.inf, epsabs=1e-13)[0]


def trained(method, steps, rate=0.15):
    options = {} if method == "posterior" else {"learning_rate": rate, "steps": steps}
    return ff.TrainingFlow(NET, [[1.0]], [0.7], method=method, **options)


def one_point(method, steps, rate=0.15):
    """Return m(q) and v(q, q) of one training point read at itself, typed here: residual factor r(q), m = (1 - r)y."""
    eta = 2.0 * rate

    def mean(stiff, whole):
        if method == "posterior":
            return 0.7 * stiff / whole
        factor = mpmath.exp(-eta * steps * whole) if method == "gradient_flow" else (1.0 - eta * whole) ** steps
        return 0.7 * stiff * (1.0 - factor) / whole

    def variance(stiff, whole):
        gain = mean(stiff, whole) / 0.7
        return whole - 2.0 * gain * stiff + gain**2 * whole

    return mean, variance


def partial(f, at, order):
    with mpmath.workdps(40):
        return float(mpmath.diff(f, at, order))


@pytest.mark.parametrize("level", [0.0, 0.9])
@pytest.mark.parametrize(
    ("method", "steps"), [("gd", 7), ("sgd", 7), ("gradient_flow", 5.0), ("gradient_flow", np.inf), ("gd", 0)]
)
def test_one_training_point_is_a_function_of_two_averages(method, steps, level):
    """E g(q_>, q) = g + (1/2N) Σ g_ij Cov(t_i, t_j): every coefficient by hand from moments of a half normal."""
    start = np.sqrt(level)
    stiff, whole = SCALE * half_normal_moments(2, start), SCALE * half_normal_moments(2)
    joint = SCALE**2 * half_normal_moments(4, start)
    spread = np.array([[joint - stiff**2, joint - stiff * whole], [0.0, SCALE**2 * half_normal_moments(4) - whole**2]])
    spread[1, 0] = spread[0, 1]
    functions = one_point("posterior" if np.isinf(steps) else method, steps)
    if method == "gd" and steps == 0:
        functions = (lambda stiff, whole: 0.0 * whole, lambda stiff, whole: whole)
    first = [np.array([partial(f, (stiff, whole), order) for order in ((1, 0), (0, 1))]) for f in functions]
    second = [
        np.array([[partial(f, (stiff, whole), (2, 0)), partial(f, (stiff, whole), (1, 1))]] * 2) for f in functions
    ]
    for f, matrix in zip(functions, second, strict=True):
        matrix[1] = matrix[0, 1], partial(f, (stiff, whole), (0, 2))
    expected = {
        "mean": 0.5 * np.sum(second[0] * spread),
        "variance": 0.5 * np.sum(second[1] * spread) + first[0] @ spread @ first[0],
        "third_cumulant": 3.0 * first[0] @ spread @ first[1],
        "fourth_cumulant": 3.0 * first[1] @ spread @ first[1],
    }
    shell = ff.ShellFlow(trained(method, steps), fisher=[[1.0]])
    found = FiniteWidth(shell, samples=2**14).corrections([[1.0]], level)
    for name, value in expected.items():
        coefficient = getattr(found, name)
        assert abs(coefficient.value[0] - value) < 5.0 * coefficient.std_error[0] + 1e-7, name


@pytest.mark.parametrize(
    ("method", "steps"), [("gd", 40), ("sgd", 9), ("gradient_flow", 8.0), ("gradient_flow", np.inf)]
)
def test_derivatives_of_training_are_limits_of_differences(method, steps):
    x = np.array([[0.4, -2.0], [2.3, 0.2], [-1.7, 1.5]])
    net = ff.MLP(2, depth=1, activation="relu")
    flow = ff.TrainingFlow(net, x, [1.0, 0.0, -0.5], method=method, learning_rate=0.3, steps=steps)
    change = np.array([[0.2, -0.1, 0.05], [-0.1, 0.3, 0.1], [0.05, 0.1, 0.1]])
    matrix, first, second = FiniteWidth(flow).training_jet(change[None])

    def at(t):
        return training_matrix(flow.prior + t * change, method=method, learning_rate=0.3, steps=steps, d_out=1)

    h = 2e-3
    np.testing.assert_allclose(matrix, at(0.0), rtol=1e-12)
    slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    curvature = (16 * (at(h) + at(-h)) - (at(2 * h) + at(-2 * h)) - 30 * at(0.0)) / (12 * h * h)
    np.testing.assert_allclose(first[0], slope, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(second[0], curvature, rtol=1e-5, atol=1e-6)


SMALL = {
    "scan_members = 2000": "scan_members = 600",
    "\nmembers = 2000": "\nmembers = 600",
    "widths = [1000]": "widths = [300]",
    "train = 8": "train = 4",
    "steps = 100": "steps = 20",
    "[250, 500, 1000, 2000, 4000]": "[200, 400, 800, 1600]",
    "neurons = 32768": "neurons = 8192",
}


def text(**change):
    body = template("finite-width").split("[quick]")[0]
    for old, new in {**SMALL, **change}.items():
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
def test_every_coefficient_agrees_and_could_have_failed(small):
    found = statuses(small)
    assert set(found.values()) == {"agrees"}
    both = {
        f"relu/{kind}-{mode}"
        for kind in ("third_cumulant", "fourth_cumulant", "sampled")
        for mode in ("resample", "prune")
    }
    # Mean and variance excess do not depend on the mode: they are judged once.
    assert set(found) == both | {"relu/mean-resample", "relu/variance-resample"}
    assert [picture["name"] for picture in small.figures["pictures"]] == ["extrapolation", "along"]


def test_numbers_do_not_depend_on_threads(small, tmp_path):
    again = run(loaded(tmp_path, text()), threads=2)
    assert again.to_json() == small.to_json()
    assert again.figures == small.figures


@pytest.mark.statistical
def test_a_missing_term_turns_red(tmp_path, monkeypatch):
    """κ₃ with one pairing of three, the variance without the spread of the means: both are seen."""

    def broken(name):
        if name == "finite_width.kappa3":
            return lambda first, second, third, width: compiled(name)(first, 0 * second, 0 * third, width)
        return compiled(name)

    monkeypatch.setattr("fieldflow.finite_width.compiled", broken)
    found = statuses(run(loaded(tmp_path, text()), threads=2))
    red = {name for name, status in found.items() if status == "disagrees"}
    assert red == {"relu/third_cumulant-resample", "relu/third_cumulant-prune"}


def test_influence_values_average_to_the_cumulants():
    """Of known conditional means and variances, against the law of total cumulance written out."""
    rng = np.random.default_rng(1)
    m = rng.gamma(2.0, size=(4000, 1, 1))
    v = 0.5 * m**2 + rng.uniform(1.0, 2.0, size=m.shape)
    zero = np.zeros_like(m)
    found = check.measured(check.Members(m, v, zero, zero), np.zeros((1, 1)), np.zeros((1, 1)), 1)
    m, v = m.ravel(), v.ravel()
    joint = np.cov(m, v)
    np.testing.assert_allclose(found["mean"].mean(), m.mean(), rtol=1e-12)
    np.testing.assert_allclose(found["variance"].mean(), v.mean() + joint[0, 0], rtol=1e-12)
    np.testing.assert_allclose(found["third_cumulant"].mean(), stats.kstat(m, 3) + 3 * joint[0, 1], rtol=1e-12)
    mixed = np.mean((m - m.mean()) ** 2 * (v - v.mean()))
    expected = stats.kstat(m, 4) + 6 * mixed + 3 * joint[1, 1]
    np.testing.assert_allclose(found["fourth_cumulant"].mean(), expected, rtol=5e-3)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("widths = [300]", "widths = [300, 300]", "network.sigma_w"),
        ("\nmembers = 600", "\nmembers = 100", "members"),
        ("cutoffs = [0, 0.5, 1.5]", "cutoffs = [0.5, 1.5]", "cutoffs|shell.cutoffs"),
        ("cutoffs = [0, 0.5, 1.5]", "cutoffs = [0, 1.5, 0.5]", "cutoffs|shell.cutoffs"),
        ("[[2.5, 1.5], [0.3, -0.2]]", "[[2.5]]", "data.points"),
        ('"x1**2 - x2/2"', '"x9"', "target|data.target"),
        ("[200, 400, 800, 1600]", "[400, 200, 800, 1600]", "widths|checks.widths"),
        ("neurons = 8192", "neurons = 3", "checks.neurons"),
        ("noise_variance = 1.0", "noise_variance = 0.0", "shell.noise_variance"),
        ('modes = ["resample", "prune"]', 'modes = ["drop"]', "shell.modes"),
    ],
)
def test_bad_keys_are_named_in_one_line(tmp_path, old, new, key):
    with pytest.raises(BadInput, match=f"^({key})") as caught:
        loaded(tmp_path, text().replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_what_has_no_expansion_about_one_neuron_is_named():
    deep = ff.TrainingFlow(ff.MLP(1, depth=2, activation="relu"), [[1.0]], [1.0], learning_rate=0.1, steps=1)
    with pytest.raises(NoClosedForm, match=r"needs one hidden layer, got 2"):
        FiniteWidth(deep)
    two = ff.TrainingFlow(
        ff.MLP(1, depth=1, d_out=2, activation="relu"), [[1.0]], [[1.0, 0.0]], learning_rate=0.1, steps=1
    )
    with pytest.raises(BadInput, match="d_out = 2"):
        FiniteWidth(two)
    with pytest.raises(BadInput, match=r"expected a fieldflow\.ShellFlow or TrainingFlow, got int"):
        FiniteWidth(3)
