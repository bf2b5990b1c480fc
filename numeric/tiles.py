"""How are the small dense products of one member made? In tiles that stay in vector registers while a sum runs.

A member multiplies matrices too thin for a BLAS library to be at its best (ten inputs of a neuron) and needs half of one
(the Gram matrix); here nothing is copied or packed.  Every entry of a product is one chain of fused multiply-adds in the
order of the sum (for the Gram matrix, of each ``_TERMS`` of its terms), so it depends neither on the shape of the tile, nor
on the machine's vectors, nor on any library's threads.
"""

from collections.abc import Callable
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
_TERMS = 64
"""Long sums are made of sums of this many terms: one chain through 2000 would lose a digit more than that."""


class _Tile:
    """The loop over the sum of one tile as LLVM code: all addresses in bytes, all strides in elements."""

    def __init__(self, builder: Any, rows: int, vectors: int, lanes: int) -> None:
        self.builder, self.rows, self.vectors, self.lanes = builder, rows, vectors, lanes
        self.integer, self.double = ir.IntType(64), ir.DoubleType()
        self.element = ir.VectorType(self.double, lanes)
        insert: Any = cgutils.get_or_insert_function
        self.fused = insert(builder.module, ir.FunctionType(self.element, [self.element] * 3), f"llvm.fma.v{lanes}f64")

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

    def emit(
        self, out: Any, out_row: Any, left_row: Any, count: Any, factors_at: Callable[[Any], tuple[Any, Any]]
    ) -> None:
        """Emit out[i, j] += Σ_k left[i, k]·right[k, j] for ``count`` >= 1 terms; ``factors_at(k)`` are their addresses."""
        builder = self.builder
        cells = [(row, vector) for row in range(self.rows) for vector in range(self.vectors)]
        rows = [self.moved(out, builder.mul(out_row, self.integer(row))) for row in range(self.rows)]
        zero = self.element([0.0] * self.lanes)
        before, body, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(body)
        builder.position_at_end(body)
        term = builder.phi(self.integer)
        carried = {cell: builder.phi(self.element) for cell in cells}
        left, right = factors_at(term)
        vectors = [builder.load(self.place(right, vector), align=_BYTES) for vector in range(self.vectors)]
        steps = [builder.mul(left_row, self.integer(row)) for row in range(self.rows)]
        numbers = [self.everywhere(self.moved(left, step)) for step in steps]
        grown = {(i, j): builder.call(self.fused, [numbers[i], vectors[j], carried[i, j]]) for i, j in cells}
        following = builder.add(term, self.integer(1))
        for phi, first, later in (
            (term, self.integer(0), following),
            *((carried[cell], zero, grown[cell]) for cell in cells),
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(later, body)
        builder.cbranch(builder.icmp_signed("<", following, count), body, after)
        builder.position_at_end(after)
        for row, vector in cells:
            place = self.place(rows[row], vector)
            total = builder.fadd(builder.load(place, align=_BYTES), grown[row, vector])
            builder.store(total, place, align=_BYTES)


_ADDRESS, _INDEX = types.uintp, types.intp


def _tile(rows: int, vectors: int, lanes: int = _LANES) -> Any:
    """Return the product of one shape of tile for compiled code, its terms a fixed step apart."""

    @intrinsic
    def tile(typing, out, out_row, left, left_row, left_step, right, right_step, count):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            out, out_row, left, left_row, left_step, right, right_step, count = arguments
            emitter = _Tile(builder, rows, vectors, lanes)

            def at(term: Any) -> tuple[Any, Any]:
                return (
                    emitter.moved(left, builder.mul(left_step, term)),
                    emitter.moved(right, builder.mul(right_step, term)),
                )

            emitter.emit(out, out_row, left_row, count, at)
            return context.get_dummy_value()

        kinds = (_ADDRESS, _INDEX, _ADDRESS, _INDEX, _INDEX, _ADDRESS, _INDEX, _INDEX)
        return types.void(*kinds), generate

    return tile


def _listed_tile(rows: int, vectors: int, lanes: int = _LANES) -> Any:
    """Return the same for a Gram matrix: both factors of a term lie in the row of features at a listed offset."""

    @intrinsic
    def tile(typing, out, out_row, left, right, offsets, count):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            out, out_row, left, right, offsets, count = arguments
            emitter = _Tile(builder, rows, vectors, lanes)

            def at(term: Any) -> tuple[Any, Any]:
                place = builder.inttoptr(emitter.moved(offsets, term), emitter.integer.as_pointer())
                offset = builder.load(place)
                return builder.add(left, offset), builder.add(right, offset)

            emitter.emit(out, out_row, emitter.integer(1), count, at)
            return context.get_dummy_value()

        return types.void(_ADDRESS, _INDEX, _ADDRESS, _ADDRESS, _ADDRESS, _INDEX), generate

    return tile


@intrinsic
def _any_nonzero(typing, address):  # type: ignore[no-untyped-def]
    """Return whether any of the ``_LANES`` doubles at ``address`` is not zero, as an integer."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(ir.DoubleType(), _LANES)
        values = builder.load(builder.inttoptr(arguments[0], vector.as_pointer()), align=_BYTES)
        # Unordered: NaN is not zero.
        flags = builder.bitcast(builder.fcmp_unordered("!=", values, vector([0.0] * _LANES)), ir.IntType(_LANES))
        return builder.zext(builder.icmp_unsigned("!=", flags, ir.IntType(_LANES)(0)), ir.IntType(64))

    return types.int64(_ADDRESS), generate


_tall_wide, _tall_vector, _tall_column = _tile(_ROWS, _VECTORS), _tile(_ROWS, 1), _tile(_ROWS, 1, 1)
_row_wide, _row_vector, _row_column = _tile(1, _VECTORS), _tile(1, 1), _tile(1, 1, 1)
_gram_wide, _gram_vector, _gram_column, _gram_single = (
    _listed_tile(_LANES, _VECTORS), _listed_tile(_LANES, 1), _listed_tile(_LANES, 1, 1), _listed_tile(1, 1, 1)
)  # fmt: skip


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
def _add_strips(there, out_row, numbers, left_row, left_step, factor, right_step, rows, count, columns):  # type: ignore[no-untyped-def]
    """Add left·right to ``rows`` rows of ``out``; addresses in bytes, strides in elements."""
    row = 0
    while row < rows:
        if rows - row >= _ROWS:
            _tall_strip(there, out_row, numbers, left_row, left_step, factor, right_step, count, columns)
            taken = _ROWS
        else:
            _row_strip(there, numbers, left_step, factor, right_step, count, columns)
            taken = 1
        row += taken
        there += _BYTES * taken * out_row
        numbers += _BYTES * taken * left_row


@jit
def add_product(out, left, right):  # type: ignore[no-untyped-def]
    """Add left (m, k)·right (k, p) to ``out`` (m, p); rows of ``out`` and ``right`` are contiguous, ``left`` is any view."""
    rows, count = left.shape
    if count == 0:
        return
    # Signed: the sum of an unsigned address and a signed step is a floating-point number to Numba.
    there, numbers, factor = np.intp(out.ctypes.data), np.intp(left.ctypes.data), np.intp(right.ctypes.data)
    out_row, right_step = out.strides[0] // _BYTES, right.strides[0] // _BYTES
    left_row, left_step = left.strides[0] // _BYTES, left.strides[1] // _BYTES
    _add_strips(there, out_row, numbers, left_row, left_step, factor, right_step, rows, count, right.shape[1])


@jit
def _nonzero(features, column, offsets):  # type: ignore[no-untyped-def]
    """List the offsets in bytes of the rows with anything in ``_LANES`` columns from ``column`` on; return how many."""
    step = features.strides[0]
    count = 0
    place = features.ctypes.data + _BYTES * column
    whole = features.shape[1] - column >= _LANES
    for row in range(features.shape[0]):
        offsets[count] = step * row
        # The last columns, if fewer, are not looked at.
        count += _any_nonzero(place + step * row) if whole else 1  # type: ignore[call-arg]
    return count


@jit
def _gram_strip(out, out_row, left, right, listed, count, rows, columns):  # type: ignore[no-untyped-def]
    """Add the listed terms to ``rows`` <= ``_LANES`` rows of a Gram matrix."""
    column = 0
    while column < columns:
        there, factor = out + _BYTES * column, right + _BYTES * column
        if rows == _LANES and columns - column >= _VECTORS * _LANES:
            _gram_wide(there, out_row, left, factor, listed, count)
            column += _VECTORS * _LANES
        elif rows == _LANES and columns - column >= _LANES:
            _gram_vector(there, out_row, left, factor, listed, count)
            column += _LANES
        elif rows == _LANES:
            _gram_column(there, out_row, left, factor, listed, count)
            column += 1
        else:
            for row in range(rows):
                _gram_single(there + _BYTES * row * out_row, out_row, left + _BYTES * row, factor, listed, count)
            column += 1


@jit
def add_gram(out, features, offsets):  # type: ignore[no-untyped-def]
    """Add featuresᵀ·features to the upper triangle of ``out`` (n, n), for features (m, n) with contiguous rows.

    Rows that are zero in all columns of a strip are left out of it (units that do not fire): cheaper the more similar
    neighbouring columns are.  ``offsets`` (m,) int64 is scratch memory.  What lies below the diagonal afterwards is for
    ``mirror`` to replace.
    """
    n = features.shape[1]
    row = out.strides[0]
    for first in range(0, n, _LANES):
        there, left = out.ctypes.data + (row + _BYTES) * first, features.ctypes.data + _BYTES * first
        count = _nonzero(features, first, offsets)
        for start in range(0, count, _TERMS):
            listed, terms = offsets.ctypes.data + _BYTES * start, min(_TERMS, count - start)
            _gram_strip(there, row // _BYTES, left, left, listed, terms, min(_LANES, n - first), n - first)


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
    add_gram(out, features, np.empty(features.shape[0], np.int64))
    mirror(out)
    return out
