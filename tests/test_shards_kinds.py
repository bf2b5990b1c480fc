"""Every kind of experiment keeps its members: the same bytes with shards, after losing some of them, from other processes."""

import json
import os
import pickle
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import fieldflow as ff
from fieldflow.errors import BadInput
from fieldflow.experiment import KINDS, template
from fieldflow.keeper import Keeper
from fieldflow.manifest import kept_in, read_manifest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # so few members have no errors to speak of

WIDTHS = {"checks.widths": [20, 40, 60, 80], "checks.scan_members": 200}

TINY = {
    "cosnet-1d": {
        "members": 130, "cosnet.width": 60, **WIDTHS, "field.momenta": 4, "field.separations": 3,
        "shell.cutoffs": [0, 0.1], "shell.points": [0.3, 1.1], "data.train": 4,
    },
    "commutative-diagram": {
        "members": 130, "network.0.widths": [40], "network.0.cutoffs": [0.5, 1.0], "cosnet.0.width": 40,
        "cosnet.0.cutoffs": [0.1, 0.2], "data.train": 4, "checks.inputs": 2, "checks.frozen_members": 200, **WIDTHS,
    },
    "factorised": {
        "members": 1000, "network.width": 10, "shell.cutoffs": [0, 0.4], "data.points": 2, "independent.width": 20,
        "independent.members": 130,
    },
    "shared-features": {"members": 1000, "network.width": 10, "shell.cutoffs": [0, 0.4], "data.points": 2},
    "finite-width": {
        "members": 200, "network.widths": [40], "data.train": 4, "shell.cutoffs": [0, 0.5], "checks.neurons": 256, **WIDTHS,
    },
    "pruning": {"members": 200, "network.widths": [40], "data.train": 4, "data.test": 5, "pruning.fractions": [0.5],
                "pruning.rules": ["random", "magnitude"], **WIDTHS},
    "actions": {
        "members": 200, "data.train": 4, "data.points": [[2.5, 1.5], [-1.0, 0.5]], "training.steps": [0, 3],
        "shell.cutoffs": [0, 0.5], "checks.neurons": 256, "checks.blocks": 40, "checks.initial_members": 1000, **WIDTHS,
    },
    "nnqft-relu": {"members": 9000, "mesh": [{"label": "d1", "points": [[0.2], [1.0]]}] * 2, "checks.widths": [5, 20]},
    "nnqft-gauss": {"members": 300, "mesh": [{"label": "d1", "points": [[0.01], [-0.01]]}], "checks.widths": [5, 20]},
    "phi4": {"members": 300, "cosnet.width": 20, "chains.draws": 0},
}  # fmt: skip

SCAN = ["sample_20", "sample_40", "sample_60", "sample_80"]
STAGES = {
    "cosnet-1d": {"cosnet-1d": ["sample_field", "sample_trained", "examine", *SCAN]},
    "commutative-diagram": {
        label: [*SCAN, *(f"{stage}_{mode}" for mode in ("resample", "prune")
                         for stage in ("sample", "given", "sample_frozen", "arrow"))]
        for label in ("relu", "cosnet")
    },
    "factorised": {label: ["sample"] for label in ("factorised", "hidden", "independent")},
    "shared-features": {"shared": ["sample"]},
    "finite-width": {
        "relu": [f"{stage}_{mode}{width}" for mode in ("resample", "prune")
                 for stage, width in (("sample", ""), ("given", ""), *(("sample", f"_{w}") for w in (20, 40, 60, 80)))]
    },
    "pruning": {"relu": ["sample", *SCAN]},
    "actions": {"relu": ["sample_time0", "sample_time1", "sample_initial", "given", *SCAN]},
    "nnqft-relu": {
        "d1": [f"{stage}{mesh}_{width}" for mesh in (0, 1)
               for stage, width in (("sample", 5), ("sample", 20), ("sample", "again"), ("tail", 5), ("tail", 20))]
    },
    "nnqft-gauss": {"d1": ["sample0_5", "sample0_20", "sample0_again", "tail0_5", "tail0_20", "sample_plain_5",
                           "sample_plain_20"]},
    "phi4": {"phi4": ["sample"]},
}  # fmt: skip


def tiny(name, **change):
    """Return a shipped experiment with few members and small networks."""
    values = tomllib.loads(template(name))
    values.pop("quick")
    for key, value in {**TINY[name], **change}.items():
        *tables, last = key.split(".")
        place = values
        for table in tables:
            place = place[int(table)] if isinstance(place, list) else place[table]
        place[last] = value
    return KINDS[values["kind"]].model_validate(values)


@cache
def alone(name):
    return ff.run(tiny(name), threads=1).to_json()


class Posted(Keeper):
    """A keeper whose work crosses to another process and back before it is done."""

    def each(self, label, stage, kind, members, prepare, *rest, **named):
        super().each(label, stage, kind, members, pickle.loads(pickle.dumps(prepare)), *rest, **named)


def passes(place):
    """Return how many members are kept of each label and stage."""
    found = Counter()
    for name, entry in read_manifest(place)["shards"].items():
        label, stage, _ = name.rsplit("-", 2)
        assert stage == entry["stage"]
        found[label, stage] += entry["members"]
    return found


def contents(place):
    return {path.name: path.read_bytes() for path in place.iterdir() if path.suffix == ".npz"}


def test_every_kind_is_here():
    assert {tiny(name).kind for name in TINY} | {"shell"} == set(KINDS)


@pytest.mark.parametrize("name", TINY)
def test_shards_hold_every_pass_and_change_no_byte(name, tmp_path, monkeypatch):
    monkeypatch.setattr("fieldflow.runner.Keeper", Posted)
    study, told = tiny(name), {}
    place = tmp_path / "s"
    whole = ff.run(
        study, threads=2, shards=place, progress=lambda stage, done, total: told.update({stage: done / total})
    )
    assert whole.to_json() == alone(name)
    assert set(told.values()) == {1.0}
    found = passes(place)
    assert set(found) == {(label, stage) for label, stages in STAGES[name].items() for stage in stages}
    assert sum(count for (_, stage), count in found.items() if stage.startswith("sample")) == study.drawn
    assert kept_in(place) == f"{study.drawn} of {study.drawn} members are kept in {place}"

    before = contents(place)
    for lost in sorted(before)[::3]:
        (place / lost).unlink()
    assert ff.run(study, threads=1, shards=place, resume=True).to_json() == alone(name)
    assert contents(place) == before


def test_a_scan_of_another_size_is_refused(tmp_path):
    ff.run(tiny("pruning"), threads=1, shards=tmp_path / "s")
    for change, key in (
        ({"checks.scan_members": 201}, "checks.scan_members is 200 there and 201 here"),
        ({"checks.widths": [20, 40, 60, 100]}, r"checks.widths\[3\] is 80 there and 100 here"),
        ({"members": 201}, "members is 200 there and 201 here"),
    ):
        with pytest.raises(BadInput, match=key):
            ff.run(tiny("pruning", **change), threads=1, shards=tmp_path / "s", resume=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lost"), [("shared-features", "sample"), ("nnqft-relu", "sample0_5"), ("finite-width", "sample_prune_20")]
)
def test_workers_change_no_byte(name, lost, tmp_path):
    """Only the pass that was lost starts processes, which takes longer than these networks."""
    ff.run(tiny(name), threads=1, shards=tmp_path / "s")
    before = contents(tmp_path / "s")
    gone = [shard for shard in before if f"-{lost}-" in shard]
    assert len(gone) >= 4
    for shard in gone:
        (tmp_path / "s" / shard).unlink()
    assert ff.run(tiny(name), threads=1, workers=2, shards=tmp_path / "s", resume=True).to_json() == alone(name)
    assert contents(tmp_path / "s") == before


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import fieldflow as ff
from test_shards_kinds import tiny

plain, count = os.replace, 0

def replace(source, target):
    global count
    plain(source, target)
    count += Path(target).suffix == ".npz"
    if count == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = replace
ff.run(tiny(sys.argv[1]), threads=1, shards=sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs kill")
@pytest.mark.parametrize("name", TINY)
def test_a_killed_run_goes_on_to_the_same_bytes(name, tmp_path):
    at = 3 if name == "phi4" else 8
    command = [sys.executable, "-c", KILLED, name, str(tmp_path / "s"), str(Path(__file__).parent), str(at)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    kept = json.loads((tmp_path / "s" / "manifest.json").read_text())["shards"]
    assert len(kept) == at - 1
    assert ff.run(tiny(name), threads=1, shards=tmp_path / "s", resume=True).to_json() == alone(name)
