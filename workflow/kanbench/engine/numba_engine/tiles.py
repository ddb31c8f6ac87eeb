"""Tiles of matrices in registers for compiled code; a row of a tile is a vector (see `simd`).

    tile = load_tile(shape, a, at, step)
    tile = add_outer(tile, b, at_b, vector)
    store_tile(tile, a, at, step)

adds the outer product of the numbers b[at_b], b[at_b + 1], … and a vector to a block of a matrix whose rows are `step`
apart. The block has len(shape) rows; the elements of `shape` are all 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.types.containers import UniTuple

from kanbench.engine.numba_engine.simd import CONTRACT, INDEX, LANES, Vector, _intrinsic, _pointer, _splat

# A tall tile has enough rows to hide the latency of a multiply-add, and no more than fit in registers.
SHORT = (0,) * 4
PAIRED = llvmlite.binding.get_host_cpu_features().get("avx512f", False)  # whether two tall tiles fit in registers
TALL = (0,) * (8 if PAIRED else 4)


def _places(context: Any, builder: Any, array_type: Any, count: int, array: Any, at: Any, step: Any) -> Iterator[Any]:
    for _ in range(count):
        yield _pointer(context, builder, array_type, array, at)
        at = builder.add(at, step)


@_intrinsic
def load_tile(typing_context: Any, shape: Any, array: Any, at: Any, step: Any) -> Any:
    tile = UniTuple(Vector(array.dtype), len(shape))

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        places = _places(context, builder, array, len(shape), *arguments[1:])
        vectors = [builder.load(place, align=array.dtype.bitwidth // 8) for place in places]
        return context.make_tuple(builder, tile, vectors)

    return tile(shape, array, types.intp, types.intp), generate


@_intrinsic
def store_tile(typing_context: Any, tile: Any, array: Any, at: Any, step: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        places = _places(context, builder, array, len(tile), *arguments[1:])
        for vector, place in zip(cgutils.unpack_tuple(builder, arguments[0]), places, strict=True):
            builder.store(vector, place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(tile, array, types.intp, types.intp), generate


@_intrinsic
def add_outer(typing_context: Any, tile: Any, array: Any, at: Any, vector: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        before, values, at, vector = arguments
        sums = []
        for row in cgutils.unpack_tuple(builder, before):
            number = builder.load(_pointer(context, builder, array, values, at, whole=False))
            product = builder.fmul(_splat(builder, number), vector, flags=CONTRACT)
            sums.append(builder.fadd(row, product, flags=CONTRACT))
            at = builder.add(at, ir.Constant(at.type, 1))
        return context.make_tuple(builder, tile, sums)

    return tile(tile, array, types.intp, vector), generate


@_intrinsic
def scatter_add(typing_context: Any, vector: Any, array: Any, indices: Any, at: Any) -> Any:
    """Add the lanes of a vector to array[indices[at]], array[indices[at + 1]], …, one by one."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        value, values, numbers, at = arguments
        for lane in range(LANES):
            index = builder.load(_pointer(context, builder, indices, numbers, at, whole=False))
            place = _pointer(context, builder, array, values, index, whole=False)
            summand = builder.extract_element(value, INDEX(lane))
            builder.store(builder.fadd(builder.load(place), summand), place)
            at = builder.add(at, ir.Constant(at.type, 1))
        return context.get_dummy_value()

    return types.void(vector, array, indices, types.intp), generate
