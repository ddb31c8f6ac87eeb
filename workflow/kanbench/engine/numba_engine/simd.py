"""Vectors of LANES numbers for compiled code, as LLVM's vector type, which uses the SIMD instructions of the CPU.

LLVM vectorizes numba's loops only if it can prove that arrays do not overlap and that it pays; loops over a node's
outgoing edges, and loops with table lookups, fail one or the other. Here a vector is a value that can be loaded, used
in arithmetic, and stored, as in

    store(load(a, i) * 2.0 + load(b, i), a, i)

where a number acts as a vector of equal elements. Products may be added without rounding (fused multiply-add); nothing
else is reordered, so results are the same in every process of a machine.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import add, and_, eq, gt, le, lshift, lt, mul, sub, truediv
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.extending import intrinsic, register_model
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.np.arrayobj import make_array

LANES = 8
CONTRACT = ("contract",)
INDEX = ir.IntType(32)


class Vector(types.Type):
    """LANES numbers of type `dtype`."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


MASK = Vector(types.boolean)


def _intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """numba's `intrinsic`, untyped: its own type would ask callers to pass the typing context."""
    return intrinsic(function)


def _llvm_type(dtype: Any) -> ir.VectorType:
    if isinstance(dtype, types.Float):
        return ir.VectorType(ir.DoubleType() if dtype.bitwidth == 64 else ir.FloatType(), LANES)
    return ir.VectorType(ir.IntType(1 if dtype == types.boolean else dtype.bitwidth), LANES)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, _llvm_type(vector.dtype))


def _splat(builder: Any, scalar: Any) -> Any:
    """Make a vector with `scalar` in every lane."""
    vector = ir.VectorType(scalar.type, LANES)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, INDEX(0))
    lanes = ir.Constant(ir.VectorType(INDEX, LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)


def _as_vector(context: Any, builder: Any, value: Any, from_type: types.Type, vector: Vector) -> Any:
    """Return a vector unchanged; convert a number and copy it to all lanes."""
    if isinstance(from_type, Vector):
        return value
    return _splat(builder, context.cast(builder, value, from_type, vector.dtype))


def _common(*operands: types.Type) -> Vector | None:
    """Return the vector type of two operands, one of which may be a number; None for other operands."""
    vectors = [operand for operand in operands if isinstance(operand, Vector)]
    numbers = [operand for operand in operands if isinstance(operand, types.Number)]
    return vectors[0] if len(set(vectors)) == 1 and len(vectors) + len(numbers) == 2 else None


def _operator(key: Callable[..., Any], instruction: Callable[..., Any], result: Vector | None = None) -> None:
    """Define Python's operator `key` for vectors; `result` is the result's type, by default the operands'."""

    @infer_global(key)
    class Typing(AbstractTemplate):
        def generic(self, arguments: tuple[types.Type, ...], keywords: Any) -> Any:
            vector = _common(*arguments) if len(arguments) == 2 else None
            return signature(result or vector, *arguments) if vector else None

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        vector: Any = _common(*sig.args)
        operands = [_as_vector(context, builder, v, t, vector) for v, t in zip(arguments, sig.args, strict=True)]
        return instruction(builder, isinstance(vector.dtype, types.Float), *operands)

    for left, right in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
        lower_builtin(key, left, right)(lower)


def _arithmetic(name: str) -> Callable[..., Any]:
    """Select the instruction of this name for integers, and its counterpart for floats."""

    def instruction(builder: Any, floats: bool, left: Any, right: Any) -> Any:
        if floats:
            return getattr(builder, f"f{name}")(left, right, flags=CONTRACT)
        return getattr(builder, name)(left, right)

    return instruction


def _comparison(symbol: str) -> Callable[..., Any]:
    return lambda builder, floats, *pair: (builder.fcmp_ordered if floats else builder.icmp_signed)(symbol, *pair)


for _key, _name in {add: "add", sub: "sub", mul: "mul", truediv: "div", and_: "and_", lshift: "shl"}.items():
    _operator(_key, _arithmetic(_name))
for _key, _name in {lt: "<", le: "<=", gt: ">", eq: "=="}.items():
    _operator(_key, _comparison(_name), MASK)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any, whole: bool = True) -> Any:
    """Get a pointer to element `at` of a one-dimensional array, or to the vector that begins there."""
    pointer = cgutils.gep_inbounds(builder, make_array(array_type)(context, builder, array).data, at)
    return builder.bitcast(pointer, _llvm_type(array_type.dtype).as_pointer()) if whole else pointer


@_intrinsic
def load(typing_context: Any, array: Any, at: Any) -> Any:
    """array[at : at + LANES], without bounds checks."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, sig.args[0], *arguments), align=array.dtype.bitwidth // 8)

    return Vector(array.dtype)(array, types.intp), generate


@_intrinsic
def store(typing_context: Any, vector: Any, array: Any, at: Any) -> Any:
    """array[at : at + LANES] = vector, rounded to the array's precision, without bounds checks."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        value, *place = arguments
        pointer = _pointer(context, builder, sig.args[1], *place)
        builder.store(_convert(builder, value, vector.dtype, array.dtype), pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(vector, array, types.intp), generate


def _convert(builder: Any, value: Any, before: Any, after: Any) -> Any:
    if before == after:
        return value
    if isinstance(before, types.Float):
        return (builder.fpext if after.bitwidth > before.bitwidth else builder.fptrunc)(value, _llvm_type(after))
    return (builder.sext if after.bitwidth > before.bitwidth else builder.trunc)(value, _llvm_type(after))


@_intrinsic
def wide(typing_context: Any, vector: Any) -> Any:
    """Convert a vector to float64 or int64."""
    dtype = types.float64 if isinstance(vector.dtype, types.Float) else types.int64

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _convert(builder, arguments[0], vector.dtype, dtype)

    return Vector(dtype)(vector), generate


@_intrinsic
def gather(typing_context: Any, array: Any, indices: Any) -> Any:
    """array[indices], without bounds checks; a single instruction if the CPU has a fast one."""
    size, vector = array.dtype.bitwidth, Vector(array.dtype)
    letter = "f" if isinstance(array.dtype, types.Float) else "i"

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        first, values = make_array(sig.args[0])(context, builder, arguments[0]).data, _llvm_type(array.dtype)
        pointers = builder.gep(_splat(builder, first), [arguments[1]], source_etype=values.element)
        every = ir.Constant(_llvm_type(types.boolean), [1] * LANES)
        operands = [pointers, INDEX(size // 8), every, ir.Constant(values, ir.Undefined)]
        function = ir.FunctionType(values, [operand.type for operand in operands])
        name = f"llvm.masked.gather.v{LANES}{letter}{size}.v{LANES}p0"
        return builder.call(cgutils.get_or_insert_function(builder.module, function, name), operands)

    return vector(array, indices), generate


@_intrinsic
def select(typing_context: Any, mask: Any, value: Any, other: Any) -> Any:
    """Select `value` where the mask is true, otherwise `other`; one of them may be a number."""
    vector: Any = _common(value, other)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        choices = zip(arguments[1:], sig.args[1:], strict=True)
        return builder.select(arguments[0], *(_as_vector(context, builder, v, t, vector) for v, t in choices))

    return vector(mask, value, other), generate


@_intrinsic
def bits(typing_context: Any, vector: Any) -> Any:
    """Reinterpret the bits of float64 as int64, or the reverse."""
    dtype = types.int64 if vector.dtype == types.float64 else types.float64

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _llvm_type(dtype))

    return Vector(dtype)(vector), generate


@_intrinsic
def powers(typing_context: Any, u: Any, w: Any) -> Any:
    """The vector u⁰, u¹, u², … of a number u: len(w) powers; the remaining lanes repeat some of them."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        one, result = ir.Constant(_llvm_type(u), [1.0] * LANES), None
        for bit in range((len(w) - 1).bit_length()):
            mask = ir.Constant(_llvm_type(types.boolean), [lane >> bit & 1 for lane in range(LANES)])
            factor = builder.select(mask, _splat(builder, arguments[0]), one)
            for _ in range(bit):  # squaring the vector is faster than squaring and copying a number
                factor = builder.fmul(factor, factor)
            result = builder.fmul(result, factor) if result else factor
        return result

    return Vector(u)(u, w), generate


@_intrinsic
def total(typing_context: Any, vector: Any) -> Any:
    """Sum the lanes, halving the vector repeatedly."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        (value,) = arguments
        lanes = LANES
        while lanes > 1:
            lanes //= 2
            halves = (list(range(lanes)), list(range(lanes, 2 * lanes)))
            of_lanes = (ir.Constant(ir.VectorType(INDEX, lanes), half) for half in halves)
            value = builder.fadd(*(builder.shuffle_vector(value, value, half) for half in of_lanes))
        return builder.extract_element(value, INDEX(0))

    return vector.dtype(vector), generate


def polynomial(*coefficients: float) -> Callable[..., Any]:
    """Make a function that evaluates a polynomial of a vector; the coefficient of the highest power comes first."""

    @_intrinsic
    def evaluate(typing_context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            vector = _llvm_type(x.dtype)
            value, *others = (ir.Constant(vector, [coefficient] * LANES) for coefficient in coefficients)
            for other in others:
                value = builder.fadd(builder.fmul(value, arguments[0], flags=CONTRACT), other, flags=CONTRACT)
            return value

        return x(x), generate

    return evaluate
