"""Vectors of 16 float32 inside compiled functions, so that running minima and sums stay in registers.

The loop vectoriser handles one straight loop; a loop over edges inside a loop over lanes it leaves scalar.
These functions, of use in compiled code only, name the vector operations directly; LLVM splits them on
processors whose registers are narrower. A sign is the top bit of a float32, so a product of signs is an
exclusive or.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

LANES: Final = 16
Untyped: TypeAlias = Any
"""What numba and llvmlite hand over: their interfaces carry no types."""

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(ir.IntType(32), LANES)
_SIGN = ir.Constant(_INTS, [-(2**31)] * LANES)
_MAGNITUDE = ir.Constant(_INTS, [2**31 - 1] * LANES)


class Vector(types.Type):
    """The numba type of 16 float32."""

    def __init__(self) -> None:
        super().__init__(name="float32x16")


VECTOR: Final = Vector()
_PAIR: Final = types.UniTuple(types.float32, 2)  # type: ignore[no-untyped-call]


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Untyped, kind: Untyped) -> None:
        super().__init__(manager, kind, _FLOATS)  # type: ignore[no-untyped-call]


def _elementwise(arity: int, emit: Callable[..., Untyped]) -> Untyped:
    """An intrinsic of `arity` vectors whose instructions `emit(builder, *vectors)` writes."""
    signature = VECTOR(*[VECTOR] * arity)

    def generate(_context: Untyped, builder: Untyped, _signature: Untyped, args: Untyped) -> Untyped:
        return emit(builder, *args)

    if arity == 1:
        return intrinsic(lambda _typing, _a: (signature, generate))
    if arity == 2:
        return intrinsic(lambda _typing, _a, _b: (signature, generate))
    return intrinsic(lambda _typing, _a, _b, _c, _d: (signature, generate))


def _bitwise(builder: Untyped, operation: str, a: Untyped, b: Untyped) -> Untyped:
    ints = getattr(builder, operation)(builder.bitcast(a, _INTS), builder.bitcast(b, _INTS))
    return builder.bitcast(ints, _FLOATS)


def _choose(relation: str) -> Callable[..., Untyped]:
    return lambda builder, a, b, x, y: builder.select(builder.fcmp_ordered(relation, a, b), x, y)


add = _elementwise(2, lambda builder, a, b: builder.fadd(a, b))
subtract = _elementwise(2, lambda builder, a, b: builder.fsub(a, b))
multiply = _elementwise(2, lambda builder, a, b: builder.fmul(a, b))
least = _elementwise(2, lambda builder, a, b: _choose("<")(builder, a, b, a, b))
greatest = _elementwise(2, lambda builder, a, b: _choose(">")(builder, a, b, a, b))
magnitude = _elementwise(1, lambda builder, a: _bitwise(builder, "and_", a, _MAGNITUDE))
sign = _elementwise(1, lambda builder, a: _bitwise(builder, "and_", a, _SIGN))
flip = _elementwise(2, lambda builder, a, signs: _bitwise(builder, "xor", a, signs))
"""Exclusive or of all bits: with signs, turns a's sign where the sign is negative."""
where_equal = _elementwise(4, _choose("=="))
"""where_equal(a, b, x, y): x where a = b, else y."""


def _load(_typing: Untyped, array: Untyped, _index: Untyped) -> Untyped:
    """Take 64 bytes, as 16 float32, from array[index] on; the array must be contiguous and long enough."""

    def generate(context: Untyped, builder: Untyped, signature: Untyped, args: Untyped) -> Untyped:
        vector = builder.load(_place(context, builder, signature, args))
        vector.align = _item_bytes(signature)
        return vector

    return VECTOR(array, types.intp), generate


def _store(_typing: Untyped, array: Untyped, _index: Untyped, _vector: Untyped) -> Untyped:
    """Put the 64 bytes at array[index] and on; the array must be contiguous and long enough."""

    def generate(context: Untyped, builder: Untyped, signature: Untyped, args: Untyped) -> Untyped:
        builder.store(args[2], _place(context, builder, signature, args)).align = _item_bytes(signature)
        return context.get_dummy_value()

    return types.void(array, types.intp, VECTOR), generate


def _item_bytes(signature: Untyped) -> int:
    return int(signature.args[0].dtype.bitwidth) // 8


def _place(context: Untyped, builder: Untyped, signature: Untyped, args: Untyped) -> Untyped:
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [args[1]]), _FLOATS.as_pointer())


def _fill(_typing: Untyped, _value: Untyped) -> Untyped:
    """16 times the same float32."""

    def generate(_context: Untyped, builder: Untyped, _signature: Untyped, args: Untyped) -> Untyped:
        empty = ir.Constant(_FLOATS, ir.Undefined)
        one = builder.insert_element(empty, args[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, empty, ir.Constant(_INTS, [0] * LANES))

    return VECTOR(types.float32), generate


def _any_negative(_typing: Untyped, _vector: Untyped) -> Untyped:
    """Whether a sign bit is set in any lane."""

    def generate(_context: Untyped, builder: Untyped, _signature: Untyped, args: Untyped) -> Untyped:
        negative = builder.icmp_signed("<", builder.bitcast(args[0], _INTS), ir.Constant(_INTS, [0] * LANES))
        mask = builder.bitcast(negative, ir.IntType(LANES))
        return builder.icmp_unsigned("!=", mask, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(VECTOR), generate


def _swap_pairs(_typing: Untyped, _vector: Untyped) -> Untyped:
    """Lanes 1, 0, 3, 2…: of interleaved I and Q, each beside its partner."""

    def generate(_context: Untyped, builder: Untyped, _signature: Untyped, args: Untyped) -> Untyped:
        order = ir.Constant(_INTS, [lane ^ 1 for lane in range(LANES)])
        return builder.shuffle_vector(args[0], ir.Constant(_FLOATS, ir.Undefined), order)

    return VECTOR(VECTOR), generate


def _sum_pairs(_typing: Untyped, _vector: Untyped) -> Untyped:
    """Sum of the even lanes, sum of the odd lanes, in any order of addition."""

    def generate(context: Untyped, builder: Untyped, signature: Untyped, args: Untyped) -> Untyped:
        vector = args[0]
        for half in (8, 4, 2):
            width = ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(half)))
            upper = ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(half, 2 * half)))
            empty = ir.Constant(vector.type, ir.Undefined)
            low, high = (builder.shuffle_vector(vector, empty, part) for part in (width, upper))
            vector = builder.fadd(low, high)
        even, odd = (builder.extract_element(vector, ir.Constant(ir.IntType(32), lane)) for lane in (0, 1))
        return context.make_tuple(builder, signature.return_type, (even, odd))

    return _PAIR(VECTOR), generate


swap_pairs: Untyped = intrinsic(_swap_pairs)
sum_pairs: Untyped = intrinsic(_sum_pairs)
load: Untyped = intrinsic(_load)
store: Untyped = intrinsic(_store)
fill: Untyped = intrinsic(_fill)
any_negative: Untyped = intrinsic(_any_negative)
