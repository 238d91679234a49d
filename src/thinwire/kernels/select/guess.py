"""Where the k-th magnitude probably is, by a sample: as good a guess as the last step's, and never out of date."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thinwire.kernels.select import loops, segments
from thinwire.kernels.select.patterns import Bits, bits_of, infinity_of, mask_of


@dataclass(frozen=True)
class Guess:
    """A magnitude that the k-th exceeds, one that it hardly does, and for how many elements to make room."""

    low: int
    high: int
    room: int


def guess_of(x: Tensor, added: Tensor | None, k: int) -> Guess | None:
    """Return a guess for ``x``, or for ``x + added``; None where a sample would not narrow anything."""
    count = segments.sample_size(x.numel(), k)
    if not count:
        return None
    sample = _sample(x, added, count)
    magnitudes = np.minimum(sample & mask_of(sample), infinity_of(x.dtype))
    *ranks, room = segments.ranks(x.numel(), k, count)
    places = [count - rank for rank in ranks]
    low, high = map(int, np.partition(magnitudes, places)[places])
    return Guess(max(low, 1), max(high, 1), room)


def _sample(x: Tensor, added: Tensor | None, count: int) -> Bits:
    places = loops.sample_places(x.numel(), count)
    if added is None:
        chosen: Bits = bits_of(x)[places]
        return chosen
    return bits_of(torch.from_numpy(x.numpy()[places] + added.numpy()[places]))
