"""The command line: exit codes, one line for every mistake, nothing written unless everything went well."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.progress import Progress

from fieldflow import __version__, cli, progress, runner
from fieldflow.child import verify_in_child
from fieldflow.errors import BadInput
from fieldflow.experiment import SHIPPED, load_experiment, template
from fieldflow.formulas import catalog
from fieldflow.manifest import write_manifest
from fieldflow.store import replace_directory, write_text
from fieldflow.verdict import Standing

ROOT = Path(__file__).parent.parent


class Fake:
    """What ``run`` would return, without the computing."""

    exit_code = 0
    results = {"notes": ["a: training loss 7.5 (median)"]}  # noqa: RUF012

    def table(self):
        return "the table"

    def to_json(self):
        return '{"schema": 1}\n'

    def save(self, directory):
        return replace_directory(directory, lambda fresh: write_text(fresh / "results.json", self.to_json()))


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command in an empty directory and gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["fieldflow", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return command


@pytest.fixture
def calls(monkeypatch):
    """Replace ``run`` by one that records its arguments."""
    seen = []

    def run(experiment, **options):
        load_experiment(experiment, members=options.get("members"), seed=options["seed"], quick=options["quick"])
        options["progress"]("a sample", 64, 600)
        options["standing"](Standing("a/b", 3.0, 2, 0.4, "agrees"))
        options["progress"]("a sample", 600, 600)
        told = ("progress", "standing")
        seen.append((experiment, {key: value for key, value in options.items() if key not in told}))
        return Fake()

    monkeypatch.setattr(runner, "run", run)
    return seen


# Help and the small commands


@pytest.mark.parametrize("command", ["verify", "init", "list", "derive", "cite"])
def test_each_help_has_an_example(call, command):
    code, out, err = call(command, "--help")
    assert (code, err) == (0, "")
    assert f"Example: fieldflow {command}" in out


def test_general_help_names_the_commands(call):
    for arguments in (["--help"], []):
        code, out, _ = call(*arguments)
        assert code == 0
        assert "Example: fieldflow" in out
        assert all(f"  {command} " in out for command in ("verify", "init", "list", "derive", "cite"))


def test_version(call):
    assert call("--version") == (0, f"fieldflow {__version__}\n", "")


def test_help_loads_nothing_heavy():
    script = (
        "import sys; from fieldflow.cli import app; sys.argv = ['fieldflow', '--help']; app(standalone_mode=False); "
        "print('loaded:', sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split("loaded:")[1]
    assert "'typer'" in loaded
    for heavy in ("sympy", "numba", "scipy", "numpy", "matplotlib", "pydantic", "rich"):
        assert f"'{heavy}'" not in loaded


@pytest.mark.parametrize("name", SHIPPED)
def test_init_prints_a_file_that_loads_as_the_shipped_experiment(call, tmp_path, name):
    code, out, err = call("init", name)
    assert (code, out, err) == (0, template(name), "")
    (tmp_path / "my.toml").write_text(out)
    assert load_experiment(tmp_path / "my.toml").digest == load_experiment(name).digest


def test_list_names_experiments_and_formulas(call):
    code, out, _ = call("list")
    assert code == 0
    words = out.split()
    assert all(name in words for name in (*SHIPPED, *catalog()))


def test_derive_prints_text_steps_and_latex(call):
    code, plain, err = call("derive", "shell.homogeneous_Z")
    assert (code, err) == (0, "")
    for piece in ("shell.homogeneous_Z", "validity:", "domain:", "howard2024bayesian", "convention:"):
        assert piece in plain
    assert "steps:" not in plain
    _, steps, _ = call("derive", "shell.homogeneous_Z", "--steps")
    assert steps.startswith(plain)
    assert "[proved]" in steps
    _, latex, _ = call("derive", "shell.homogeneous_Z", "--latex")
    assert latex.startswith(r"\begin{gather}")
    _, both, _ = call("derive", "shell.homogeneous_Z", "--latex", "--steps")
    assert both.endswith(latex)
    assert both.startswith(r"\begin{enumerate}")
    assert both.count(r"\item ") == both.count(r"\emph{") >= 1


def test_cite_follows_what_a_formula_is_derived_from(call):
    code, out, _ = call("cite", "shell.critical_cutoff", "expectation.relu")
    assert code == 0
    assert out.count("@article{howard2024bayesian,") == 1
    assert "{price1958useful," in out
    assert "% shell.homogeneous_Z: howard2024bayesian, " in out


# verify

ALONE = {"shards": None, "resume": False, "workers": 1}


def test_verify_defaults_to_the_paper_and_hands_its_options_on(call, calls):
    assert call("verify")[0] == 0
    assert call("verify", "shallow-relu", "--members", "70", "--seed", "3", "--threads", "2", "--out", "b")[0] == 0
    assert calls == [
        ("paper", {"members": None, "seed": None, "threads": None, "quick": False} | ALONE),
        ("shallow-relu", {"members": 70, "seed": 3, "threads": 2, "quick": False} | ALONE),
    ]
    assert Path("fieldflow-out/results.json").is_file()
    assert Path("b/results.json").is_file()


@pytest.fixture
def children(monkeypatch):
    """Calls of ``verify --all`` for a process of its own, which report agreement."""
    seen = {"code": 0, "calls": []}

    def started(name, out, **options):
        seen["calls"].append((name, out, options))
        return seen["code"]

    monkeypatch.setattr("fieldflow.child.verify_in_child", started)
    return seen


def test_verify_all_says_its_budget_and_runs_every_shipped_experiment(call, children):
    code, out, _ = call("verify", "--all", "--quick", "--seed", "5", "--out", "b")
    assert code == 0
    options = {"seed": 5, "threads": None, "quick": True, "quiet": False}
    assert children["calls"] == [(name, Path("b") / name, options) for name in SHIPPED]
    minutes = sum(load_experiment(name, quick=True).minutes for name in SHIPPED)
    assert out.startswith("budget on 2 cores")
    assert f"{minutes:.1f} min" in out
    assert out.endswith(f"{len(SHIPPED)} of {len(SHIPPED)} experiments agree\nwritten to b\n")


def test_verify_all_exits_with_the_worst_verdict(call, children):
    children["code"] = 1
    code, out, _ = call("verify", "--all")
    assert code == 1
    assert f"0 of {len(SHIPPED)} experiments agree; not: {', '.join(SHIPPED)}" in out
    assert len(children["calls"]) == len(SHIPPED)


@pytest.mark.parametrize("code", [2, 130])
def test_verify_all_stops_at_an_error(call, children, code):
    children["code"] = code
    assert call("verify", "--all")[0] == code
    assert len(children["calls"]) == 1


def test_a_child_is_the_same_command(tmp_path):
    assert verify_in_child("no-such", tmp_path / "a", seed=1, threads=1, quick=True, quiet=True) == 2
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "extra",
    [
        ("paper",),
        ("--members", "70"),
        ("--json",),
        ("--json-lines",),
        ("--shards", "s"),
        ("--resume",),
        ("--workers", "2"),
    ],
)
def test_verify_all_takes_no_single_experiments_options(call, calls, extra):
    code, out, err = call("verify", "--all", *extra)
    assert (code, out, calls) == (2, "", [])
    assert err.startswith("error: all: not accepted together with")


@pytest.mark.parametrize("exit_code", [0, 1])
@pytest.mark.usefixtures("calls")
def test_verify_prints_table_or_json_or_nothing_and_exits_with_the_verdict(call, monkeypatch, exit_code):
    monkeypatch.setattr(Fake, "exit_code", exit_code)
    code, out, err = call("verify")
    assert (code, err) == (exit_code, "")
    assert out.startswith("the table\na: training loss 7.5 (median)\n")
    assert out.endswith("\nwritten to fieldflow-out\n")
    code, out, err = call("verify", "--json")
    assert (code, json.loads(out), err) == (exit_code, {"schema": 1}, "")
    assert call("verify", "--quiet") == (exit_code, "", "")


# Long runs


def test_verify_hands_shards_and_workers_on(call, calls):
    assert call("verify", "--shards", "s", "--workers", "3")[0] == 0
    assert call("verify", "--out", "b/mine", "--resume")[0] == 0
    options = [{key: seen[key] for key in ALONE} for _, seen in calls]
    assert options == [
        {"shards": Path("s"), "resume": False, "workers": 3},
        {"shards": Path("b/mine.shards"), "resume": True, "workers": 1},
    ]


def test_verify_prints_progress_as_lines_of_json(call, calls):
    code, out, err = call("verify", "--json-lines", "--out", "b")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, err, len(calls)) == (0, "", 1)
    keys = ["done", "joint", "members_per_second", "seconds_left", "stage", "total"]
    assert [sorted(line) for line in lines[:2]] == [keys] * 2
    joint = {"family": "a/b", "chi2": 3.0, "dof": 2, "p_value": 0.4, "status": "agrees"}
    assert [line["joint"] for line in lines[:2]] == [None, joint]
    assert [(line["stage"], line["done"], line["total"]) for line in lines[:2]] == [
        ("a sample", 64, 600),
        ("a sample", 600, 600),
    ]
    assert lines[2:] == [{"result": "b", "exit_code": 0}]


def test_lines_of_json_are_few_and_their_rate_leaves_compiling_out(capsys, monkeypatch):
    times = iter([100.0, 100.1, 102.0, 102.1])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    lines = progress.JsonLines()
    for done in (64, 128, 264, 300):
        lines.update("sample", done, 300)
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["done"], line["members_per_second"]) for line in shown] == [(64, None), (264, 100.0), (300, 112.381)]


def test_bars_show_how_a_comparison_stands(monkeypatch):
    bars = progress.Bars(unit="members")
    bars.update("sample", 64, 600)
    assert len(list(bars._bars.get_renderables())) == 1
    bars.standing(Standing("a/b", 3.0, 2, 0.4, "agrees"))
    assert str(list(bars._bars.get_renderables())[1]) == "a/b so far: χ²/dof = 1.5000, p = 0.4, agrees"


def test_bars_show_members_per_second():
    bars = Progress(progress.Rate("members"))
    bars.add_task("sample", total=10)
    task = bars.tasks[0]
    assert progress.Rate("members").render(task).plain == ""
    task.finished_speed = 1234.4
    assert progress.Rate("members").render(task).plain == "1,234 members/s"


@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        (["--shards", "b/below", "--out", "b"], "shards: b/below lies in b, which the result replaces"),
        (["--shards", "b", "--out", "b"], "shards: b lies in b"),
        (["--json", "--json-lines"], "json: not accepted together with --json-lines"),
    ],
)
def test_verify_refuses_what_does_not_fit_together(call, calls, tmp_path, arguments, piece):
    code, out, err = call("verify", *arguments)
    assert (code, out, calls) == (2, "", [])
    assert err.startswith(f"error: {piece}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def kept(tmp_path):
    """A directory that keeps 128 of 600 members."""
    entry = {"stage": "sample", "members": 64, "sha256": "", "size": 1}
    other = {**entry, "stage": "predict"}
    (tmp_path / "my shards").mkdir()
    write_manifest(tmp_path / "my shards", {"members": 600, "shards": {"a": entry, "b": entry, "c": other}})


GO_ON = (
    "128 of 600 members are kept in my shards; go on with fieldflow verify paper --out fieldflow-out --members 600 "
    "--workers 1 --quick --shards 'my shards' --resume\n"
)


@pytest.mark.usefixtures("kept")
def test_an_interrupted_run_says_how_to_go_on(call, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupted)
    code, out, err = call("verify", "paper", "--members", "600", "--quick", "--shards", "my shards")
    assert (code, out, err) == (130, "", f"interrupted: {GO_ON}")


@pytest.mark.usefixtures("kept", "calls")
def test_a_full_disk_at_the_end_says_how_to_go_on(call, monkeypatch):
    def full(self, directory):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Fake, "save", full)
    code, out, err = call("verify", "paper", "--members", "600", "--quick", "--shards", "my shards")
    assert (code, out) == (2, "")
    assert err == f"error: out: cannot write fieldflow-out: No space left on device; {GO_ON}"


@pytest.mark.usefixtures("calls")
def test_verify_replaces_only_what_fieldflow_wrote(call, tmp_path):
    assert call("verify", "--out", "mine")[0] == 0
    (tmp_path / "mine" / "notes").write_text("precious")
    (tmp_path / "mine" / "results.json").write_text("edited")
    assert call("verify", "--out", "mine")[0] == 0
    assert (tmp_path / "mine" / "notes").read_text() == "precious"
    assert (tmp_path / "mine" / "results.json").read_text() == '{"schema": 1}\n'


@pytest.mark.parametrize("kind", ["foreign directory", "file", "below a file"])
def test_verify_leaves_foreign_places_alone_and_computes_nothing(call, calls, tmp_path, kind):
    place = tmp_path / "place"
    if kind == "foreign directory":
        place.mkdir()
        (place / "thesis.tex").write_text("precious")
    else:
        place.write_text("precious")
    target = place / "below" if kind == "below a file" else place
    before = sorted(tmp_path.rglob("*"))
    code, out, err = call("verify", "--out", str(target))
    assert (code, out) == (2, "")
    assert err.startswith("error: out: ")
    assert err.count("\n") == 1
    assert calls == []
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("calls")
def test_a_failing_save_is_one_line_and_leaves_nothing(call, monkeypatch, tmp_path):
    def full(self, directory):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Fake, "save", full)
    code, out, err = call("verify")
    assert (code, out) == (2, "")
    assert err == "error: out: cannot write fieldflow-out: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_interrupt(call, monkeypatch, tmp_path):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupted)
    assert call("verify") == (130, "", "interrupted: nothing was written\n")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_several_lines_becomes_one(call, monkeypatch):
    def fails(*arguments, **options):
        raise BadInput("first\n  second")

    monkeypatch.setattr(runner, "run", fails)
    assert call("verify") == (2, "", "error: first second\n")


BAD = [
    (["bogus"], "bogus"),
    (["--bogus"], "--bogus"),
    (["verify", "--bogus"], "--bogus"),
    (["verify", "--members", "many"], "--members"),
    (["verify", "--members", "1.5"], "--members"),
    (["verify", "--members", "0"], "members: expected an integer from 1"),
    (["verify", "--members", "15"], "members: expected at least 16"),
    (["verify", "--seed", "-1"], "seed: expected an integer from 0"),
    (["verify", "--seed", str(2**64)], "seed: expected an integer from 0"),
    (["verify", "--threads", "0"], "threads: expected an integer from 1"),
    (["verify", "--workers", "0"], "workers: expected an integer from 1"),
    (["verify", "--members", "15", "--resume"], "members: expected at least 16"),
    (["verify", "papr"], "nearest: paper"),
    (["verify", "absent.toml"], "absent.toml"),
    (["verify", "paper", "extra"], "extra"),
    (["verify", "bad.toml"], "network[0].widths[0]: expected a number >= 1, got -10"),
    (["verify", "nan.toml"], "data.train_file: nan.csv, row 2, column x2: expected a finite number"),
    (["init", "papr"], "nearest: paper"),
    (["derive"], "NAME"),
    (["derive", "shell.men"], "nearest: shell.mean"),
    (["cite"], "NAME"),
    (["cite", "shell.mean", "shell.men"], "nearest: shell.mean"),
]


@pytest.mark.parametrize(("arguments", "piece"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_input_is_one_line_exit_2_and_nothing_written(call, tmp_path, arguments, piece):
    text = template("paper")
    (tmp_path / "bad.toml").write_text(text.replace("widths = [10,", "widths = [-10,"))
    own = text.replace('\ntarget = "(1 - x1)**2', '\ntrain_file = "nan.csv"\ntest_file = "nan.csv"\n# "')
    for key in ("input_mean", "input_std", "train", "test"):
        own = own.replace(f"\n{key} =", f"\n# {key} =")
    (tmp_path / "nan.toml").write_text(own)
    (tmp_path / "nan.csv").write_text("x1,x2,y\n1,nan,2\n")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert piece in err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_program_as_a_process(tmp_path):
    script = "from fieldflow.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, "verify", "papr"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: experiment: unknown name 'papr'")
    assert list(tmp_path.iterdir()) == []


BUSY = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job started in the background ignores it
from concurrent.futures import ThreadPoolExecutor
from fieldflow import cli, runner

def run(*arguments, **options):
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(time.sleep, 60)
        print("busy", flush=True)
        stuck.result()

runner.run = run
sys.argv = ["fieldflow", "verify"]
cli.main()
"""


def test_interrupt_does_not_wait_for_busy_threads(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", BUSY],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "busy\n"
        start = time.perf_counter()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        elapsed = time.perf_counter() - start
    assert (process.returncode, err) == (130, "interrupted: nothing was written\n")
    assert elapsed < 1.0
    assert list(tmp_path.iterdir()) == []


def test_interrupt_while_saving_cleans_up(call, calls, monkeypatch, tmp_path):
    def fill(fresh):
        write_text(fresh / "results.json", "half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Fake, "save", lambda self, directory: replace_directory(directory, fill))
    assert call("verify") == (130, "", "interrupted: nothing was written\n")
    assert len(calls) == 1
    assert list(tmp_path.iterdir()) == []
