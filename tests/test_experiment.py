"""An experiment file says what it means; every mistake in it is one line with the key and what is accepted."""

import json
import math
import re
import tomllib

import numpy as np
import pytest

from fieldflow.data import FISHER, TRAIN, gaussian_points, population_mean_square, target_values
from fieldflow.errors import BadInput
from fieldflow.experiment import SHIPPED, load_experiment, template
from fieldflow.symbolic.symbols import z

AUTHORS_CUTOFFS = [
    1e-4, 5e-3, 7.5e-3, 1e-2, 5e-2, 7.5e-2, 0.1, 0.5, 0.75, 1, 5, 7.5, 10, 50, 75, 100, 500, 750, 1e3, 5e3, 7.5e3, 1e4,
    5e4, 7.5e4, 1e5,
]  # fmt: skip

SMALL = """
name = "small"
members = 80
[[network]]
label = "a"
d_in = 2
widths = [4, 6]
activation = ["identity", "relu"]
scaling = "fan_in"
sigma_w = [1.0, 1.5, 2]
[data]
target = "x1 - x2**2"
input_mean = [0.5, -1.0]
input_std = 2
train = 7
test = 5
seed = 3
[training]
method = "gd"
learning_rate = 0.1
steps = 10
[fisher]
inputs = 4
[shell]
cutoffs = [0, 0.5, 2]
[checks]
inputs = 2
"""

FILES = SMALL.replace(
    'target = "x1 - x2**2"\ninput_mean = [0.5, -1.0]\ninput_std = 2\ntrain = 7\ntest = 5',
    'train_file = "train.csv"\ntest_file = "test.npz"',
)

CSV = "x2, x1 ,y\n1,2,3\n4,5,6\n\n7,8,9\n0,1,0.5\n"


@pytest.fixture
def load(tmp_path):
    def from_text(text, **overrides):
        path = tmp_path / "my.toml"
        path.write_text(text, encoding="utf-8")
        return load_experiment(path, **overrides)

    return from_text


@pytest.fixture
def load_files(tmp_path, load):
    def from_data(csv=CSV, text=FILES, **arrays):
        (tmp_path / "train.csv").write_bytes(csv if isinstance(csv, bytes) else csv.encode())
        arrays = arrays or {"x": np.array([[1.0, 2.0], [3.0, 4.0]]), "y": np.array([1, 2])}
        np.savez(tmp_path / "test.npz", **arrays)
        experiment = load(text)
        return experiment, experiment.datasets(experiment.network[0])

    return from_data


def complaint(action, *args, **kwargs):
    with pytest.raises(BadInput) as caught:
        action(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


# What is shipped


def test_paper_is_the_authors_experiment():
    paper = load_experiment("paper")
    (network,) = paper.network
    assert (network.d_in, network.widths, network.functions()) == (2, [10, 10, 2000], ("identity", "relu", "relu"))
    assert (network.scaling, network.sigma_w, network.sigma_b) == ("unscaled", 1.0, 0.0)
    assert (paper.data.train, paper.data.test, paper.fisher.inputs) == (200, 200, 10)
    assert (paper.data.input_mean, paper.data.input_std) == (1.0, 1.0)
    assert (paper.training.method, paper.training.learning_rate, paper.training.steps) == ("sgd", 1e-6, 1000)
    assert paper.shell.cutoffs == [0, *AUTHORS_CUTOFFS]
    x = paper.datasets(network).x_train
    np.testing.assert_allclose(
        paper.datasets(network).y_train, (1 - x[:, 0]) ** 2 - 0.5 * (x[:, 1] - x[:, 0] ** 2), rtol=1e-12, atol=1e-12
    )


def test_paper_text_differs_as_the_text_does():
    paper, text = load_experiment("paper").resolved(), load_experiment("paper-text").resolved()
    assert (text["training"]["method"], text["data"]["input_mean"]) == ("gd", 0.0)
    text["training"]["method"], text["data"]["input_mean"] = "sgd", 1.0
    for section in ("data", "training", "fisher", "shell"):
        assert text[section] == paper[section]


def test_shallow_relu_has_unit_hidden_weights_and_a_scan():
    shallow = load_experiment("shallow-relu")
    assert [network.d_in for network in shallow.network] == [2, 3]
    for network in shallow.network:
        assert network.scaling == "fan_in"
        assert network.sigma_w[0] == math.sqrt(network.d_in)
    assert shallow.fisher.law == "gaussian"
    assert len(shallow.checks.widths) >= 4


@pytest.mark.parametrize("name", SHIPPED)
def test_templates_name_every_key(name):
    text = template(name)
    assert text.isascii()
    values = tomllib.loads(text)
    assert values["name"] == name
    assert values["minutes"] >= values["quick"]["minutes"] > 0.0
    assert load_experiment(name, quick=True).digest != load_experiment(name).digest
    resolved = load_experiment(name).resolved()
    sections = {key: value[0] if isinstance(value, list) else value for key, value in resolved.items()}
    for section, keys in sections.items():
        assert section in text
        for key in keys if isinstance(keys, dict) else ():
            assert re.search(rf"\b{key}\b", text), f"{section}.{key} is not explained"


@pytest.mark.parametrize(("mean", "expected"), [(1.0, 8.0), (0.0, 15.0)])
def test_mean_square_of_the_papers_target(mean, expected):
    target = load_experiment("paper").data.target
    value = population_mean_square(target, np.full(2, mean), np.ones(2))
    assert value == pytest.approx(expected, rel=1e-12)


def test_mean_square_is_not_claimed_for_a_target_with_a_kink_or_a_pole():
    assert population_mean_square("max(x1, 1/3)", np.zeros(1), np.ones(1)) is None
    assert population_mean_square("sqrt(x1)", np.zeros(1), np.ones(1)) is None
    assert population_mean_square("x1", np.zeros(4), np.ones(4)) is None


# What is loaded


def test_defaults_are_filled_in_and_json_able(load):
    experiment = load(SMALL)
    resolved = json.loads(json.dumps(experiment.resolved(), allow_nan=False))
    assert resolved["shell"] == {"cutoffs": [0.0, 0.5, 2.0], "mode": "resample", "excess": 0.1}
    assert resolved["network"][0]["sigma_w"] == [1.0, 1.5, 2.0]
    assert resolved["checks"] == {"inputs": 2, "alpha": 1e-4, "widths": [], "scan_members": 0}
    assert resolved["training"]["steps"] == 10
    assert resolved["seed"] == 0


def test_overrides(load):
    experiment = load(SMALL, members=np.int64(200), seed=2**64 - 1)
    assert (experiment.members, experiment.seed) == (200, 2**64 - 1)
    for overrides in ({"members": 0}, {"members": 1.5}, {"members": True}, {"seed": -1}, {"seed": 2**64}):
        (key,) = overrides
        assert complaint(load, SMALL, **overrides).startswith(f"{key}: expected an integer from")


def test_digest_knows_every_number_but_not_the_description_or_spelling(load):
    reference = load(SMALL).digest
    assert load(SMALL.replace("cutoffs = [0,", "cutoffs = [0.0,")).digest == reference
    assert load('description = "words"\n' + SMALL).digest == reference
    for old, new in [("seed = 3", "seed = 4"), ("[0, 0.5, 2]", "[0, 0.5, 2.5]"), ("x2**2", "x2**3")]:
        assert load(SMALL.replace(old, new)).digest != reference
    assert load(SMALL, seed=1).digest != reference


def test_experiments_are_immutable(load):
    with pytest.raises(ValueError, match="frozen"):
        load(SMALL).seed = 5


def test_activation_may_be_an_expression(load):
    (network,) = load(SMALL.replace('["identity", "relu"]', '"z*heaviside(z) + 0.5*sin(z)"')).network
    first, second = network.functions()
    assert first == second
    assert float(first.subs(z, 2)) == pytest.approx(2 + 0.5 * math.sin(2))


def test_fractional_time_for_gradient_flow_only(load):
    flow = SMALL.replace('"gd"', '"gradient_flow"').replace("steps = 10", "steps = 2.5")
    assert load(flow).training.steps == 2.5
    assert complaint(load, SMALL.replace("steps = 10", "steps = 2.5")).startswith("training.steps: expected an integer")


# What is drawn


def test_data_come_from_separate_substreams(load):
    experiment = load(SMALL)
    data = experiment.datasets(experiment.network[0])
    assert [array.shape for array in data] == [(7, 2), (7,), (5, 2), (5,), (4, 2)]
    more = load(SMALL.replace("train = 7", "train = 90"))
    again = more.datasets(more.network[0])
    np.testing.assert_array_equal(again.x_test, data.x_test)
    np.testing.assert_array_equal(again.x_fisher, data.x_fisher)
    np.testing.assert_array_equal(again.x_train[:7], data.x_train)
    points = {tuple(row) for array in (data.x_train, data.x_test, data.x_fisher) for row in array}
    assert len(points) == 16


def test_points_have_the_stated_mean_and_deviation():
    n, mean, std = 40_000, np.array([1.0, -2.0]), np.array([0.5, 3.0])
    x = gaussian_points(n, mean, std, 11, TRAIN)
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * std / math.sqrt(n))
    assert np.all(np.abs(x.std(axis=0) - std) < 5 * std / math.sqrt(2 * n))
    other = gaussian_points(n, mean, std, 11, FISHER)
    assert abs(np.corrcoef(x[:, 0], other[:, 0])[0, 1]) < 5 / math.sqrt(n)


def test_target_functions_reach_numpy():
    x = np.array([[-0.5, 0.0], [0.5, 2.0]])
    values = target_values("erf(x1) + max(x1, x2, 0) + heaviside(x2) + sign(x1) + abs(x1)", x)
    expected = [math.erf(-0.5) + 0 + 0.5 - 1 + 0.5, math.erf(0.5) + 2 + 1 + 1 + 0.5]
    np.testing.assert_allclose(values, expected, rtol=1e-14)
    np.testing.assert_array_equal(target_values("1/2", x), [0.5, 0.5])


# The user's own files


def test_files_are_read_by_column_name(load_files):
    _, data = load_files()
    np.testing.assert_array_equal(data.x_train, [[2, 1], [5, 4], [8, 7], [1, 0]])
    np.testing.assert_array_equal(data.y_train, [3, 6, 9, 0.5])
    np.testing.assert_array_equal(data.x_test, [[1, 2], [3, 4]])
    assert sorted(map(tuple, data.x_fisher)) == sorted(map(tuple, data.x_train))
    assert all(array.dtype == np.float64 and array.flags["C_CONTIGUOUS"] for array in data)


def test_digest_holds_the_content_of_files_and_no_path(load_files, tmp_path):
    experiment, _ = load_files()
    reference = experiment.digest
    assert str(tmp_path) not in json.dumps(experiment.resolved())
    assert "train.csv" not in json.dumps(experiment.resolved())
    assert load_files(CSV.replace("9", "9.5"))[0].digest != reference
    (tmp_path / "train.csv").rename(tmp_path / "renamed.csv")
    (tmp_path / "train.csv").write_text("x1,x2,y\n1,1,1\n")
    (tmp_path / "my.toml").write_text(FILES.replace("train.csv", "renamed.csv"))
    (tmp_path / "renamed.csv").write_text(CSV)
    assert load_experiment(tmp_path / "my.toml").digest == reference


@pytest.mark.parametrize(
    ("csv", "pieces"),
    [
        ("", ["lacks column x1", "x1,x2,y"]),
        ("x1,x2,y\n", ["no rows", "at least one"]),
        ("x1,y\n1,2\n", ["lacks column x2", "x1,x2,y"]),
        ("x1,x2,x3,y\n1,2,3,4\n", ["has column x3", "x1,x2,y"]),
        ("x1,x2,y,y\n1,2,3,4\n", ["repeats a column", "x1,x2,y"]),
        ("x1,x2,y\n1,2,3\n1,nan,3\n", ["row 3", "column x2", "finite number"]),
        ("x1,x2,y\n1,2,3\n\n\n1,2,-inf\n", ["row 5", "column y", "finite number"]),
        ("x1,x2,y\n1,2,3\n1,,3\n", ["row 3", "column x2", "expected a number"]),
        ("x1,x2,y\n1,two,3\n", ["row 2", "column x2", "'two'"]),
        ("x1,x2,y\n1,2\n", ["row 2", "expected 3 columns, got 2"]),
        (b"x1,x2,y\n\xff\xfe,2,3\n", ["not a readable csv"]),
        ("x1,x2,y\n1,2,3\n", ["fisher.inputs", "at most 1"]),
    ],
    ids=lambda value: ascii(value)[:30] if isinstance(value, (str, bytes)) else "",
)
def test_bad_csv(load_files, csv, pieces):
    message = complaint(load_files, csv)
    assert message.startswith(("data.train_file: train.csv", "fisher.inputs"))
    for piece in pieces:
        assert piece in message


X, Y = np.ones((3, 2)), np.ones(3)


@pytest.mark.parametrize(
    ("arrays", "piece"),
    [
        ({"x": X}, "lacks array y"),
        ({"x": X, "y": Y[:2]}, "x (n, 2) and y (n,)"),
        ({"x": X[:, :1], "y": Y}, "x (n, 2) and y (n,)"),
        ({"x": X[:0], "y": Y[:0]}, "no rows"),
        ({"x": X + 1j, "y": Y}, "array x holds complex128"),
        ({"x": X, "y": Y > 0}, "array y holds bool"),
        ({"x": X, "y": np.array(["a", "b", "c"])}, "expected real numbers"),
        ({"x": X, "y": np.array([None, 1, 2])}, "plain numbers"),
        ({"x": X, "y": np.array([1, np.nan, 2])}, "row 1, column y"),
        ({"x": np.array([[1, 2], [3, np.inf]]), "y": Y[:2]}, "row 1, column x2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_npz(load_files, arrays, piece):
    message = complaint(load_files, **arrays)
    assert message.startswith("data.test_file: test.npz")
    assert piece in message


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04broken"])
def test_a_file_that_is_no_npz(load_files, tmp_path, content):
    experiment, _ = load_files()
    (tmp_path / "test.npz").write_bytes(content)
    assert "not a readable npz file" in complaint(experiment.datasets, experiment.network[0])


def test_missing_and_unknown_files(load_files, load):
    assert complaint(load_files, text=FILES.replace("train.csv", "absent.csv")).startswith(
        "data.train_file: no such file"
    )
    assert ".csv or .npz" in complaint(load_files, text=FILES.replace("train.csv", "my.toml"))
    for text, piece in [
        (FILES.replace("[training]", "train = 5\n[training]"), "data.train: not accepted together with train_file"),
        (FILES.replace("[training]", "input_mean = 1\n[training]"), "data.input_mean: not accepted with train_file"),
        (FILES.replace('test_file = "test.npz"', ""), "data.test_file: expected both"),
        (FILES.replace('"train.csv"', '""'), "data.train_file: expected both"),
    ]:
        assert complaint(load, text).startswith(piece)


# Mistakes: what is replaced in SMALL by what, and what the one line must hold

MISTAKES = [
    ("members = 80", "membres = 80", ["membres: unknown key", "nearest: members", "accepted:"]),
    ("train = 7", "trian = 7", ["data.trian: unknown key", "nearest: train"]),
    ("d_in = 2", "d_in = 2\nstrange = 1", ["network[0].strange: unknown key", "accepted: activation, d_in"]),
    ("learning_rate = 0.1", "learning_rte = 0.1", ["training.learning_rte: unknown key", "nearest: learning_rate"]),
    ("learning_rate = 0.1", "", ["training.learning_rate: this key is required"]),
    ('target = "x1 - x2**2"', "", ["data.target: this key is required"]),
    ("[fisher]\ninputs = 4", "", ["fisher: this key is required"]),
    ("members = 80", "members = 80.0", ["members: expected an integer, got 80.0"]),
    ("members = 80", 'members = "80"', ["members: expected an integer, got '80'"]),
    ("members = 80", "members = true", ["members: expected an integer, got True"]),
    ("members = 80", "members = 0", ["members: expected a number >= 1, got 0"]),
    ("members = 80", "seed = -1", ["seed: expected a number >= 0, got -1"]),
    ("members = 80", f"seed = {2**64}", ["seed: expected a number < 18446744073709551616"]),
    ('name = "small"', 'name = "a/b"', ["name: expected a short name"]),
    ('name = "small"', "name = 3", ["name: expected text, got 3"]),
    ("widths = [4, 6]", "widths = [4, -6]", ["network[0].widths[1]: expected a number >= 1, got -6"]),
    ("widths = [4, 6]", "widths = [4, 0]", ["network[0].widths[1]: expected a number >= 1, got 0"]),
    ("widths = [4, 6]", "widths = [4, true]", ["network[0].widths[1]: expected an integer, got True"]),
    ("widths = [4, 6]", "widths = 4", ["network[0].widths: expected a list, got 4"]),
    ("widths = [4, 6]", "widths = []", ["network[0].widths: expected at least 1 entries"]),
    ("widths = [4, 6]", "widths = [4]", ["network[0].activation: expected one, or 1", "got 2"]),
    (
        '["identity", "relu"]',
        '"rleu"',
        ["network[0].activation: unknown name 'rleu'", "nearest: relu", "expression in z"],
    ),
    ('["identity", "relu"]', '"z + y"', ["network[0].activation: 'y' is an unknown name", "accepted: numbers, z"]),
    ('["identity", "relu"]', "3", ["network[0].activation: expected text, got 3"]),
    ('["identity", "relu"]', '["relu", 3]', ["network[0].activation[1]: expected text, got 3"]),
    ('"fan_in"', '"fanin"', ["network[0].scaling: expected 'fan_in' or 'unscaled', got 'fanin'"]),
    ("[1.0, 1.5, 2]", "[1.0, 1.5]", ["network[0].sigma_w: expected a number, or 3", "got 2"]),
    ("[1.0, 1.5, 2]", "[1.0, -1.5, 2]", ["network[0].sigma_w[1]: expected a number >= 0, got -1.5"]),
    ("[1.0, 1.5, 2]", "true", ["network[0].sigma_w: expected a number, got True"]),
    ("[1.0, 1.5, 2]", "inf", ["network[0].sigma_w: expected a finite number, got inf"]),
    ("[1.0, 1.5, 2]", '{"<one>" = 1}', ["network[0].sigma_w: expected a number, got"]),
    ('label = "a"', 'label = "a b"', ["network[0].label: expected a short name"]),
    ("[[network]]", "[network]", ["network: expected a list"]),
    ("[0.5, -1.0]", "[0.5]", ["data.input_mean: expected a number or 2 of them, got 1"]),
    ("[0.5, -1.0]", "nan", ["data.input_mean: expected a finite number, got nan"]),
    ("input_std = 2", "input_std = 0", ["data.input_std: expected a number > 0, got 0"]),
    ("train = 7", "train = 0", ["data.train: expected a number >= 1, got 0"]),
    ("x2**2", "x3**2", ["data.target: 'x3' is an unknown name", "accepted: numbers, x1, x2"]),
    ("x2**2", "x2**", ["data.target: 'x1 - x2**' is not a complete expression"]),
    ('"gd"', '"adam"', ["training.method: expected 'sgd', 'gd' or 'gradient_flow', got 'adam'"]),
    ("learning_rate = 0.1", "learning_rate = -1", ["training.learning_rate: expected a number > 0, got -1"]),
    ("learning_rate = 0.1", f"learning_rate = 1{'0' * 400}", ["training.learning_rate: expected a"]),
    ("steps = 10", "steps = -10", ["training.steps: expected a number >= 0, got -10"]),
    ("inputs = 4", 'inputs = 4\nlaw = "gaussian"', ["fisher.inputs: expected exactly one of inputs", "law"]),
    ("inputs = 4", "noise_variance = 2", ["fisher.inputs: expected exactly one of inputs", "law"]),
    ("inputs = 4", 'law = "gaussian"', ["fisher.law", "one hidden layer"]),
    ("inputs = 4", 'law = "uniform"', ["fisher.law: expected 'gaussian', got 'uniform'"]),
    ("inputs = 4", "inputs = 4\nnoise_variance = 0", ["fisher.noise_variance: expected a number > 0, got 0"]),
    ("[0, 0.5, 2]", "[0, 2, 0.5]", ["shell.cutoffs: expected strictly increasing", "got 0.5 after 2"]),
    ("[0, 0.5, 2]", "[0, 0.5, 0.5]", ["shell.cutoffs: expected strictly increasing"]),
    ("[0, 0.5, 2]", "[-1, 0.5]", ["shell.cutoffs[0]: expected a number >= 0, got -1"]),
    ("[0, 0.5, 2]", "[0, nan]", ["shell.cutoffs[1]: expected a finite number, got nan"]),
    ("[0, 0.5, 2]", "[0, inf]", ["shell.cutoffs[1]: expected a finite number, got inf"]),
    ("[0, 0.5, 2]", "[]", ["shell.cutoffs: expected at least 2 entries"]),
    ("[0, 0.5, 2]", '[0, 1]\nmode = "drop"', ["shell.mode: expected 'resample' or 'prune', got 'drop'"]),
    ("[0, 0.5, 2]", "[0, 1]\nexcess = 1.0", ["shell.excess: expected a number < 1"]),
    ("inputs = 2", "widths = [5, 10, 20, 40]\nscan_members = 500", ["checks.widths", "one hidden layer"]),
    ("inputs = 2", "widths = [5, 10]\nscan_members = 500", ["checks.widths: expected [] or at least 4"]),
    ("inputs = 2", "widths = [5, 10, 20, 40]", ["checks.scan_members: expected at least 200"]),
    ("inputs = 2", "alpha = 0", ["checks.alpha: expected a number > 0"]),
    ("widths = [4, 6]", "widths = [100000, 100000]", ["network.widths", "GB; expected at most 8 GB"]),
    ("train = 7", "train = 1000000", ["data.train", "GB; expected at most 8 GB"]),
    ("members = 80", "members = 1000000001", ["members: expected a number <= 1000000000"]),
    ("[0, 0.5, 2]", "[0, 0.5, 2", ["my.toml is not valid TOML", "line"]),
    ("members = 80", "members = 80\nmembers = 81", ["my.toml is not valid TOML"]),
    ("members = 80", "members = " + "[" * 5000 + "]" * 5000, ["my.toml is not valid TOML"]),
]


@pytest.mark.parametrize(("old", "new", "pieces"), MISTAKES, ids=[(new or old)[:40] for old, new, _ in MISTAKES])
def test_every_mistake_is_one_line_with_key_and_accepted_values(load, old, new, pieces):
    assert SMALL.count(old) == 1
    message = complaint(load, SMALL.replace(old, new))
    assert len(message) < 400
    for piece in pieces:
        assert piece in message


def test_the_number_of_members_needs_no_memory(load):
    assert load(SMALL.replace("members = 80", "members = 1000000000")).members == 10**9


def test_two_networks_need_two_labels(load):
    network = SMALL[SMALL.index("[[network]]") : SMALL.index("[data]")]
    assert complaint(load, SMALL.replace(network, network + network)).startswith("network: expected a different label")
    assert len(load(SMALL.replace(network, network + network.replace('"a"', '"b"'))).network) == 2


@pytest.mark.parametrize("target", ["log(x1)", "1/(x1 - x1*1)", "exp(exp(x1*100))", "x1*1e300*1e300"])
def test_a_target_must_be_finite_on_the_data(load, target):
    def load_and_draw():
        experiment = load(SMALL.replace("x1 - x2**2", target))
        experiment.datasets(experiment.network[0])

    assert complaint(load_and_draw).startswith("data.target: ")


def test_unknown_names_and_files(tmp_path):
    message = complaint(load_experiment, "paper-txt")
    assert "nearest: paper-text" in message
    assert all(name in message for name in SHIPPED)
    assert "No such file" in complaint(load_experiment, tmp_path / "absent.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "cannot read" in complaint(load_experiment, tmp_path / "folder.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    assert "UTF-8" in complaint(load_experiment, tmp_path / "latin.toml")
