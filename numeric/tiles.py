"""How are the small dense products of one member made? In tiles that stay in vector registers while a sum runs.

A member multiplies matrices too thin for a BLAS library to be at its best (ten inputs of a neuron) and needs half of one
(the Gram matrix); here nothing is copied or packed.  Every entry of a product is one chain of fused multiply-adds in the
order of the sum, so it depends neither on the shape of the tile, nor on the machine's vectors, nor on any library's threads.
"""

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fieldflow.numeric.jit import jit

_LANES = 8
"""Columns of one vector; machines with shorter vectors take several instructions for it."""
_WIDE = bool(binding.get_host_cpu_features().get("avx512f", False))
# As many sums as the registers hold beside what they are made from: 24 of 32 registers of 8 doubles, or 12 of 16 of 4.
_ROWS, _VECTORS = (8, 3) if _WIDE else (6, 1)
_BYTES = 8


class _Tile:
    """The loop over the sum of one tile as LLVM code: all addresses in bytes, all strides in elements."""

    def __init__(self, builder: Any, rows: int, vectors: int, lanes: int) -> None:
        self.builder, self.rows, self.vectors, self.lanes = builder, rows, vectors, lanes
        self.integer, self.double = ir.IntType(64), ir.DoubleType()
        self.element = ir.VectorType(self.double, lanes)
        self.fused = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.element, [self.element] * 3), f"llvm.fma.v{lanes}f64"
        )

    def moved(self, address: Any, elements: Any) -> Any:
        """Return the address some elements on."""
        return self.builder.add(address, self.builder.mul(elements, self.integer(_BYTES)))

    def place(self, address: Any, vector: int) -> Any:
        """Return a pointer to a vector of the row that starts at ``address``."""
        there = self.builder.add(address, self.integer(_BYTES * self.lanes * vector))
        return self.builder.inttoptr(there, self.element.as_pointer())

    def everywhere(self, address: Any) -> Any:
        """Return the number at ``address`` in every lane."""
        number = self.builder.load(self.builder.inttoptr(address, self.double.as_pointer()))
        first = self.builder.insert_element(self.element(ir.Undefined), number, ir.IntType(32)(0))
        lanes = ir.VectorType(ir.IntType(32), self.lanes)
        return self.builder.shuffle_vector(first, first, lanes([0] * self.lanes))

    def emit(self, out: Any, out_row: Any, left: Any, left_row: Any, left_step: Any, right: Any, right_step: Any, count: Any) -> None:  # fmt: skip
        """Emit out[i, j] += Σ_k left[i, k]·right[k, j] for ``count`` >= 1 values of k."""
        builder = self.builder
        cells = [(row, vector) for row in range(self.rows) for vector in range(self.vectors)]
        rows = [self.moved(out, builder.mul(out_row, self.integer(row))) for row in range(self.rows)]
        sums = {cell: builder.load(self.place(rows[cell[0]], cell[1]), align=_BYTES) for cell in cells}
        before, body, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(body)
        builder.position_at_end(body)
        k, a, b = (builder.phi(self.integer) for _ in range(3))
        carried = {cell: builder.phi(self.element) for cell in cells}
        factors = [builder.load(self.place(b, vector), align=_BYTES) for vector in range(self.vectors)]
        numbers = [
            self.everywhere(self.moved(a, builder.mul(left_row, self.integer(row)))) for row in range(self.rows)
        ]
        grown = {
            cell: builder.call(self.fused, [numbers[cell[0]], factors[cell[1]], carried[cell]]) for cell in cells
        }
        following = builder.add(k, self.integer(1))
        for phi, start, next_value in (
            (k, self.integer(0), following),
            (a, left, self.moved(a, left_step)),
            (b, right, self.moved(b, right_step)),
            *((carried[cell], sums[cell], grown[cell]) for cell in cells),
        ):
            phi.add_incoming(start, before)
            phi.add_incoming(next_value, body)
        builder.cbranch(builder.icmp_signed("<", following, count), body, after)
        builder.position_at_end(after)
        for row, vector in cells:
            builder.store(grown[row, vector], self.place(rows[row], vector), align=_BYTES)


_SIGNATURE = types.void(
    *(types.uintp, types.intp), *(types.uintp, types.intp, types.intp), *(types.uintp, types.intp), types.intp
)


def _tile(rows: int, vectors: int, lanes: int = _LANES) -> Any:
    """Return ``_Tile.emit`` of one shape as a function for compiled code."""

    @intrinsic
    def tile(typing, out, out_row, left, left_row, left_step, right, right_step, count):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            _Tile(builder, rows, vectors, lanes).emit(*arguments)
            return context.get_dummy_value()

        return _SIGNATURE, generate

    return tile


_tall_wide, _tall_vector, _tall_column = _tile(_ROWS, _VECTORS), _tile(_ROWS, 1), _tile(_ROWS, 1, 1)
_row_wide, _row_vector, _row_column = _tile(1, _VECTORS), _tile(1, 1), _tile(1, 1, 1)


@jit
def _tall_strip(out, out_row, left, left_row, left_step, right, right_step, count, columns):  # type: ignore[no-untyped-def]
    """Add left·right to ``_ROWS`` rows of ``out``."""
    column = 0
    while column < columns:
        there, factor = out + _BYTES * column, right + _BYTES * column
        if columns - column >= _VECTORS * _LANES:
            _tall_wide(there, out_row, left, left_row, left_step, factor, right_step, count)
            column += _VECTORS * _LANES
        elif columns - column >= _LANES:
            _tall_vector(there, out_row, left, left_row, left_step, factor, right_step, count)
            column += _LANES
        else:
            _tall_column(there, out_row, left, left_row, left_step, factor, right_step, count)
            column += 1


@jit
def _row_strip(out, left, left_step, right, right_step, count, columns):  # type: ignore[no-untyped-def]
    """Add left·right to one row of ``out``."""
    column = 0
    while column < columns:
        there, factor = out + _BYTES * column, right + _BYTES * column
        if columns - column >= _VECTORS * _LANES:
            _row_wide(there, 0, left, 0, left_step, factor, right_step, count)
            column += _VECTORS * _LANES
        elif columns - column >= _LANES:
            _row_vector(there, 0, left, 0, left_step, factor, right_step, count)
            column += _LANES
        else:
            _row_column(there, 0, left, 0, left_step, factor, right_step, count)
            column += 1


@jit
def _add(out, out_row, left, left_row, left_step, right, right_step, count, rows, columns, upper):  # type: ignore[no-untyped-def]
    """Add left·right to ``out``; with ``upper`` only from the diagonal on (a little before it in a strip)."""
    if count == 0:
        return
    row = 0
    while row < rows:
        skipped = row if upper else 0
        there, factor = out + _BYTES * (row * out_row + skipped), right + _BYTES * skipped
        numbers = left + _BYTES * row * left_row
        if rows - row >= _ROWS:
            _tall_strip(there, out_row, numbers, left_row, left_step, factor, right_step, count, columns - skipped)
            row += _ROWS
        else:
            _row_strip(there, numbers, left_step, factor, right_step, count, columns - skipped)
            row += 1


@jit
def add_product(out, left, right):  # type: ignore[no-untyped-def]
    """Add left (m, k)·right (k, p) to ``out`` (m, p); rows of ``out`` and ``right`` are contiguous, ``left`` is any view."""
    m, k = left.shape
    row, step = left.strides
    _add(
        *(out.ctypes.data, out.strides[0] // _BYTES),
        *(left.ctypes.data, row // _BYTES, step // _BYTES),
        *(right.ctypes.data, right.strides[0] // _BYTES),
        *(k, m, right.shape[1], False),
    )


@jit
def add_gram(out, features):  # type: ignore[no-untyped-def]
    """Add featuresᵀ·features to the upper triangle of ``out`` (n, n), for features (m, n) with contiguous rows.

    What lies below the diagonal afterwards is for ``mirror`` to replace.
    """
    m, n = features.shape
    step = features.strides[0] // _BYTES
    _add(
        *(out.ctypes.data, out.strides[0] // _BYTES),
        *(features.ctypes.data, 1, step),
        *(features.ctypes.data, step),
        *(m, n, n, True),
    )


@jit
def mirror(matrix):  # type: ignore[no-untyped-def]
    """Copy the upper triangle of ``matrix`` (n, n) to the lower one, in blocks that stay in the cache."""
    n = matrix.shape[0]
    for first in range(0, n, _LANES):
        for second in range(first, n, _LANES):
            for i in range(first, min(first + _LANES, n)):
                for j in range(max(second, i + 1), min(second + _LANES, n)):
                    matrix[j, i] = matrix[i, j]


@jit
def product(left, right):  # type: ignore[no-untyped-def]
    """Return left (m, k)·right (k, p); see ``add_product``."""
    out = np.zeros((left.shape[0], right.shape[1]))
    add_product(out, left, right)
    return out


@jit
def gram(features):  # type: ignore[no-untyped-def]
    """Return featuresᵀ·features (n, n), exactly symmetric, for features (m, n) in C order."""
    out = np.zeros((features.shape[1], features.shape[1]))
    add_gram(out, features)
    mirror(out)
    return out
