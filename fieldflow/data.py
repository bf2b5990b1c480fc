"""Where do the points come from? Drawn from a Gaussian with a target expression, or read from the user's files."""

import csv
import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sympy as sp

from fieldflow.errors import BadInput
from fieldflow.expression import parse
from fieldflow.inputs import Array

TRAIN, TEST, FISHER, NOISE = 0, 1, 2, 3
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
    points: Array = mean + std * _generator(seed, stream).standard_normal((count, len(mean)))
    return points


def subset(x: Array, count: int, seed: int, stream: int) -> Array:
    """Return ``count`` different rows of x (n, d_in), chosen by one substream of the data seed."""
    chosen = _generator(seed, stream).permutation(len(x))[:count]
    return np.ascontiguousarray(x[chosen])


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(stream,))))


def coordinates(d_in: int) -> dict[str, sp.Symbol]:
    """Return the symbols x1 … x{d_in} that a target may use."""
    return {f"x{i + 1}": sp.Symbol(f"x{i + 1}", real=True) for i in range(d_in)}


def parse_target(text: str, d_in: int) -> sp.Expr:
    """Return the target expression in x1 … x{d_in}; BadInput names what cannot be read."""
    return parse(text, coordinates(d_in), key="data.target")


def target_values(text: str, x: Array) -> Array:
    """Return the target expression at the points x (n, d_in); BadInput if it is not finite there.

    >>> target_values("x1 - x2/2", np.array([[1.0, 2.0], [3.0, 0.0]])).tolist()
    [0.0, 3.0]
    """
    expression = parse_target(text, x.shape[1])
    function = sp.lambdify(list(coordinates(x.shape[1]).values()), expression, modules=["scipy", "numpy"])
    try:
        with np.errstate(all="ignore"):
            values = np.broadcast_to(np.asarray(function(*x.T), dtype=np.float64), (len(x),)).copy()
    except (OverflowError, TypeError, AttributeError) as error:
        # An exact coefficient beyond the range of a float leaves NumPy with Python integers.
        raise BadInput(f"data.target: {text!r} is not finite in double precision; expected a finite number") from error
    if not np.all(np.isfinite(values)):
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise BadInput(f"data.target: {text!r} is not finite at x = {x[bad].tolist()}; expected finite numbers")
    return values


def population_mean_square(text: str, mean: Array, std: Array) -> float | None:
    """Return E y² over N(mean, diag(std²)) by Gauss-Hermite quadrature, exact for polynomials.

    None beyond three inputs, and where 40 and 60 nodes per input differ by more than 1e-6 (a target with kinks, say).
    """
    if len(mean) > 3:
        return None
    try:
        coarse, fine = (_mean_square(text, mean, std, nodes) for nodes in (40, 60))
    except BadInput:
        return None
    return fine if abs(fine - coarse) <= 1e-6 * abs(fine) else None


def _mean_square(text: str, mean: Array, std: Array, count: int) -> float:
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    grid = np.stack(np.meshgrid(*[nodes] * len(mean), indexing="ij"), axis=-1).reshape(-1, len(mean))
    factors = np.stack(np.meshgrid(*[weights] * len(mean), indexing="ij"), axis=-1).reshape(-1, len(mean))
    weight = np.prod(factors, axis=1)
    return float(np.sum(weight * target_values(text, mean + std * grid) ** 2) / np.sum(weight))


def read_points(path: Path, key: str, d_in: int) -> tuple[Array, Array]:
    """Return (x (n, d_in), y (n,)) from a .csv with header x1,…,y or a .npz with arrays x and y.

    Raises
    ------
    BadInput
        Naming the file, the column and the row of what is wrong.
    """
    if path.suffix not in _READERS:
        raise BadInput(f"{key}: expected a .csv or .npz file, got {path.name}")
    if not path.is_file():
        raise BadInput(f"{key}: no such file: {path}")
    return _READERS[path.suffix](path, key, d_in)


def file_digest(path: Path, key: str) -> str:
    """Return the SHA-256 of a file's content; BadInput if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BadInput(f"{key}: cannot read {path}: {error.strerror}") from error


def _read_csv(path: Path, key: str, d_in: int) -> tuple[Array, Array]:
    wanted = [*coordinates(d_in), "y"]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{key}: {path.name} is not a readable csv file; expected text in UTF-8") from error
    header = [name.strip() for name in lines[0][1]] if lines else []
    if sorted(header) != sorted(wanted):
        missing, odd = [n for n in wanted if n not in header], [n for n in header if n not in wanted]
        what = f"lacks column {missing[0]}" if missing else f"has column {odd[0]}" if odd else "repeats a column"
        raise BadInput(f"{key}: {path.name} {what}; expected the header {','.join(wanted)}")
    columns = [header.index(name) for name in wanted]
    values = np.empty((len(lines) - 1, len(wanted)))
    for entry, (number, row) in enumerate(lines[1:]):
        if len(row) != len(header):
            raise BadInput(f"{key}: {path.name}, row {number}: expected {len(header)} columns, got {len(row)}")
        for j, column in enumerate(columns):
            try:
                values[entry, j] = float(row[column])
            except ValueError as error:
                raise BadInput(
                    f"{key}: {path.name}, row {number}, column {wanted[j]}: expected a number, got {row[column][:40]!r}"
                ) from error
    return _checked(values[:, :-1], values[:, -1], key, path, [number for number, _ in lines[1:]])


def _read_npz(path: Path, key: str, d_in: int) -> tuple[Array, Array]:
    form = f"expected arrays x (n, {d_in}) and y (n,)"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("x", "y") if name in stored}
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{key}: {path.name} is not a readable npz file of plain numbers; {form}") from error
    for name in ("x", "y"):
        if name not in arrays:
            raise BadInput(f"{key}: {path.name} lacks array {name}; {form}")
        if arrays[name].dtype.kind not in "iuf":
            raise BadInput(f"{key}: {path.name}, array {name} holds {arrays[name].dtype}; expected real numbers")
    x, y = arrays["x"], arrays["y"]
    if x.ndim != 2 or x.shape[1] != d_in or y.shape != (len(x),):
        raise BadInput(f"{key}: {path.name} has x {x.shape} and y {y.shape}; {form}")
    return _checked(x.astype(np.float64), y.astype(np.float64), key, path, range(len(x)))


def _checked(x: Array, y: Array, key: str, path: Path, numbers: Sequence[int]) -> tuple[Array, Array]:
    """Return the points if there are any and all are finite; ``numbers`` are the rows as their file counts them."""
    if len(x) == 0:
        raise BadInput(f"{key}: {path.name} holds no rows; expected at least one")
    bad = np.argwhere(~np.isfinite(np.column_stack([x, y])))
    if len(bad):
        row, column = bad[0]
        name = f"x{column + 1}" if column < x.shape[1] else "y"
        raise BadInput(
            f"{key}: {path.name}, row {numbers[row]}, column {name}: expected a finite number, found NaN or infinity"
        )
    return np.ascontiguousarray(x), np.ascontiguousarray(y)


_READERS = {".csv": _read_csv, ".npz": _read_npz}
