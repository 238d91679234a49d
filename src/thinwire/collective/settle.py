"""The end of a step: all ranks came to it with the same averages, or all raise: a step counts everywhere or nowhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from thinwire.collective.agree import Plan, agree
from thinwire.collective.link import TorchLink
from thinwire.errors import PlanMismatch, WireError

_AVERAGE = "the average of"
_NOTHING = torch.empty(0, dtype=torch.uint8)
_COLUMNS = (1021, 1019)
"""Words of eight bytes in a row. Primes: what is at another place of a tensor is in another column of one of them."""


def settle(link: TorchLink, plan: Plan, averages: Mapping[str, int], note: int) -> list[int]:
    """Return the notes of all ranks once they came to the end. Raises as ``agree`` does.

    ``averages``: what was averaged -> the ``digest_of`` it; ``note``: as there.
    WireError where these differ, on all ranks: a peer understood another number in what all were sent.
    """
    if link.world == 1:
        return [note]
    ended = Plan({**plan.lines, **{f"{_AVERAGE} {what}": f"{digest:#018x}" for what, digest in averages.items()}})
    try:
        return agree(link, ended, "end", [_NOTHING] * link.world, note).notes
    except PlanMismatch as error:
        raise (WireError(str(error)) if str(error).startswith(_AVERAGE) else error) from None


def digest_of(flat: Tensor) -> int:
    """Return 64 bits of a 1-D tensor's bytes and their places. It finds faults, not forgers.

    Two reads take a fraction of the time of a checksum such as CRC-32.
    """
    raw = (torch.view_as_real(flat).view(-1) if flat.is_complex() else flat).detach().view(torch.uint8)
    hashed = hashlib.blake2b(digest_size=8)
    for columns in _COLUMNS:
        whole = len(raw) // (8 * columns) * (8 * columns)
        sums = _on_device(raw[:whole], columns) if raw.is_cuda else _on_cpu(raw[:whole], columns)
        hashed.update(sums.tobytes() + raw[whole:].cpu().numpy().tobytes())
    return int.from_bytes(hashed.digest(), "little")


def _on_cpu(raw: Tensor, columns: int) -> np.ndarray:
    """Return sums over rows, modulo 2**64: numpy adds rows several times as fast as torch does on a CPU."""
    sums: np.ndarray = np.add.reduce(raw.numpy().view(np.int64).reshape(-1, columns), axis=0)
    return sums


def _on_device(raw: Tensor, columns: int) -> np.ndarray:
    aligned = raw if raw.storage_offset() % 8 == 0 else raw.clone()
    sums: np.ndarray = aligned.view(torch.int64).view(-1, columns).sum(0).cpu().numpy()
    return sums
