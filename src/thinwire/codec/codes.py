"""The codes of a quantizer as a part: packed bits, or integers where the part's own codec takes integers.

Packed bits are what `Raw` and `Zstd` want. `Huffman`, `Ans` and `Symbols` code integers: for them every code is one,
counted from the middle, so that a code of the symmetric form is the multiple of the step that it stands for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from thinwire.codec.base import Codec
from thinwire.codec.spec import Spec
from thinwire.errors import WireError
from thinwire.kernels import dispatch, small


def codes_spec(codec: Codec, bits: int, count: int) -> Spec:
    """Return the spec of the part that holds ``count`` codes of ``bits`` bits, for the codec that takes it."""
    if codec.integers:
        return Spec((count,), torch.int32)
    return Spec((dispatch.packed_bytes(count, bits),), torch.uint8)


def codes_to_part(codes: Tensor, codec: Codec, bits: int, middle: int) -> Tensor:
    """Return the part of 1-D integer codes from 0 to ``2**bits - 1``; ``middle`` is the code that integers call 0."""
    if codec.integers:
        return codes.to(torch.int32) - middle
    return small.pack(codes, bits) if codes.dtype == torch.uint8 else dispatch.pack(codes, bits)


def codes_from_part(part: Tensor, bits: int, count: int, middle: int) -> Tensor:
    """Return the codes, 1-D integers from 0 to ``2**bits - 1``. Raises WireError where integers are beyond these."""
    if part.dtype != torch.int32:
        return (small.unpack if bits <= 8 else dispatch.unpack)(part, bits, count)
    codes = part.to(torch.int64).add_(middle)
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < 1 << bits:
        raise WireError(f"a code is beyond the {1 << bits} levels of {bits} bits")
    return codes.to(torch.uint8 if bits <= 8 else torch.int32)
