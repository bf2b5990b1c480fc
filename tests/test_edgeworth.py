"""The Edgeworth series against exact laws: its error falls by the predicted power of N, at one, two and three points."""

import math
from functools import cache

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import special, stats

import fieldflow as ff
from fieldflow.errors import BadInput, NotPositiveDefinite
from fieldflow.symbolic import edgeworth as series
from oracles.small_networks import cumulant_tensors, inverted, linear_density, normal_rule, slope

SIGMA, X = 1.3, 0.8
PRE = (SIGMA * X) ** 2  # variance of a preactivation
WIDTHS = (32, 64, 128, 256)
ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0.0),
    "erf": special.erf,
    "cos": np.cos,
}


@cache
def one_point(name, width, top=10):
    """Cumulants at one point; ReLU: half the moments of the identity."""
    nodes, weights = normal_rule([[PRE]], 200)
    hidden = ACTIVATIONS["identity" if name == "relu" else name](nodes)
    if name == "relu":
        hidden, weights = np.concatenate([hidden, [[0.0]]]), np.append(weights / 2, 0.5)
    return cumulant_tensors(hidden, weights, SIGMA**2 / width, width, top)


def gram_charlier(cumulants, x):
    """Equation (39) cut at six derivatives: without 35 κ₄² in c_8."""
    law = ff.Edgeworth(cumulants, 1)
    s = float(cumulants[2].reshape(-1)[0])
    z = x / math.sqrt(s)
    sixth = float(cumulants[6].reshape(-1)[0]) / s**3 / 720 * np.polynomial.hermite_e.hermeval(z, [0] * 6 + [1])
    return law.density(x) + sixth * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi * s)


@cache
def exactly(name, width):
    """Points up to four standard deviations and the exact density there."""
    grid = math.sqrt(one_point(name, width)[2][0, 0]) * np.linspace(0.01, 4.0, 60)
    return grid, ff.exact_density(ff.MLP(1, widths=(width,), activation=name, sigma_w=SIGMA), [[X]], grid).value


def one_point_errors(name, estimate):
    errors = []
    for width in WIDTHS:
        grid, exact = exactly(name, width)
        cumulants = one_point(name, width)
        errors.append(math.sqrt(cumulants[2][0, 0]) * np.max(np.abs(estimate(cumulants, grid) - exact)))
    return errors


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_error_at_one_point_falls_by_the_first_omitted_power(name, order):
    power, error = slope(WIDTHS, one_point_errors(name, lambda k, x: ff.Edgeworth(k, order).density(x)))
    assert abs(power + order + 1) < 3 * error + 0.01


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_series_cut_at_six_derivatives_misses_the_second_order(name):
    power, error = slope(WIDTHS, one_point_errors(name, gram_charlier))
    assert abs(power + 2) < 3 * error + 0.01
    assert abs(power + 3) > 8 * (error + 0.01)


def test_moments_in_place_of_cumulants_do_not_even_give_the_limit():
    """(39) as printed: G^{(4)} = κ₄ + 3s² leaves an error that does not fall at all."""

    def printed(cumulants, x):
        s = cumulants[2][0, 0]
        moment = {2: cumulants[2], 4: cumulants[4] + 3 * s**2}
        return ff.Edgeworth(moment, 1).density(x)

    power, error = slope(WIDTHS, one_point_errors("erf", printed))
    assert abs(power) < 3 * error + 0.01


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_action_falls_by_the_same_power(order):
    errors = []
    for width in WIDTHS:
        cumulants = one_point("erf", width)
        grid, exact = (part[:40] for part in exactly("erf", width))
        law = ff.Edgeworth(cumulants, order)
        errors.append(np.max(np.abs(np.diff(law.action(grid)) + np.diff(np.log(exact)))))
    power, error = slope(WIDTHS, errors)
    assert abs(power + order + 1) < 3 * error + 0.01


def exponentials(width):
    """Cumulants (n - 1)! N^{1-n/2} of the standardised sum of N exponential numbers, and its density, Gamma's."""
    cumulants = {n: math.factorial(n - 1) * width ** (1 - n / 2) for n in range(2, 11)}
    root = math.sqrt(width)
    return cumulants, lambda x: root * stats.gamma(width).pdf(width + root * x)


@pytest.mark.parametrize("order", [0.5, 1, 1.5, 2, 2.5, 3, 3.5])
def test_half_integer_orders_of_a_skewed_law(order):
    errors, dropped = [], []
    grid = np.linspace(-3.0, 3.0, 61)
    for width in WIDTHS:
        cumulants, exact = exponentials(width)
        law = ff.Edgeworth(cumulants, order)
        errors.append(np.max(np.abs(law.density(grid) - exact(grid))))
        # Without 10 κ₃² in c_6.
        gauss = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
        square = cumulants[3] ** 2 / 72 * np.polynomial.hermite_e.hermeval(grid, [0] * 6 + [1]) * gauss
        dropped.append(np.max(np.abs(law.density(grid) - square - exact(grid))))
    power, error = slope(WIDTHS, errors, rate=0.5)
    assert abs(power + order + 0.5) < 3 * error + 0.01
    if order > 0.5:
        power, error = slope(WIDTHS, dropped, rate=0.5)
        assert abs(power + 1) < 3 * error + 0.01
        assert abs(power + order + 0.5) > 8 * error


COVARIANCES = {2: [[1.0, 0.4], [0.4, 0.7]], 3: [[1.0, 0.4, -0.2], [0.4, 0.7, 0.1], [-0.2, 0.1, 1.3]]}


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("m", [2, 3])
def test_linear_networks_at_two_and_three_points(m, order):
    covariance = np.array(COVARIANCES[m])
    nodes, weights = normal_rule(covariance, 5)
    x = np.random.Generator(np.random.Philox(5)).normal(size=(200, m)) @ np.linalg.cholesky(covariance).T
    errors = []
    for width in WIDTHS:
        law = ff.Edgeworth(cumulant_tensors(nodes, weights, 1 / width, width, 6), order)
        errors.append(np.max(np.abs(law.density(x) - linear_density(x, covariance, width))))
    power, error = slope(WIDTHS, errors)
    assert abs(power + order + 1) < 3 * error + 0.01


def two_points(name, first=0.5, second=-1.1, bias=0.3):
    x = np.array([first, second])
    pre = SIGMA**2 * np.outer(x, x) + bias**2
    nodes, weights = normal_rule(pre, 48)
    return x, ACTIVATIONS[name](nodes), weights


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", ["erf", "cos"])
def test_curved_networks_at_two_points(name, order):
    _, hidden, weights = two_points(name)
    covariance = (hidden * weights[:, None]).T @ hidden * SIGMA**2
    x = np.random.Generator(np.random.Philox(6)).normal(size=(60, 2)) @ np.linalg.cholesky(covariance).T
    reach = 7.0 / math.sqrt(np.linalg.eigvalsh(covariance)[0])
    errors = []
    for width in (16, 32, 64, 128):
        variance = SIGMA**2 / width
        law = ff.Edgeworth(cumulant_tensors(hidden, weights, variance, width, 6), order)
        exact = inverted(hidden, weights, variance, width, x, reach / 45, 45)
        errors.append(np.max(np.abs(law.density(x) - exact)))
    power, error = slope((16, 32, 64, 128), errors)
    assert abs(power + order + 1) < 3 * error + 0.02


# Identities


def test_the_action_of_the_theory_sheet_at_one_point():
    """Orders 1 and 2 of -ln p at zero mean, exactly."""
    s, k4, k6 = series.G, series.cumulant(4), series.cumulant(6)
    action = sp.Poly(sp.expand(-series.log_density(4).expr.subs(series.mu, 0)), series.phi)
    known = {
        6: -(s * k6 - 10 * k4**2) / (720 * s**7),
        4: -k4 / (24 * s**4) + (s * k6 - 7 * k4**2) / (48 * s**6),
        2: 1 / (2 * s) + k4 / (4 * s**3) - (3 * s * k6 - 16 * k4**2) / (48 * s**5),
    }
    assert action.degree() == 6
    for power, value in known.items():
        assert sp.expand(action.coeff_monomial(series.phi**power) - value) == 0
    first = sp.expand(-series.log_density(2).expr.subs({series.mu: 0, series.phi: 0}))
    assert sp.expand(first.coeff(k4) + 1 / (8 * s**2)) == 0


@pytest.mark.parametrize(("half_orders", "odd"), [(2, False), (4, True), (5, True), (8, False)])
def test_numbers_are_those_of_the_formulas_with_forty_digits(half_orders, odd):
    values = {1: 0.3, 2: 0.9} | {n: 0.2 / n * (-1) ** n for n in range(3, 11) if odd or n % 2 == 0}
    law = ff.Edgeworth(values, half_orders / 2)
    x = np.array([-2.0, 0.1, 1.7])
    for kind, found in (("density", law.density(x)), ("log_density", law.log_density(x)), ("distribution", law.cdf(x))):
        formula = law.formula(kind)
        numbers = {symbol: sp.Rational(str(values[int(str(symbol)[6:])])) for symbol in formula.args[3:]}
        numbers |= {series.mu: sp.Rational(3, 10), series.G: sp.Rational(9, 10)}
        for point, value in zip(x, found, strict=True):
            truth = sp.N(formula.expr.subs(numbers | {series.phi: sp.Rational(str(point))}), 40)
            assert abs(value - float(truth)) < 1e-12 * max(1.0, abs(float(truth)))


def test_the_distribution_is_the_integral_of_the_density():
    law = ff.Edgeworth({1: 0.2, 2: 0.8, 3: 0.1, 4: 0.2, 5: 0.05, 6: -0.1}, 2)
    with mpmath.workdps(20):
        density = lambda x: float(law.density([float(x)])[0])  # noqa: E731
        for end in (-0.5, 1.3):
            mass = mpmath.quad(density, [-9, -4, -2, -1, end])
            assert abs(mass - law.cdf([end])[0]) < 1e-10


def skewed_tensors(m):
    """Symmetric tensors without further structure: cumulants of a mixture of vectors."""
    vectors = np.random.Generator(np.random.Philox(9)).normal(size=(6, m))
    found = {1: 0.3 * vectors[0], 2: np.eye(m) + 0.2 * np.ones((m, m))}
    letters = "abcdef"
    for n in range(3, 7):
        found[n] = 0.1 * np.einsum(",".join("k" + letters[i] for i in range(n)) + "->" + letters[:n], *[vectors] * n)
    return found


@pytest.mark.parametrize(("order", "counting"), [(1, "iid"), (1.5, "iid"), (1, "trained"), (2, "trained")])
def test_two_points_by_differentiating_the_gaussian(order, counting):
    """exp(Σ P_n) multiplied out on p_0 with SymPy's derivatives, sorted by the order by hand."""
    tensors = skewed_tensors(2)
    x, y, eps = sp.symbols("x y epsilon")
    inverse = sp.Matrix(sp.nsimplify(sp.Matrix(tensors[2]), rational=True)).inv()
    mean = [sp.nsimplify(v, rational=True) for v in tensors[1]]
    u = sp.Matrix([x - mean[0], y - mean[1]])
    log_gauss = -(u.T * inverse * u)[0] / 2
    a, b = sp.symbols("a b")  # -∂_x, -∂_y
    exponent = 0
    for n in range(3, 7):
        power = n - 2 if counting == "iid" else 2 * (-(-n // 2) - 1)
        for j in range(n + 1):
            entry = tensors[n][(0,) * j + (1,) * (n - j)]
            exponent += eps**power * sp.Float(entry, 30) * a**j * b ** (n - j) / sp.factorial(j) / sp.factorial(n - j)
    top = int(2 * order)
    expanded = sum(sp.expand(exponent**k) / sp.factorial(k) for k in range(top + 1))
    total, point = 0, {x: sp.Rational(7, 10), y: sp.Rational(-2, 5)}
    derivatives = {(0, 0): sp.Integer(1)}  # over the Gaussian

    def derivative(j, k):
        if (j, k) not in derivatives:
            symbol, lower = (x, (j - 1, k)) if j else (y, (j, k - 1))
            before = derivative(*lower)
            derivatives[j, k] = sp.expand(sp.diff(before, symbol) + before * sp.diff(log_gauss, symbol))
        return derivatives[j, k]

    for (j, k, power), value in sp.Poly(expanded, a, b, eps).terms():
        if power <= top:
            total += value * sp.N((-1) ** (j + k) * derivative(j, k).subs(point), 25)
    total *= sp.N(sp.exp(log_gauss.subs(point)) * sp.sqrt(inverse.det()) / (2 * sp.pi), 25)
    found = ff.Edgeworth(tensors, order, counting=counting).density([[0.7, -0.4]])[0]
    assert abs(found - float(total)) < 1e-13


def test_a_marginal_of_three_points_is_the_series_of_two():
    three = skewed_tensors(3)
    two = {n: tensor[(slice(0, 2),) * n] for n, tensor in three.items()}
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    point = np.array([0.4, -0.9])
    given = np.column_stack([np.tile(point, (40, 1)), 1.7 * nodes])
    density = ff.Edgeworth(three, 2).density(given)
    marginal = np.sum(weights * np.exp(nodes**2 / 2) * density) * 1.7
    assert abs(marginal - ff.Edgeworth(two, 2).density(point[None])[0]) < 1e-9


def test_moments_of_the_series_are_those_of_the_cumulants():
    tensors = skewed_tensors(2)
    law = ff.Edgeworth(tensors, 2)
    nodes, weights = normal_rule(tensors[2], 20)
    ratio = law.terms(nodes + tensors[1]).sum(axis=0) * weights
    found = np.einsum("k,ka,kb,kc,kd->abcd", ratio, nodes, nodes, nodes, nodes)
    g = tensors[2]
    pairs = np.einsum("ab,cd->abcd", g, g)
    pairs = pairs + np.swapaxes(pairs, 1, 2) + np.swapaxes(pairs, 1, 3)
    assert np.max(np.abs(found - pairs - tensors[4])) < 1e-12
    assert abs(ratio.sum() - 1) < 1e-12


def test_units_do_not_matter():
    scale = np.array([1e-3, 5e2])
    tensors = skewed_tensors(2)
    moved = {n: tensor.copy() for n, tensor in tensors.items()}
    for n, tensor in moved.items():
        for axis in range(n):
            shape = [1] * n
            shape[axis] = 2
            tensor *= scale.reshape(shape)
    x = np.array([[0.3, -1.0], [1.0, 2.0]])
    ours, theirs = ff.Edgeworth(tensors, 2), ff.Edgeworth(moved, 2)
    assert np.allclose(theirs.log_density(x * scale) + np.log(scale.prod()), ours.log_density(x), rtol=0, atol=1e-11)


def test_negative_densities_are_returned():
    law = ff.Edgeworth({2: 1.0, 4: -1.9}, 1)
    assert law.density([3.5])[0] < 0
    assert np.isfinite(law.log_density([3.5])[0])


# Samples


def histogram_chi2(counts, shares, members):
    """(χ² - dof)/√(2 dof) over cells that expect at least 20."""
    expected = members * shares.reshape(-1)
    keep = expected > 20
    rest = max(members - expected[keep].sum(), 1e-9)
    chi2 = np.sum((counts.reshape(-1)[keep] - expected[keep]) ** 2 / expected[keep])
    chi2 += (members - counts.reshape(-1)[keep].sum() - rest) ** 2 / rest if rest > 20 else 0.0
    dof = keep.sum() - (rest <= 20)
    return (chi2 - dof) / math.sqrt(2 * dof)


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["relu", "erf", "cos"])
def test_histograms_at_one_point(name):
    width, members = {"relu": 64, "erf": 10, "cos": 8}[name], {"relu": 50_000, "erf": 300_000, "cos": 300_000}[name]
    net = ff.MLP(1, widths=(width,), activation=name, sigma_w=SIGMA)
    f = ff.Ensemble(net, members=members, seed=3).sample([[X]])[:, 0]
    cumulants = one_point(name, width)
    edges = np.linspace(-4, 4, 61) * math.sqrt(cumulants[2][0, 0])
    counts = np.histogram(f, edges)[0]
    pulls = {k: histogram_chi2(counts, np.diff(ff.Edgeworth(cumulants, k).cdf(edges)), members) for k in (0, 3)}
    assert abs(pulls[3]) < 4.5
    assert pulls[0] > 8


@pytest.mark.statistical
def test_histogram_at_two_points():
    x, hidden, weights = two_points("erf")
    width, members = 16, 200_000
    net = ff.MLP(1, widths=(width,), activation="erf", sigma_w=SIGMA, sigma_b=(0.3, 0.0))
    f = ff.Ensemble(net, members=members, seed=4).sample(x[:, None])
    cumulants = cumulant_tensors(hidden, weights, SIGMA**2 / width, width, 6)
    root = np.linalg.cholesky(cumulants[2])
    white = np.linalg.solve(root, f.T).T
    edges = np.linspace(-3, 3, 13)
    counts = np.histogram2d(*white.T, bins=(edges, edges))[0]
    nodes, shares = np.polynomial.legendre.leggauss(6)
    line = ((edges[1:] + edges[:-1])[:, None] / 2 + 0.25 * nodes).reshape(-1)
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    pulls = {}
    for order in (0, 2):
        density = ff.Edgeworth(cumulants, order).density(grid @ root.T) * np.linalg.det(root)
        cells = density.reshape(12, 6, 12, 6)
        pulls[order] = histogram_chi2(counts, np.einsum("aibj,i,j->ab", cells, shares / 4, shares / 4), members)
    assert abs(pulls[2]) < 4.5
    assert pulls[0] > 8


# Bad input


@pytest.mark.parametrize(
    ("cumulants", "order", "message"),
    [
        ({2: 1.0, 4: 0.1}, 2, "cumulants: order 2 needs the 6th, which is missing"),
        ({2: 1.0, 4: 0.1, 5: 0.1, 6: 0.1}, 2, "order 2 needs the 3rd"),
        ({2: 1.0, 3: 0.1, 4: 0.1, 5: 0.0}, 2, "order 2 needs the 6th"),
        ({4: 0.1}, 1, "the 2nd .* is missing"),
        ({2: 1.0, 4: 0.1}, 1.5, "order: expected one of 0, 1, 2, 3, 4"),
        ({2: 1.0, 4: 0.1}, 5, "order: expected one of .*, 4, got 5"),
        ({2: 1.0, 4: np.nan}, 1, r"cumulants\[4\]: expected finite"),
        ({2: 1.0, "4": 0.1}, 1, "cumulants: key"),
        ({2: np.eye(2), 4: np.ones((2, 2, 2))}, 1, r"cumulants\[4\]: expected shape \(2, 2, 2, 2\)"),
        ({2: np.eye(2), 4: np.arange(16.0).reshape(2, 2, 2, 2)}, 1, r"cumulants\[4\]: expected a tensor symmetric"),
        ({2: [[1.0, 0.2], [0.3, 1.0]], 4: np.zeros((2,) * 4)}, 1, r"cumulants\[2\]: expected a tensor symmetric"),
        ([1.0, 2.0], 1, "cumulants: expected a mapping"),
    ],
)
def test_bad_cumulants_are_named(cumulants, order, message):
    with pytest.raises(BadInput, match=message):
        ff.Edgeworth(cumulants, order)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (np.ones((2, 2)), "points 0 and 1 are fully correlated"),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), r"cumulants\[2\]: .* its smallest eigenvalue is -1$"),
        (np.array([[2.0, 1.0, 1.0], [1.0, 2.0, -1.0], [1.0, -1.0, 2.0]]), r"condition number is (\d|inf)"),
        (0.0, "condition number"),
    ],
)
def test_singular_covariances_are_named(covariance, message):
    with pytest.raises(NotPositiveDefinite, match=message):
        ff.Edgeworth({2: covariance}, 0)


def test_other_bad_input_is_named():
    law = ff.Edgeworth({2: np.eye(2), 4: np.zeros((2,) * 4)}, 1)
    with pytest.raises(BadInput, match=r"x: expected shape \(k, 2\)"):
        law.density([0.0])
    with pytest.raises(BadInput, match=r"x: expected points within 1e\+06 standard deviations"):
        law.density([[0.0, 1e30]])
    with pytest.raises(BadInput, match="cdf: expected cumulants at one point"):
        law.cdf([0.0])
    with pytest.raises(BadInput, match='at 2 points expected "group"'):
        law.formula()
    with pytest.raises(BadInput, match="counting"):
        ff.Edgeworth({2: 1.0}, 0, counting="1/N")
    with pytest.raises(BadInput, match="GiB"):
        ff.Edgeworth({2: np.eye(40), 4: np.zeros((40,) * 4)}, 1)


@pytest.mark.parametrize("order", [1.5, 5, -1, "two", True, [[1], [1, 2]], np.nan])
def test_orders_that_there_are_are_named(order):
    even, general = {2: 1.0, 4: 0.1, 6: 0.1}, {2: 1.0, 3: 0.1, 4: 0.1, 5: 0.1, 6: 0.1}
    with pytest.raises(
        BadInput, match=r"order: expected one of 0, 1, 2, 3, 4, got .*; half-integers with odd cumulants only"
    ):
        ff.Edgeworth(even, order)
    if order == 1.5:
        assert ff.Edgeworth(general, order).order == 1.5
        return
    with pytest.raises(BadInput, match=r"order: expected one of 0, 0\.5, 1, 1\.5, 2, 2\.5, 3, 3\.5, 4, got "):
        ff.Edgeworth(general, order)
