"""The table of the paper's equations is complete, and its names cannot rot."""

import ast
import re
from pathlib import Path

import pytest

from fieldflow.formulas import catalog
from fieldflow.symbolic.errata import ERRATA

ROOT = Path(__file__).parent.parent
STATUSES = {"derived", "corrected", "definition"}


def table():
    text = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| (")]
    return [
        (int(number.strip("()")), what, status, formula.strip("`"), test.strip("`"))
        for number, what, status, formula, test in rows
    ]


def defined(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_equation_from_33_to_98_is_listed_in_order():
    numbers = [row[0] for row in table()]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(33, 99))
    assert {row[2] for row in table()} <= STATUSES


@pytest.mark.parametrize("row", table(), ids=lambda row: f"{row[0]}-{row[2]}")
def test_names_exist_and_statuses_are_honest(row):
    _, what, status, formula, test = row
    assert what
    assert (status in ("derived", "corrected")) <= bool(formula and test)
    if formula:
        assert formula in catalog()
    if test:
        path, name = test.split("::")
        assert name in defined(path)


def test_what_is_called_corrected_is_a_record_of_the_errata():
    locators = " ".join(entry.source.locator for entry in ERRATA if entry.source.key == "howard2024bayesian")
    recorded = {int(number) for number in re.findall(r"\((\d+)\)", locators)}
    corrected = {row[0] for row in table() if row[2] == "corrected"}
    assert corrected <= recorded
    assert {number for number in recorded if number >= 33} - corrected <= {64}  # printed with (63)
    formulas = {entry.formula for entry in ERRATA}
    assert {row[3] for row in table() if row[2] == "corrected"} <= formulas
