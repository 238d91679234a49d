"""The end of a step: all ranks came to it with the same sums, or all raise: a step counts everywhere or nowhere."""

from __future__ import annotations

import torch
from torch import Tensor

from thinwire.collective.agree import Plan, agree
from thinwire.collective.link import TorchLink
from thinwire.errors import PlanMismatch, WireError

_CHECKSUM = "the checksum of sums"
_NOTHING = torch.empty(0, dtype=torch.uint8)


def settle(link: TorchLink, plan: Plan, checksum: int) -> None:
    """Return once all ranks came to the end. ``checksum``: of the sums that this one holds. Raises as ``agree`` does.

    WireError where checksums differ.
    """
    if link.world == 1:
        return
    ended = Plan({**plan.lines, _CHECKSUM: f"{checksum % (1 << 64):#x}"})
    try:
        agree(link, ended, "end", [_NOTHING] * link.world)
    except PlanMismatch as error:
        raise (WireError(str(error)) if str(error).startswith(_CHECKSUM) else error) from None


def checksum_of(flat: Tensor) -> int:
    """Return the sum of a 1-D tensor's bytes, read as words: sums have no frame that would show what was damaged."""
    raw = flat.view(torch.uint8)
    words = len(raw) // 8 * 8
    return int(raw[:words].view(torch.int64).sum()) + int(raw[words:].sum(dtype=torch.int64))
