"""Derivations kept on disk: found again, never stale, never in the way."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import sympy as sp

from fieldflow import derivation_cache
from fieldflow.derivation_cache import remembered

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setattr(derivation_cache, "cache_root", lambda: tmp_path)
    return tmp_path / "derivations"


@pytest.fixture
def count():
    """A builder that counts its calls."""
    calls = []

    def build():
        calls.append(1)
        return sp.Symbol("x") ** len(calls)

    build.calls = calls
    return build


def test_the_second_call_reads_the_file(folder, count):
    first = remembered(sp.Basic, count, "a", "b")
    assert remembered(sp.Basic, count, "a", "b") == first
    assert len(count.calls) == len(list(folder.iterdir())) == 1


def test_other_keys_and_other_sources_are_derived_anew(folder, count, monkeypatch):
    remembered(sp.Basic, count, "a", "b")
    remembered(sp.Basic, count, "a b")
    assert len(count.calls) == 2
    monkeypatch.setattr(derivation_cache, "_sources", lambda: b"an edited lemma")
    remembered(sp.Basic, count, "a", "b")
    assert len(count.calls) == len(list(folder.iterdir())) == 3


def test_the_key_covers_every_source_of_the_symbolic_layer(tmp_path, monkeypatch):
    """Two processes on copies of the sources that differ in one comment do not share derivations."""
    digests = []
    for text in ("", "# edited\n"):
        (tmp_path / "lemma.py").write_text(text)
        monkeypatch.setattr(derivation_cache.symbolic, "__path__", [str(tmp_path)])
        derivation_cache._sources.cache_clear()
        digests.append(derivation_cache._sources())
    monkeypatch.undo()
    derivation_cache._sources.cache_clear()
    assert digests[0] != digests[1] != derivation_cache._sources()


@pytest.mark.parametrize("content", [b"", b"\x80\x05", b"not a pickle", pickle.dumps("of another kind")])
def test_broken_and_foreign_files_are_replaced(folder, count, content):
    remembered(sp.Basic, count, "a")
    (file,) = folder.iterdir()
    file.write_bytes(content)
    assert remembered(sp.Basic, count, "a") == sp.Symbol("x") ** 2
    assert remembered(sp.Basic, count, "a") == sp.Symbol("x") ** 2
    assert len(count.calls) == 2
    assert [entry.suffix for entry in folder.iterdir()] == [".pickle"]


def test_a_cache_that_cannot_be_written_costs_only_the_speed(tmp_path, count, monkeypatch):
    (tmp_path / "derivations").write_text("a file is in the way")
    monkeypatch.setattr(derivation_cache, "cache_root", lambda: tmp_path)
    remembered(sp.Basic, count, "a")
    remembered(sp.Basic, count, "a")
    assert len(count.calls) == 2


@pytest.mark.usefixtures("folder")
def test_what_is_derived_is_what_is_read_later():
    """SymPy restores (a + b)/2 as a/2 + b/2; a cold cache must not print other formulas than a warm one."""
    x, y = sp.symbols("x y")
    half = sp.Mul(sp.Rational(1, 2), x + y, evaluate=False)
    cold, warm = remembered(sp.Basic, lambda: half, "a"), remembered(sp.Basic, lambda: half, "a")
    assert cold.args == warm.args != half.args


def test_a_second_process_derives_nothing(tmp_path):
    code = (
        "import fieldflow as ff\n"
        "from fieldflow.symbolic import stein\n"
        "def refuse(*_): raise SystemExit('derived again')\n"
        "stein.pieces = refuse if {second} else stein.pieces\n"
        "print(ff.gaussian_expectation('gelu').expr)\n"
    )
    environment = {**os.environ, "FIELDFLOW_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    texts = []
    for second in (False, True):
        run = subprocess.run([sys.executable, "-c", code.format(second=second)], env=environment, cwd=tmp_path,
                             capture_output=True, text=True, check=False)  # fmt: skip
        assert run.returncode == 0, run.stderr
        texts.append(run.stdout)
    assert texts[0] == texts[1]
