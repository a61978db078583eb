"""Sixteen float32 numbers as one value: for loops where it matters which of them stay in registers.

Compilers make vector instructions of plain loops, but those loops' sums go through memory, and what they are
called from decides whether they are seen as loops at all. A CPU with other vectors computes the same bits:
each of the sixteen numbers is rounded as if it were alone.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model

from distpg.kernels.intrinsics import intrinsic

SIZE = 16
_IR = ir.VectorType(ir.FloatType(), SIZE)
_BITS = ir.VectorType(ir.IntType(32), SIZE)


class _Sixteen(types.Type):
    """Numba's type of them, which exists within compiled functions only."""

    def __init__(self) -> None:
        super().__init__("float32x16")


sixteen = _Sixteen()


@register_model(_Sixteen)
class _SixteenModel(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: _Sixteen) -> None:
        super().__init__(manager, type_, _IR)


def _place(context, builder, signature, arguments):
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), _IR.as_pointer())


def _is_flat(array: Any) -> bool:
    return isinstance(array, types.Array) and (array.dtype, array.ndim) == (types.float32, 1)


def _called(name, builder, arguments):
    signature = ir.FunctionType(_IR, (_IR,) * len(arguments))
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.v{SIZE}f32")
    return builder.call(function, arguments)


@intrinsic
def load(context, array, start):
    """Sixteen numbers of a contiguous float32 array of one dimension."""
    if not _is_flat(array):
        return None

    def generate(context, builder, signature, arguments):
        return builder.load(_place(context, builder, signature, arguments), align=4)

    return sixteen(array, types.uint64), generate


@intrinsic
def store(context, array, start, numbers):
    """Put sixteen numbers where :func:`load` would find them."""
    if not _is_flat(array):
        return None

    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], _place(context, builder, signature, arguments), align=4)
        return context.get_dummy_value()

    return types.void(array, types.uint64, sixteen), generate


@intrinsic
def splat(context, number):
    """Sixteen times the same number."""
    if number != types.float32:
        return None

    def generate(context, builder, signature, arguments):
        first = builder.insert_element(ir.Constant(_IR, ir.Undefined), arguments[0], ir.IntType(32)(0))
        return builder.shuffle_vector(first, first, ir.Constant(_BITS, [0] * SIZE))

    return sixteen(number), generate


@intrinsic
def fma16(context, a, b, c):
    """A b + c, rounded once."""

    def generate(context, builder, signature, arguments):
        return _called("fma", builder, arguments)

    return sixteen(sixteen, sixteen, sixteen), generate


@intrinsic
def add16(context, a, b):
    """A + b."""

    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments)

    return sixteen(sixteen, sixteen), generate


@intrinsic
def multiply16(context, a, b):
    """A b."""

    def generate(context, builder, signature, arguments):
        return builder.fmul(*arguments)

    return sixteen(sixteen, sixteen), generate


@intrinsic
def where_positive(context, a, b):
    """Of b what stands where a is above 0, else 0."""

    def generate(context, builder, signature, arguments):
        zero = ir.Constant(_IR, [0.0] * SIZE)
        return builder.select(builder.fcmp_ordered(">", arguments[0], zero), arguments[1], zero)

    return sixteen(sixteen, sixteen), generate


@intrinsic
def rectified(context, a):
    """ReLU: what is above 0, else 0."""

    def generate(context, builder, signature, arguments):
        return _called("maxnum", builder, [*arguments, ir.Constant(_IR, [0.0] * SIZE)])

    return sixteen(sixteen), generate
