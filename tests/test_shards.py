"""Long sampling: what a kill at any moment leaves, what is taken over, what is refused, and the same bytes in the end."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pytest

import fieldflow as ff
from fieldflow.errors import BadInput
from fieldflow.experiment import load_experiment
from fieldflow.keeper import Keeper
from fieldflow.manifest import MANIFEST, first_difference, read_manifest
from fieldflow.shards import Shards, identity, members_per_shard
from fieldflow.workers import BLOCK

ROOT = Path(__file__).parent.parent

SMALL = """
name = "small"
seed = 7
members = 320
[[network]]
label = "net"
d_in = 2
widths = [6, 50]
activation = ["identity", "relu"]
sigma_w = 1.5
[data]
target = "x1**2 - x2/2"
train = 6
test = 6
seed = 3
[training]
method = "gd"
learning_rate = 0.01
steps = 30
[fisher]
inputs = 4
[shell]
cutoffs = [0, 0.3, 1]
[checks]
inputs = 2
"""

MEMBERS = 5 * BLOCK
SAME = {"seed": 1, "experiment": {"resolved": {"training": {"steps": 30}}}}


class Toy(NamedTuple):
    """One number and one flag per member."""

    value: np.ndarray
    flag: np.ndarray


def toy(first, count, stop):
    members = np.arange(first, first + count)
    return Toy(np.sin(members[:, None] + np.arange(40.0)), members % 3 == 0)


def gather(place, *, resume, same=SAME, threads=1, seen=None):
    """Return the toy records of all members, kept in ``place``; ``seen`` collects the members that were computed."""

    def work(first, count, stop):
        if seen is not None:
            seen.append(first)
        return toy(first, count, stop)

    keeper = Keeper(Shards(place, same, MEMBERS, resume=resume))
    try:
        return keeper.gather("toy", "sample", Toy, MEMBERS, lambda: work, threads=threads, progress=lambda _: None)
    finally:
        keeper.close()


def files(place):
    """Return the content of every kept file by name."""
    return {path.name: path.read_bytes() for path in place.iterdir() if path.name != ".lock"}


@pytest.fixture
def whole(tmp_path):
    """A directory with all five shards."""
    gather(tmp_path / "whole", resume=False)
    return tmp_path / "whole"


# Kills

KILLS = '''
"""Kill a child at each step of writing five shards; print the state that each leaves and whether resuming mends it."""
import json, os, signal, sys
from pathlib import Path

sys.path.insert(0, str(Path(sys.argv[2])))
from fieldflow.manifest import kept_members, read_manifest
from test_shards import files, gather

CHUNKS = 4
plain_open, plain_fsync, plain_replace = Path.open, os.fsync, os.replace


def hooked(step):
    class Torn:
        def __init__(self, file):
            self.file = file
        def __enter__(self):
            return self
        def __exit__(self, *error):
            self.file.close()
        def __getattr__(self, name):
            return getattr(self.file, name)
        def write(self, content):
            size = -(-len(content) // CHUNKS)
            for start in range(0, len(content), size):
                self.file.write(content[start : start + size])
                self.file.flush()
                step("inside a write" if start + size < len(content) else "after a write")
    def opened(path, mode="r", *rest, **named):
        file = plain_open(path, mode, *rest, **named)
        return Torn(file) if mode == "wb" else file
    def fsync(handle):
        plain_fsync(handle)
        step("after a sync")
    def replace(source, target):
        step("before a rename")
        plain_replace(source, target)
        step("after a rename")
    Path.open, os.fsync, os.replace = opened, fsync, replace


def child(place, at, report):
    count = 0
    def step(what):
        nonlocal count
        count += 1
        if count == at:
            os.write(report, what.encode())
            os.kill(os.getpid(), signal.SIGKILL)
    hooked(step)
    gather(place, resume=False)
    os._exit(0)


def state(place):
    manifest = read_manifest(place)
    listed = set() if manifest is None else set(manifest["shards"])
    there = {} if not place.exists() else {path.name: path.stat().st_size for path in place.iterdir()}
    return {
        "manifest": manifest is not None,
        "kept": 0 if manifest is None else kept_members(manifest),
        "unlisted": sorted(name for name in there if name.endswith(".npz") and name not in listed),
        "unfinished": {name: size for name, size in there.items() if name.endswith(".tmp")},
    }


root, at = Path(sys.argv[1]), 0
gather(root / "undisturbed", resume=False)
expected = files(root / "undisturbed")
while True:
    at += 1
    place = root / str(at)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(place, at, write)
    os.close(write)
    what = os.read(read, 100).decode()
    os.close(read)
    if os.waitpid(pid, 0)[1] != signal.SIGKILL:
        break
    found, computed = state(place), []
    gather(place, resume=True, seen=computed)
    print(json.dumps({"kill": at, "moment": what, **found, "computed": 64 * len(computed), "same": files(place) == expected}))
'''


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_moment_of_writing_loses_no_finished_shard(tmp_path):
    script = tmp_path / "kills.py"
    script.write_text(KILLS)
    (tmp_path / "runs").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(tmp_path / "runs"), str(Path(__file__).parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    log = "\n".join(map(str, kills))
    assert len(kills) >= 50, log
    moments = [kill["moment"] for kill in kills]
    assert moments.count("inside a write") >= 10, log
    assert {"after a write", "after a sync", "before a rename", "after a rename"} <= set(moments), log
    for kill in kills:
        assert kill["same"], f"{kill}\n{log}"
        assert kill["kept"] + kill["computed"] == MEMBERS, f"{kill}\n{log}"
        assert len(kill["unlisted"]) <= 1, f"{kill}\n{log}"
        if kill["moment"] == "inside a write":
            assert len(kill["unfinished"]) == 1, f"{kill}\n{log}"
    assert [kill["kept"] for kill in kills] == sorted(kill["kept"] for kill in kills), log
    assert kills[-1]["kept"] == MEMBERS, log


STOPPED = """
import os, signal, sys
from fieldflow import cli

signal.signal(signal.SIGINT, signal.default_int_handler)
plain, count = os.replace, 0

def replace(source, target):
    global count
    plain(source, target)
    mine = os.path.basename(os.path.dirname(os.path.abspath(target))) == "s"  # Numba's cache moves files, too
    count += mine
    if mine and count == 6:  # a manifest, two shards with their manifests, and the third shard
        os.kill(os.getpid(), {signal})

os.replace = replace
sys.argv = ["fieldflow", "verify", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch, name, caplog):
    (tmp_path / "small.toml").write_text(SMALL)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = STOPPED.replace("{signal}", f"signal.{name}")
    command = [sys.executable, "-c", script, "small.toml", "--out", "o", "--threads", "1", "--shards", "s"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    manifest = read_manifest(tmp_path / "s")
    kept = sum(entry["members"] for entry in manifest["shards"].values())
    state = (done.returncode, kept, sorted(files(tmp_path / "s")), done.stderr)
    assert not (tmp_path / "o").exists(), state
    if name == "SIGKILL":
        assert (done.returncode, kept) == (-signal.SIGKILL, 128), state
    else:
        assert done.returncode == 130, state
        again = "fieldflow verify small.toml --out o --threads 1 --workers 1 --shards s --resume"
        assert done.stderr.startswith("interrupted: "), state
        assert done.stderr.endswith(f" of 320 members are kept in s; go on with {again}\n"), state
    monkeypatch.chdir(tmp_path)
    resumed = ff.run("small.toml", threads=2, shards="s", resume=True)
    assert resumed.to_json() == ff.run("small.toml", threads=2).to_json()
    assert len(read_manifest(Path("s"))["shards"]) == 10
    if name == "SIGKILL":
        assert caplog.messages == [f"shards: {Path('s/net-sample-000002.npz')} is not in the manifest; computed again"]


# Damage


def flip(content):
    return content[:500] + bytes([content[500] ^ 1]) + content[501:]


DAMAGE = {
    "truncated": (lambda content, other: content[:-7], "bytes instead of"),
    "empty": (lambda content, other: b"", "has 0 bytes instead of"),
    "bit-flipped": (lambda content, other: flip(content), "does not have the checksum"),
    "foreign": (lambda content, other: other, "does not have the checksum"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_shard_is_named_and_redone(whole, kind, caplog):
    before, (damage, complaint) = files(whole), DAMAGE[kind]
    path = whole / "toy-sample-000003.npz"
    path.write_bytes(damage(path.read_bytes(), before["toy-sample-000001.npz"]))
    assert files(whole) != before
    seen = []
    record = gather(whole, resume=True, seen=seen)
    assert seen == [3 * BLOCK]
    assert [message for message in caplog.messages if str(path) in message and complaint in message] == caplog.messages
    assert len(caplog.messages) == 1
    assert files(whole) == before
    np.testing.assert_array_equal(record.value, toy(0, MEMBERS, None).value)


def test_a_missing_shard_is_named_and_redone(whole, caplog):
    before = files(whole)
    (whole / "toy-sample-000000.npz").unlink()
    gather(whole, resume=True)
    assert "toy-sample-000000.npz cannot be read" in caplog.text
    assert files(whole) == before


@pytest.mark.parametrize(
    "content", [{"value": np.zeros(3), "flag": np.zeros(3)}, {"value": np.zeros(BLOCK)}, {"text": np.array(["a"])}]
)
def test_a_listed_shard_of_another_shape_is_redone(whole, content, caplog):
    before, name = files(whole), "toy-sample-000001.npz"
    np.savez(whole / name, **content)
    data, manifest = (whole / name).read_bytes(), read_manifest(whole)
    manifest["shards"][name] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (whole / MANIFEST).write_text(json.dumps(manifest))
    gather(whole, resume=True)
    assert f"{name} cannot be read" in caplog.text
    assert files(whole) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"shards": 3, "members": 1}', '{"shards": {"a": {}}, "members": 1}'])
def test_a_broken_manifest_is_refused(whole, text):
    (whole / MANIFEST).write_text(text)
    with pytest.raises(BadInput, match="to start again"):
        gather(whole, resume=True)


# What is refused


def test_another_run_is_refused_by_the_key_that_differs(whole):
    before = files(whole)
    for same, piece in (
        ({**SAME, "seed": 2}, "seed is 1 there and 2 here"),
        ({**SAME, "experiment": {"resolved": {"training": {"steps": 31}}}}, "training.steps is 30 there and 31 here"),
        ({**SAME, "versions": {"numpy": "3"}}, "versions is null there"),
    ):
        with pytest.raises(BadInput, match=piece):
            gather(whole, resume=True, same=same)
    assert files(whole) == before


def test_every_part_of_the_identity_counts(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    study = load_experiment(tmp_path / "small.toml")
    here = identity(study.resolved(), study.digest, seed=study.seed, members=study.members)
    assert first_difference(here, json.loads(json.dumps(here))) is None
    for key in ("rng_version", "machine", "block", "members_per_shard", "schema", "seed"):
        assert first_difference({**here, key: "other"}, here).startswith(f'{key} is "other" there')
    assert {"fieldflow", "python", "numpy", "scipy", "numba", "llvmlite", "numeric"} == set(here["versions"])
    for old, new, key in (
        ("steps = 30", "steps = 31", "training.steps"),
        ("[6, 50]", "[6, 51]", "network[0].widths[1]"),
        ("[0, 0.3, 1]", "[0, 0.3]", "shell.cutoffs"),
        ("seed = 7", "seed = 8", "seed"),
        ("members = 320", "members = 321", "members"),
    ):
        (tmp_path / "other.toml").write_text(SMALL.replace(old, new))
        other = load_experiment(tmp_path / "other.toml")
        there = identity(other.resolved(), other.digest, seed=other.seed, members=other.members)
        assert first_difference(there, here).startswith(f"{key} is ")
    (tmp_path / "other.toml").write_text(f'description = "in other words"\nminutes = 3\n{SMALL}')
    other = load_experiment(tmp_path / "other.toml")
    assert identity(other.resolved(), other.digest, seed=other.seed, members=other.members) == here


def test_what_is_there_is_not_touched_without_resume(whole):
    with pytest.raises(BadInput, match=rf"{MEMBERS} of {MEMBERS} members are kept in .*; give --resume"):
        gather(whole, resume=False)


def test_foreign_places_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    for place, piece in ((tmp_path, "has no manifest"), (tmp_path / "thesis.tex", "is not a directory")):
        with pytest.raises(BadInput, match=piece):
            gather(place, resume=True)
    with pytest.raises(BadInput, match="cannot write in"):
        gather(tmp_path / "thesis.tex" / "below", resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs file locks")
def test_a_directory_in_use_is_refused(tmp_path):
    first, second = (Shards(tmp_path / "s", SAME, MEMBERS, resume=True) for _ in range(2))
    first.open()
    with pytest.raises(BadInput, match="in use by another run"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(BadInput, match="resume: give shards"):
        ff.run("paper", resume=True)
    with pytest.raises(BadInput, match="workers: expected an integer from 1"):
        ff.run("paper", workers=0)
    with pytest.raises(BadInput, match="members: expected at least 16"):
        ff.run("paper", members=15, shards=tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


# A full disk


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_full_disk_leaves_what_was_kept_and_says_how_to_go_on(tmp_path, monkeypatch, at):
    place, calls, plain = tmp_path / "s", [0], os.fsync

    def full(handle):
        calls[0] += 1
        if calls[0] > 2 * at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(BadInput) as caught:
            gather(place, resume=False)
    kept = (at - 1) // 2 * BLOCK
    assert f"No space left on device; {kept} of {MEMBERS} members are kept there; when" in str(caught.value)
    assert "go on with --resume" in str(caught.value)
    assert not list(place.glob("*.tmp"))
    assert not list(place.glob(".*.tmp"))
    seen = []
    gather(place, resume=True, seen=seen)
    assert len(seen) == (MEMBERS - kept) // BLOCK


# Cutting and sharing out


@pytest.mark.parametrize("members", [1, 64, 65, 600, 4096, 10_000, 100_000])
def test_shards_are_whole_blocks_and_enough_of_them(members):
    size = members_per_shard(members)
    assert size % BLOCK == 0
    assert BLOCK <= size <= 16 * BLOCK
    assert -(-members // size) >= min(32, -(-members // BLOCK))
    assert members_per_shard(members, 4) % 4 == 0


def test_threads_change_no_byte(tmp_path, whole):
    gather(tmp_path / "two", resume=False, threads=2)
    shards = {name: content for name, content in files(whole).items() if name != MANIFEST}
    assert shards == {name: content for name, content in files(tmp_path / "two").items() if name != MANIFEST}
    assert read_manifest(tmp_path / "two") == read_manifest(whole)


def test_a_block_that_was_told_to_stop_is_not_kept(tmp_path, whole):
    def work(first, count, stop):
        if first == 0:
            raise KeyboardInterrupt
        wait_for(lambda: stop[0])
        return Toy(np.zeros((count, 40)), np.zeros(count, np.bool_))

    keeper = Keeper(Shards(tmp_path / "s", SAME, MEMBERS, resume=False))
    with pytest.raises(KeyboardInterrupt):
        keeper.gather("toy", "sample", Toy, MEMBERS, lambda: work, threads=2, progress=lambda _: None)
    keeper.close()
    gather(tmp_path / "s", resume=True)
    assert files(tmp_path / "s") == files(whole)


def wait_for(condition):
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < 60
        time.sleep(0.05)


WORKERS = '''
"""Share the toy records out to processes; one kills itself once, or always, in its third piece, or all wait."""
import os, signal, sys, time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fieldflow.keeper import Keeper


class Toy(NamedTuple):
    value: np.ndarray


def prepare(fatal, how):
    def work(first, count, stop):
        if how == "waiting":
            (fatal.parent / f"pid-{os.getpid()}").touch()
            time.sleep(60)
        if first == 128 and (how == "always" or not fatal.exists()):
            fatal.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with (fatal.parent / "computed").open("a") as file:
            file.write(f"{first}\\n")
        return Toy(np.sin(np.arange(first, first + count) + 0.0))
    return work


if __name__ == "__main__":
    make = partial(prepare, Path(sys.argv[1]), sys.argv[2])
    found = Keeper(workers=2).gather("toy", "sample", Toy, 320, make, threads=1, progress=lambda _: None)
    print(np.array_equal(found.value, np.sin(np.arange(320.0))))
'''


@pytest.mark.slow
@pytest.mark.parametrize("how", ["once", "always"])
def test_a_killed_worker_costs_its_own_shard_only(tmp_path, how):
    (tmp_path / "share.py").write_text(WORKERS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "share.py"), str(tmp_path / "fatal"), how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lost = "workers: a process died; members 128 to 191 are computed again\n"
    if how == "once":
        assert (done.stdout, done.stderr) == ("True\n", lost)
        computed = sorted(map(int, (tmp_path / "computed").read_text().split()))
        assert computed == [0, 64, 128, 192, 256]
    else:
        assert "workers: members 128 to 191 lost their process 3 times" in done.stderr
        assert done.stderr.count(lost) == 3


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(tmp_path):
    (tmp_path / "share.py").write_text(WORKERS)
    command = [sys.executable, str(tmp_path / "share.py"), str(tmp_path / "fatal"), "waiting"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as parent:
        wait_for(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
        parent.kill()
    workers = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in workers))


@pytest.mark.slow
def test_workers_change_no_byte(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    alone = ff.run(tmp_path / "small.toml", threads=1)
    shared = ff.run(tmp_path / "small.toml", threads=1, workers=2, shards=tmp_path / "s")
    assert shared.to_json() == alone.to_json()
    assert shared.figures == alone.figures
    assert len(read_manifest(tmp_path / "s")["shards"]) == 10
