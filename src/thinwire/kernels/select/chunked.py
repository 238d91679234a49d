"""The largest of every chunk of a tensor: large tensors on a CPU by a compiled loop, all others in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from thinwire.kernels.select import reference

_WORTH_COMPILING = 1 << 14


def largest(x: Tensor, keep: int, chunk: int) -> Tensor:
    """Return the indices (int64, ascending) of the ``keep`` largest magnitudes of every ``chunk`` elements of ``x``.

    ``x`` is 1-D and contiguous, ``1 <= keep <= chunk``. A last chunk of m elements has its ``share``. Ties go to the
    lowest index, NaN counts as infinity.
    """
    if x.device.type != "cpu" or x.numel() < _WORTH_COMPILING:
        return plain(x, keep, chunk)
    from thinwire.kernels.select import chunked_cpu

    return chunked_cpu.largest(x, keep, chunk)


def plain(x: Tensor, keep: int, chunk: int) -> Tensor:
    """Do as ``largest`` by sorting every chunk, on any device: the truth that the compiled loop must equal."""
    whole = x.numel() - x.numel() % chunk
    rows = reference.magnitudes(x[:whole]).view(-1, chunk)
    kept = rows.sort(dim=1, descending=True, stable=True).indices[:, :keep].sort(dim=1).values
    starts = torch.arange(0, whole, chunk, device=x.device)[:, None]
    rest = reference.largest(x[whole:], share(x.numel() - whole, keep, chunk)) + whole
    return torch.cat([(kept + starts).view(-1), rest])


def share(size: int, keep: int, chunk: int) -> int:
    """Return how many of a chunk of ``size`` elements are kept: in proportion, at least one, 0 of none."""
    return min(size, max(1, keep * size // chunk))
