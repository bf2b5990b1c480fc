"""README promises: its commands are the ones CI runs, its Python runs, its links exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = dict(re.findall(r"<!-- command: (\w+) -->\n```sh\n(.*?)\n```", README, flags=re.DOTALL))


def test_the_two_commands_are_one_line_each():
    assert set(COMMANDS) == {"verify", "test"}
    start = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && "
    assert COMMANDS["verify"] == start + ".venv/bin/fieldflow verify"
    assert COMMANDS["test"] == start + ".venv/bin/python -m pytest -n auto --dist loadfile"


def test_ci_runs_the_readme():
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "command: $1" in text
    assert "readme_command test" in text


def test_python_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 2
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert capsys.readouterr().out.count("\n") >= 3


def test_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


@pytest.mark.parametrize(
    "command",
    [line.split("#")[0].strip() for line in README.splitlines() if re.match(r"fieldflow (list|derive|cite) ", line)],
)
def test_shell_commands_run(command, tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "fieldflow", *command.split()[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout


def test_examples_run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    names = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
    assert names
    for name in names:
        module = __import__(name)
        out = tmp_path / f"{name}.out"
        assert module.main(quick=True, seed=1, out=out) is not None
        assert out.stat().st_size > 0
