"""Where do the points come from? Drawn from a Gaussian with a target expression, or read from the user's files."""

import csv
import hashlib
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sympy as sp

from fieldflow.errors import BadInput
from fieldflow.expression import parse
from fieldflow.inputs import Array

TRAIN, TEST, FISHER = 0, 1, 2
"""Substreams of the data seed."""


class Data(NamedTuple):
    """Points (n, d_in) and targets (n,); ``x_fisher`` is None for a Gaussian law of Fisher inputs."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    x_fisher: Array | None


def gaussian_points(count: int, mean: Array, std: Array, seed: int, stream: int) -> Array:
    """Return ``count`` points N(mean, diag(std²)), shape (count, d_in), from one substream of the data seed."""
    sequence = np.random.SeedSequence(seed, spawn_key=(stream,))
    generator = np.random.Generator(np.random.Philox(sequence))
    points: Array = mean + std * generator.standard_normal((count, len(mean)))
    return points


def coordinates(d_in: int) -> dict[str, sp.Symbol]:
    """Return the symbols x1 … x{d_in} that a target may use."""
    return {f"x{i + 1}": sp.Symbol(f"x{i + 1}", real=True) for i in range(d_in)}


def target_values(text: str, x: Array) -> Array:
    """Return the target expression at the points x (n, d_in); BadInput if it is not finite there."""
    symbols = coordinates(x.shape[1])
    expression = parse(text, symbols, key="data.target")
    function = sp.lambdify(list(symbols.values()), expression, modules="numpy")
    with np.errstate(all="ignore"):
        values = np.broadcast_to(np.asarray(function(*x.T), dtype=np.float64), (len(x),)).copy()
    if not np.all(np.isfinite(values)):
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise BadInput(f"data.target: {text!r} is not finite at x = {x[bad].tolist()}")
    return values


def population_mean_square(text: str, mean: Array, std: Array) -> float | None:
    """Return E y² over N(mean, std²) by Gauss-Hermite quadrature (exact for polynomials); None beyond three inputs."""
    if len(mean) > 3:
        return None
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    grid = np.stack(np.meshgrid(*[nodes] * len(mean), indexing="ij"), axis=-1).reshape(-1, len(mean))
    weight = np.prod(np.stack(np.meshgrid(*[weights] * len(mean), indexing="ij"), axis=-1).reshape(-1, len(mean)), axis=1)
    try:
        values = target_values(text, mean + std * grid)
    except BadInput:
        return None
    return float(np.sum(weight * values**2) / np.sum(weight))


def read_points(path: Path, key: str, d_in: int) -> tuple[Array, Array]:
    """Return (x (n, d_in), y (n,)) from a .csv with header x1,…,y or a .npz with arrays x and y.

    Raises
    ------
    BadInput
        Naming the file, the column and the row of what is wrong.
    """
    if not path.is_file():
        raise BadInput(f"{key}: no such file: {path}")
    if path.suffix == ".csv":
        return _read_csv(path, key, d_in)
    if path.suffix == ".npz":
        return _read_npz(path, key, d_in)
    raise BadInput(f"{key}: expected a .csv or .npz file, got {path.name}")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_csv(path: Path, key: str, d_in: int) -> tuple[Array, Array]:
    wanted = [*coordinates(d_in), "y"]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{key}: {path.name} is not a readable csv file") from error
    header = [name.strip() for name in rows[0]] if rows else []
    missing = [name for name in wanted if name not in header]
    if missing:
        raise BadInput(f"{key}: {path.name} lacks column {missing[0]}; expected columns {', '.join(wanted)}")
    columns = [header.index(name) for name in wanted]
    values = np.empty((len(rows) - 1, len(wanted)))
    for number, row in enumerate(rows[1:], start=2):
        for j, column in enumerate(columns):
            try:
                values[number - 2, j] = float(row[column])
            except (ValueError, IndexError) as error:
                raise BadInput(f"{key}: {path.name}, row {number}, column {wanted[j]}: expected a number") from error
    return _checked(values[:, :-1], values[:, -1], key, path, first_row=2)


def _read_npz(path: Path, key: str, d_in: int) -> tuple[Array, Array]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            missing = [name for name in ("x", "y") if name not in stored]
            if missing:
                raise BadInput(f"{key}: {path.name} lacks array {missing[0]}; expected x (n, {d_in}) and y (n,)")
            x, y = stored["x"], stored["y"]
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise BadInput(f"{key}: {path.name} is not a readable npz file") from error
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{key}: {path.name} holds objects; expected plain numbers") from error
    if x.dtype.kind not in "iuf" or y.dtype.kind not in "iuf":
        raise BadInput(f"{key}: {path.name} holds {x.dtype} and {y.dtype}; expected real numbers")
    if x.ndim != 2 or x.shape[1] != d_in or y.shape != (len(x),):
        raise BadInput(f"{key}: {path.name} has x {x.shape}, y {y.shape}; expected x (n, {d_in}), y (n,)")
    return _checked(x.astype(np.float64), y.astype(np.float64), key, path, first_row=0)


def _checked(x: Array, y: Array, key: str, path: Path, *, first_row: int) -> tuple[Array, Array]:
    if len(x) == 0:
        raise BadInput(f"{key}: {path.name} holds no rows; expected at least one")
    bad = np.argwhere(~np.isfinite(np.column_stack([x, y])))
    if len(bad):
        row, column = bad[0]
        name = f"x{column + 1}" if column < x.shape[1] else "y"
        raise BadInput(f"{key}: {path.name}, row {row + first_row}, column {name}: expected a finite number, found NaN or inf")
    return np.ascontiguousarray(x), np.ascontiguousarray(y)
