"""Designed theories: diagrams against the dense engine and direct integrals, weights against exact averages, errors by name."""

import numpy as np
import pytest
import sympy as sp

import fieldflow as ff
from fieldflow.designed import DesignedTheory
from fieldflow.errors import BadInput, NoClosedForm, Underpowered
from fieldflow.formulas import compiled
from fieldflow.hamiltonian import Posterior, available
from fieldflow.local_rules import LocalTheory
from fieldflow.numeric import importance
from fieldflow.numeric.chains import effective_draws, split_rhat
from fieldflow.unit_law import unit_law

PHI = sp.Symbol("phi", real=True)
POINTS = [[0.0], [0.6], [-1.0]]
NET = ff.CosNet(d=1, radius=4.0, mass=1.0, sigma_w=1.6, width=300)


def lattice(covariance, weights, coupling, legs, count=161):
    """Moments of e^{-φK⁻¹φ/2 - λΣwφ⁴} on two points, by the trapezoidal rule in whitened variables."""
    x = np.linspace(-9.0, 9.0, count)
    root = np.linalg.cholesky(covariance)
    field = np.einsum("ij,jab->iab", root, np.array(np.meshgrid(x, x, indexing="ij")))
    whitened = np.add.outer(x**2, x**2)
    law = np.exp(-whitened / 2.0 - coupling * np.einsum("i,iab->ab", weights, field**4))
    law /= law.sum()
    second = np.einsum("iab,jab,ab->ij", field, field, law)
    if legs == 2:
        return second
    fourth = np.einsum("iab,jab,kab,lab,ab->ijkl", field, field, field, field, law)
    pairs = np.einsum("ij,kl->ijkl", second, second)
    return fourth - pairs - pairs.transpose(0, 2, 1, 3) - pairs.transpose(0, 2, 3, 1)


def two_nodes():
    covariance, weights = np.array([[0.5, 0.2], [0.2, 0.4]]), np.array([0.7, 1.1])
    return covariance, weights, LocalTheory(np.tile(covariance, (2, 2)), weights, {4: 1.0})


@pytest.mark.parametrize("order", [1, 2, 3])
def test_local_vertices_are_the_dense_engine(order):
    """ff.correlators with diagonal couplings, on three points."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    covariance, weights = root @ root.T + np.eye(3), np.array([0.3, 0.5, 0.2])
    dense = {r: np.zeros((3,) * r) for r in range(2, 2 * order + 3, 2)}
    for i in range(3):
        dense[4][i, i, i, i] = 0.01 * weights[i]
    expected = ff.correlators(covariance, dense, order=order)
    local = LocalTheory(np.tile(covariance, (2, 2)), weights, {4: 0.01})
    for legs in (2, 4):
        found = sum(local.term(legs, k) for k in range(order + 1))
        np.testing.assert_allclose(found, expected[legs], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("legs", [2, 4])
def test_what_is_left_of_a_direct_integral_is_the_next_power(legs):
    """Slopes of the remainder on a lattice of two points: k + 1 after k orders; a factor 24 for 12 leaves the power 1."""
    covariance, weights, local = two_nodes()
    terms = [local.term(legs, k) for k in range(5)]
    couplings = np.array([1e-3, 2e-3])
    exact = [lattice(covariance, weights, coupling, legs) for coupling in couplings]
    for order in range(1, 4):
        rest = [
            truth - sum(terms[k] * c**k for k in range(order + 1)) for truth, c in zip(exact, couplings, strict=True)
        ]
        slope = np.log2(np.abs(rest[1] / rest[0]))
        assert np.all(np.abs(slope - (order + 1)) < 0.15), (order, slope)
        np.testing.assert_allclose(rest[0], terms[order + 1] * couplings[0] ** (order + 1), rtol=0.1)
    wrong = [truth - terms[0] - 2.0 * c * terms[1] for truth, c in zip(exact, couplings, strict=True)]
    assert np.all(np.abs(np.log2(np.abs(wrong[1] / wrong[0])) - 1.0) < 0.15)


def test_formulas_at_one_point():
    """design.two_point and design.four_point against the integral of one mode: the third order is left."""
    s = 0.8
    for name, legs in (("design.two_point", 2), ("design.four_point", 4)):
        rest = []
        for coupling in (1e-3, 2e-3):
            exact = lattice(np.diag([s, 1.0]), np.array([1.0, 0.0]), coupling, legs)[(0,) * legs]
            rest.append(exact - float(compiled(name)(coupling, s)))
        assert np.log2(rest[1] / rest[0]) == pytest.approx(3.0, abs=0.1)
    whole = LocalTheory(np.full((2, 2), s), np.ones(1), {4: 0.01})
    for name, legs in (("design.two_point", 2), ("design.four_point", 4)):
        value = sum(float(whole.term(legs, k).reshape(-1)[0]) for k in range(3))
        assert value == pytest.approx(float(compiled(name)(0.01, s)), rel=1e-13)


def test_other_powers_and_odd_ones():
    """V = φ²/2: exactly (K⁻¹ + w)⁻¹; V = φ⁴ + φ³: mean and three-point function of one mode."""
    covariance, weights, _ = two_nodes()
    local = LocalTheory(np.tile(covariance, (2, 2)), weights, {2: 0.5})
    exact = np.linalg.inv(np.linalg.inv(covariance) + 1e-3 * np.diag(weights))
    found = sum(local.term(2, k) * 1e-3**k for k in range(4))
    np.testing.assert_allclose(found, exact, rtol=1e-11)
    x = np.linspace(-10.0, 10.0, 4001)
    law = np.exp(-(x**2) / 2 - 2.5e-4 * (x**4 + x**3))
    law /= law.sum()
    mean = float(law @ x)
    odd = LocalTheory(np.ones((2, 2)), np.ones(1), {3: 1.0, 4: 1.0})
    for legs, truth in ((1, mean), (3, float(law @ (x - mean) ** 3))):
        found = sum(float(odd.term(legs, k).reshape(-1)[0]) * 2.5e-4**k for k in range(4))
        assert found == pytest.approx(truth, abs=1e-7)
        assert abs(found) > 5e-4


def width_one(coupling, theory):
    """⟨φ²⟩ and ⟨φ⁴⟩ at the first point of networks with a single unit: quadrature over w, b and c."""
    x, w = np.polynomial.legendre.leggauss(40)
    b, chance = theory.net.radius * 0.5 * (x + 1.0), 0.5 * w
    c = 2.0 * np.pi * np.arange(40) / 40
    omega = np.linspace(-8.0, 8.0, 161)
    normal = np.exp(-(omega**2) / 2.0)
    feature = (
        theory.net.sigma_w
        * np.cos(b[:, None, None] * theory.columns[0] + c[:, None])
        / np.sqrt(b**2 + 1.0)[:, None, None]
    )
    field = feature[:, :, None, :] * omega[:, None]
    action = np.einsum("z,bcwz->bcw", theory.quadrature[1], field[..., len(theory.points) :] ** 4)
    law = np.exp(-coupling * action) * normal * chance[:, None, None]
    first = field[..., 0]
    return [float(np.sum(law * first**power) / np.sum(law)) for power in (2, 4)]


@pytest.mark.statistical
@pytest.mark.parametrize("coupling", [0.0, 0.3, 3.0])
def test_reweighting_against_networks_of_one_unit(coupling):
    """Exact at any coupling; without the weights the answer is far off."""
    net = ff.CosNet(d=1, radius=4.0, mass=1.0, sigma_w=1.6, width=1)
    theory = ff.Reweighted(net, PHI**4, POINTS, 1.0, members=40000, seed=3, coupling=coupling, nodes=12)
    second, fourth = width_one(coupling, theory.theory)
    two, four = theory.two_point().usable(), theory.four_point()
    assert abs(two.value[0, 0] - second) < 4.0 * two.std_error[0, 0] + 1e-12
    assert abs(four.value[0, 0, 0, 0] - (fourth - 3.0 * second**2)) < 4.0 * four.std_error[0, 0, 0, 0] + 1e-12
    if coupling:
        assert abs(theory.at(0.0).two_point().value[0, 0] - second) > 8.0 * two.std_error[0, 0]


@pytest.mark.statistical
def test_errors_of_reweighting_are_right():
    """Pulls of independent seeds against perturbation theory have unit spread."""
    net = ff.CosNet(d=1, radius=4.0, mass=1.0, sigma_w=1.6, width=100)
    series = ff.Perturbation(net, PHI**4, POINTS, 1.0, order=4, nodes=8, finite_width=True)
    truth = series.two_point(0.01)
    pulls = []
    for seed in range(16):
        found = ff.Reweighted(net, PHI**4, POINTS, 1.0, members=4000, seed=seed, coupling=0.01, nodes=8).two_point()
        pulls.append((found.value[0, 0] - truth[0, 0]) / found.std_error[0, 0])
    assert abs(np.mean(pulls)) < 4.0 / np.sqrt(16)
    assert 0.5 < np.std(pulls) < 1.6


@pytest.mark.statistical
def test_schwinger_dyson_at_any_width_and_coupling():
    net = ff.CosNet(d=1, radius=4.0, mass=1.0, sigma_w=1.6, width=3)
    for coupling in (0.1, 2.0):
        theory = ff.Reweighted(net, PHI**4 / 2 + PHI**2, POINTS, 1.0, members=20000, coupling=coupling, nodes=8)
        right, wrong = theory.schwinger_dyson_samples(), theory.schwinger_dyson_samples(factor=0.25)
        error = right.std(axis=0) / np.sqrt(len(right))
        assert np.all(np.abs(right.mean(axis=0)) < 4.0 * error)
        assert np.abs(wrong.mean(axis=0) / error).max() > 8.0


def test_numbers_do_not_depend_on_threads_or_more_members():
    one, two = (ff.Reweighted(NET, PHI**4, POINTS, 1.0, members=130, seed=5, nodes=6, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.two_point().value, two.two_point().value)
    more = ff.Reweighted(NET, PHI**4, POINTS, 1.0, members=140, seed=5, nodes=6)
    np.testing.assert_array_equal(more.sample.fields[:130], one.sample.fields)
    np.testing.assert_array_equal(one.at(0.3).log_weights, -0.3 * one.sample.action)


def test_width_corrections_begin_with_the_exact_four_point_function():
    """At zero coupling: (3⟨hhhh⟩ - Σ₃⟨hh⟩⟨hh⟩)/N; and they halve when the width doubles."""
    wide = ff.CosNet(d=1, radius=4.0, mass=1.0, sigma_w=1.6, width=600)
    found = [ff.Perturbation(net, PHI**4, POINTS, 1.0, order=2, nodes=6, finite_width=True) for net in (NET, wide)]
    limit = ff.Perturbation(NET, PHI**4, POINTS, 1.0, order=2, nodes=6)
    weights, features = unit_law(NET, np.array(POINTS).T)
    moment = np.einsum("q,qa,qb,qc,qd->abcd", weights, *[features] * 4)
    pairs = np.einsum("ab,cd->abcd", *[np.einsum("q,qa,qb->ab", weights, features, features)] * 2)
    sums = pairs + pairs.transpose(0, 2, 1, 3) + pairs.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found[0].terms(4)[0], (3.0 * moment - sums) / 300, rtol=1e-5, atol=1e-9)
    vacuum = sum(float(limit._local.term(0, k)) * 0.002**k for k in (1, 2))
    weighted = ff.Reweighted(NET, PHI**4, POINTS, 1.0, members=4000, nodes=6, coupling=0.002)
    assert abs(weighted.log_partition - vacuum) < 4.0 * weighted.weights.std() / np.sqrt(4000)
    assert abs(vacuum) > 8.0 * weighted.weights.std() / np.sqrt(4000)
    for legs in (2, 4):
        first, second = (part.terms(legs) - limit.terms(legs) for part in found)
        np.testing.assert_allclose(first, 2.0 * second, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        limit.terms(2)[0], NET.propagator(np.abs(np.subtract.outer(*[np.ravel(POINTS)] * 2))), rtol=1e-12
    )


def test_nodes_converge_and_boxes_in_two_dimensions():
    net = ff.CosNet(d=2, radius=3.0, mass=1.0, sigma_w=1.0, width=40)
    few, many = (ff.Perturbation(net, PHI**4, [[0.0, 0.1]], 0.7, order=1, nodes=n).terms(2)[1, 0, 0] for n in (6, 9))
    assert few == pytest.approx(many, rel=1e-5)
    theory = ff.Reweighted(net, PHI**4, [[0.0, 0.1]], 0.7, members=2000, nodes=3, coupling=5.0)
    found = theory.two_point().usable()
    assert found.value[0, 0] < float(net.propagator(0.0))


def test_too_few_networks_and_wild_weights_are_a_status():
    few = ff.Reweighted(NET, PHI**4, POINTS, 1.0, members=1, nodes=4)
    assert few.status == "underpowered"
    assert np.all(np.isinf(few.two_point().std_error))
    wild = ff.Reweighted(NET, PHI**4 - 40 * PHI**2, POINTS, 1.0, members=3000, nodes=4)
    assert wild.status == "underpowered"
    assert wild.effective_size < 400
    with pytest.raises(Underpowered, match=r"^estimate: underpowered: effective size"):
        wild.two_point().usable()


def test_heavy_tails_of_a_moment_are_a_status():
    """Few members: the weights are nearly equal, but the error of a four-point function is not known."""
    light = np.random.Generator(np.random.Philox(3)).normal(size=(4000, 2))
    assert importance.heaviest_tail(light)[1]
    assert importance.heaviest_tail(light)[0] < 0.7
    heavy = np.stack([light[:, 0], light[:, 1] ** 9], axis=1)
    assert importance.heaviest_tail(heavy)[0] > 0.7 or not importance.heaviest_tail(heavy)[1]
    few = ff.Reweighted(NET, PHI**4, POINTS, 1.0, members=1500, seed=1, coupling=0.01, nodes=6)
    assert few.status == "usable"
    assert few.four_point().status == "underpowered"


def test_pareto_shape_and_effective_size():
    """Weights U^{-k} have the tail index k; equal weights none."""
    uniform = np.random.Generator(np.random.Philox(1)).uniform(size=20000)
    for shape in (0.3, 0.6, 1.0):
        assert importance.pareto_k(-shape * np.log(uniform)) == pytest.approx(shape, abs=0.15)
    assert importance.pareto_k(np.zeros(1000)) == -np.inf
    assert importance.pareto_k(np.zeros(10)) == np.inf
    assert importance.effective_size(np.array([0.0, -np.inf])) == 1.0
    assert importance.log_mean(np.array([1000.0, 1000.0])) == 1000.0


def test_chains_that_move_slowly_or_apart_are_told():
    rng = np.random.Generator(np.random.Philox(2))
    noise, slow = rng.normal(size=(4, 2000)), np.empty((4, 2000))
    slow[:, 0] = noise[:, 0]
    for t in range(1, 2000):
        slow[:, t] = 0.9 * slow[:, t - 1] + np.sqrt(1 - 0.81) * noise[:, t]
    assert effective_draws(slow) == pytest.approx(8000 * 0.1 / 1.9, rel=0.25)
    assert split_rhat(noise) < 1.01
    assert split_rhat(noise + 3.0 * np.arange(4)[:, None]) > 1.5
    assert split_rhat(np.zeros((2, 10))) == np.inf
    assert effective_draws(np.zeros((2, 10))) == 0.0


@pytest.mark.parametrize(("d", "regulator"), [(1, "ball"), (2, "ball"), (2, "gaussian")])
def test_gradient_of_the_interaction(d, regulator):
    net = ff.CosNet(d=d, radius=4.0, mass=1.0, width=4, regulator=regulator)
    posterior = Posterior(DesignedTheory(net, PHI**4 / 3 - PHI**3, np.full((1, d), 0.3), 1.0, 4), 0.7)
    theta = np.random.default_rng(0).normal(size=posterior.dimension)
    found, value = posterior.gradient(theta)
    steps = 1e-5 * np.eye(posterior.dimension)
    numerical = [(posterior.action(theta + step) - posterior.action(theta - step)) / 2e-5 for step in steps]
    assert value == posterior.action(theta)
    np.testing.assert_allclose(found, numerical, rtol=1e-6, atol=1e-11)


@pytest.mark.statistical
@pytest.mark.skipif(not available(), reason="needs the extra: pip install 'fieldflow[design]'")
def test_chains_agree_with_networks_of_one_unit():
    net = ff.CosNet(d=1, radius=4.0, mass=1.0, sigma_w=1.6, width=1)
    options = {"coupling": 3.0, "chains": 4, "draws": 300, "warm_up": 100, "nodes": 8}
    chains = ff.nuts(net, PHI**4, POINTS, 1.0, **options)
    second, _ = width_one(3.0, chains.theory)
    estimate = chains.two_point().usable()
    assert abs(estimate.value[0, 0] - second) < 4.0 * estimate.std_error[0, 0]
    assert abs(float(net.propagator(0.0)) - second) > 8.0 * estimate.std_error[0, 0]
    again = ff.nuts(net, PHI**4, POINTS, 1.0, **options)
    np.testing.assert_array_equal(again.fields, chains.fields)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("fieldflow.hamiltonian.EXTRA", "no_such_package")
    assert not available()
    with pytest.raises(BadInput, match=r"pip install 'fieldflow\[design\]'"):
        ff.nuts(NET, PHI**4, POINTS, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interaction": PHI**3}, "interaction: potential unbounded below"),
        ({"interaction": -(PHI**4)}, "interaction: potential unbounded below"),
        ({"interaction": sp.cos(PHI)}, "interaction: expected a polynomial"),
        ({"interaction": "phi**4"}, "interaction: expected a SymPy polynomial"),
        ({"interaction": PHI * sp.Symbol("x")}, "interaction: expected a SymPy polynomial in one symbol"),
        ({"interaction": PHI**14}, "interaction: expected a degree of at most"),
        ({"box": 0.0}, "box: expected a finite number > 0"),
        ({"box": -1.0}, "box: expected a finite number > 0"),
        ({"box": 0.9}, "box: expected at least 1, the largest coordinate"),
        ({"points": [0.0]}, "points: expected shape"),
        ({"nodes": 0}, "nodes: expected an integer"),
        ({"members": 0}, "members: expected an integer"),
        ({"coupling": -1.0}, "coupling: expected a finite number >= 0"),
        ({"net": ff.CosNet(d=1, radius=4.0, mass=1.0)}, "width: expected an integer from 1"),
        ({"net": ff.CosNet(d=1, radius=4.0, mass=1.0, width=9, readout="fixed")}, "net: expected readout"),
        ({"net": "cos"}, "net: expected a fieldflow.CosNet"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"net": NET, "interaction": PHI**4, "points": POINTS, "box": 1.0, "members": 10, **change}
    with pytest.raises(BadInput) as caught:
        ff.Reweighted(**given)
    assert str(caught.value).startswith(message)
    with pytest.raises(BadInput):
        ff.CosNet(d=1, radius=4.0, mass=1.0, width=0)


def test_width_corrections_are_for_one_dimension():
    with pytest.raises(NoClosedForm, match=r"^finite_width: expected d = 1"):
        ff.Perturbation(NET, PHI**4 + PHI**3, POINTS, 1.0, finite_width=True)
    with pytest.raises(BadInput, match=r"^order: expected an integer from 1 to 4"):
        ff.Perturbation(NET, PHI**4, POINTS, 1.0, order=5)
