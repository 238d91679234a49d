"""Comparing 64 magnitudes at once: one word with a bit for each, in vector instructions of whatever CPU there is.

LLVM has generic vectors; numba's own loops give a comparison per element and a branch that the processor cannot guess.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 64
_WORD = ir.IntType(64)
_intrinsic: Any = intrinsic  # its types describe the functions below, not what calling them from a loop takes


@_intrinsic  # type: ignore[untyped-decorator]
def word_at_least(typing: Any, bits: Any, start: Any, bound: Any, mask: Any) -> Any:
    """Return uint64: bit j is ``bits[start + j] & mask >= bound``, for j below 64. No bounds are checked.

    ``bits`` are signed integers of the float's width, ``mask`` all of their bits but the sign.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        vector = ir.VectorType(ir.IntType(bits.dtype.bitwidth), LANES)
        place = builder.bitcast(builder.gep(array.data, [args[1]]), vector.as_pointer())
        magnitudes = builder.and_(builder.load(place, align=bits.dtype.bitwidth // 8), _all(builder, vector, args[3]))
        return builder.bitcast(builder.icmp_signed(">=", magnitudes, _all(builder, vector, args[2])), _WORD)

    return types.uint64(bits, types.intp, bits.dtype, bits.dtype), generate


@_intrinsic  # type: ignore[untyped-decorator]
def lowest_bit(typing: Any, word: Any) -> Any:
    """Return the place of the lowest bit set in a uint64 that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.intp(types.uint64), generate


@_intrinsic  # type: ignore[untyped-decorator]
def bits_set(typing: Any, word: Any) -> Any:
    """Return how many bits of a uint64 are set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.intp(types.uint64), generate


def _all(builder: Any, vector: Any, value: Any) -> Any:
    """Return a vector of one value."""
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))
