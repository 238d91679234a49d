"""Where the k-th magnitude probably is, by a sample: as good a guess as the last step's, and never out of date."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thinwire.kernels.select import loops
from thinwire.kernels.select.patterns import Bits, bits_of, infinity_of, mask_of

_LEAST_SAMPLE = 1024
_SIGMAS = 4


@dataclass(frozen=True)
class Guess:
    """A magnitude that the k-th exceeds, one that it hardly does, and for how many elements to make room."""

    low: int
    high: int
    room: int


def guess_of(x: Tensor, added: Tensor | None, k: int) -> Guess | None:
    """Return a guess for ``x``, or for ``x + added``; None where a sample would not narrow anything."""
    # Larger samples cost more, smaller ones leave more to refine and to make room for: near the least of both.
    count = max(_LEAST_SAMPLE, 2 * int((x.numel() * k) ** (1 / 3)))
    expected = k * count / max(x.numel(), 1)
    margin = _SIGMAS * math.sqrt(expected) + _SIGMAS
    if not k or 2 * count > x.numel() or expected + margin > count / 2:
        return None
    sample = _sample(x, added, count)
    magnitudes = np.minimum(sample & mask_of(sample), infinity_of(x.dtype))
    places = [count - math.ceil(expected + margin), count - math.ceil(max(expected - margin, 1))]
    low, high = map(int, np.partition(magnitudes, places)[places])
    return Guess(max(low, 1), max(high, 1), math.ceil((expected + 1.75 * margin) * x.numel() / count))


def _sample(x: Tensor, added: Tensor | None, count: int) -> Bits:
    places = loops.sample_places(x.numel(), count)
    if added is None:
        chosen: Bits = bits_of(x)[places]
        return chosen
    return bits_of(torch.from_numpy(x.numpy()[places] + added.numpy()[places]))
