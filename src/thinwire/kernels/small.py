"""Bit packing of codes that are bytes: of 1, 2 and 4 bits at memory speed, of others as ``dispatch`` does."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thinwire.kernels import codes as whole
from thinwire.kernels import dispatch


def pack(codes: Tensor, bits: int) -> Tensor:
    """Return uint8 bytes of 1-D uint8 codes of 0 to 8 bits: what ``dispatch.pack`` makes of them."""
    if bits in (0, 8):
        return codes if bits else codes[:0]
    if codes.device.type != "cpu" or bits not in (1, 2, 4):
        return dispatch.pack(codes.to(torch.int32), bits)
    if bits == 1:
        return torch.from_numpy(np.packbits(codes.numpy(), bitorder="little"))
    return torch.from_numpy(whole.pack(codes.contiguous().numpy(), bits))


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return ``count`` uint8 codes; ``packed`` must hold exactly ``dispatch.packed_bytes(count, bits)``."""
    if bits in (0, 8):
        return packed if bits else packed.new_zeros(count)
    if packed.device.type != "cpu" or bits not in (1, 2, 4):
        return dispatch.unpack(packed, bits, count).to(torch.uint8)
    if bits == 1:
        return torch.from_numpy(np.unpackbits(packed.numpy(), count=count, bitorder="little"))
    return torch.from_numpy(whole.unpack(packed.contiguous().numpy(), bits, count))


def padding_is_zero(packed: Tensor, bits: int, count: int) -> bool:
    """Return whether the bits of the last byte behind ``count`` codes are zero."""
    used = count * bits % 8
    return used == 0 or int(packed[-1]) >> used == 0
