"""What is installed is what is on disk: package list, data files, and the two import layouts."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def on_disk() -> set[str]:
    found = set()
    for package, folder in (
        ("fieldflow", "fieldflow"),
        ("fieldflow.symbolic", "symbolic"),
        ("fieldflow.numeric", "numeric"),
    ):
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    return found


def test_every_folder_with_an_init_is_listed():
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == on_disk()


def test_versions_agree():
    text = (ROOT / "fieldflow" / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{PROJECT["project"]["version"]}"' in text
    assert f"version: {PROJECT['project']['version']}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_data_file(tmp_path):
    copy = tmp_path / "source"
    copy.mkdir()
    # A copy, because setuptools leaves build/ behind and would ship deleted modules from it the next time.
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    names = listed or [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file() and ".venv" not in p.parts]
    for name in names:
        if name.startswith(("fieldflow/", "symbolic/", "numeric/")) or name in (
            "pyproject.toml",
            "README.md",
            "LICENSE",
        ):
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(tmp_path),
        str(copy),
    ]
    subprocess.run(command, check=True, capture_output=True)
    inside = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    expected = set()
    for folder, place in (
        ("fieldflow", "fieldflow"),
        ("symbolic", "fieldflow/symbolic"),
        ("numeric", "fieldflow/numeric"),
    ):
        for path in (copy / folder).rglob("*"):
            if path.suffix in (".py", ".bib", ".toml") or path.name == "py.typed":
                expected.add(f"{place}/{path.relative_to(copy / folder)}")
    assert expected <= inside
    assert not [name for name in inside if name.startswith(("symbolic", "numeric"))]


def test_nothing_committed_names_a_machine_or_a_registry():
    words = ["/" + "work/", "/" + "root/", "pypi" + ".org", "pythonhost" + "ed.org", "registry.npm" + "js"]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in listed:
        path = ROOT / name
        if path.suffix in (".py", ".toml", ".md", ".cff", ".tex", ".bib", "") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not [word for word in words if word in text], name
