"""Bit packing of codes that are bytes: of 1, 2 and 4 bits without a loop over them, of others as ``dispatch`` does."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thinwire.kernels import dispatch

_WHOLE = (2, 4)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Return uint8 bytes of 1-D uint8 codes of 0 to 8 bits: what ``dispatch.pack`` makes of them."""
    if bits in (0, 8):
        return codes if bits else codes[:0]
    if codes.device.type != "cpu" or bits not in (1, *_WHOLE):
        return dispatch.pack(codes.to(torch.int32), bits)
    if bits == 1:
        return torch.from_numpy(np.packbits(codes.numpy(), bitorder="little"))
    together = 8 // bits
    missing = -len(codes) % together
    padded = torch.nn.functional.pad(codes, (0, missing)) if missing else codes
    words = padded.contiguous().numpy().view(f"<u{together}")
    packed = words.copy()
    for place in range(1, together):
        packed |= words >> ((8 - bits) * place)
    return torch.from_numpy(packed.astype(np.uint8))


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return ``count`` uint8 codes; ``packed`` must hold exactly ``dispatch.packed_bytes(count, bits)``."""
    if bits in (0, 8):
        return packed if bits else packed.new_zeros(count)
    if packed.device.type != "cpu" or bits not in (1, *_WHOLE):
        return dispatch.unpack(packed, bits, count).to(torch.uint8)
    if bits == 1:
        return torch.from_numpy(np.unpackbits(packed.numpy(), count=count, bitorder="little"))
    together = 8 // bits
    words = packed.numpy().astype(f"<u{together}")
    spread = words.copy()
    for place in range(1, together):
        spread |= words << ((8 - bits) * place)
    spread &= int.from_bytes(bytes([2**bits - 1]) * together, "little")
    return torch.from_numpy(spread.view(np.uint8)[:count])


def padding_is_zero(packed: Tensor, bits: int, count: int) -> bool:
    """Return whether the bits of the last byte behind ``count`` codes are zero."""
    used = count * bits % 8
    return used == 0 or int(packed[-1]) >> used == 0
