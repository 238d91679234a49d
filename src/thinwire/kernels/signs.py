"""One bit an element: packing signs, and choosing between two values by them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.kernels.blocks import paired

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def pack(flat: Tensor) -> Tensor:
    """Return uint8 bytes of ``flat >= 0`` (1-D), low bits first: what ``reference.pack`` makes of one-bit codes."""
    # numpy compares several times faster than torch on one core, but knows neither bfloat16 nor other devices.
    plain = flat.device.type == "cpu" and flat.dtype != torch.bfloat16
    mask = flat.numpy() >= 0 if plain else (flat >= 0).cpu().numpy()
    return torch.from_numpy(np.packbits(mask, bitorder="little"))


def padding_is_zero(packed: Tensor, count: int) -> bool:
    """Return whether the bits of the last byte beyond ``count`` are zero."""
    return count % 8 == 0 or int(packed[-1]) >> count % 8 == 0


def choose(packed: Tensor, count: int, width: int, low: Tensor, high: Tensor) -> Tensor:
    """Return ``count`` elements (1-D): their block's ``high`` (blocks, 1) where the bit is set, its ``low`` elsewhere.

    Bits are copied, not computed, so the result is exact. Signs are random: a branch on each would be mispredicted
    every other time, and take ten times as long.
    """
    integer = _INTEGERS[low.dtype.itemsize]
    zero, one = low.view(integer), high.view(integer)
    spread = np.take(_spread(integer), packed.contiguous().numpy(), axis=0)
    out = torch.from_numpy(spread.reshape(-1)[:count])
    both = torch.cat([zero, zero ^ one], 1)
    for row, pair in paired(out, width, both):
        row.bitwise_and_(pair[:, 1:]).bitwise_xor_(pair[:, :1])
    return out.view(low.dtype)


@cache
def _spread(integer: torch.dtype) -> NDArray[Any]:
    """Return (256, 8) integers: the bits of every byte, low ones first, each repeated over a whole integer."""
    kind = torch.empty(0, dtype=integer).numpy().dtype
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return -bits.astype(kind)
