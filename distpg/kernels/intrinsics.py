"""Instructions that Python has no word for."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from typing import Any

from distpg.system.garbage import load

load("numba")

from numba import types  # noqa: E402
from numba.extending import intrinsic as _intrinsic  # noqa: E402

intrinsic: Any = _intrinsic  # its stubs know nothing of the context that it leaves out


@intrinsic
def fma(context, a, b, c):
    """A b + c, rounded once: said and not left to the compiler, the same bits on every CPU."""
    if a not in (types.float32, types.float64) or not a == b == c:
        return None

    def generate(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return a(a, b, c), generate


@intrinsic
def float_of_bits(context, bits):
    """The float32 that an int32 is, bit for bit."""
    if bits != types.int32:
        return None

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(bits), generate


@intrinsic
def bits_of_float(context, number):
    """The int32 that a float32 is, bit for bit."""
    if number != types.float32:
        return None

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(number), generate


@intrinsic
def high_product(context, a, b):
    """The upper 64 bits of the product of two uint64."""
    if not a == b == types.uint64:
        return None

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        wide = ir.IntType(128)
        one, other = (builder.zext(argument, wide) for argument in arguments)
        return builder.trunc(builder.lshr(builder.mul(one, other), wide(64)), ir.IntType(64))

    return types.uint64(a, b), generate
