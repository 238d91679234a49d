"""AdaComp: what the newest gradient would lift above the largest of its bin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from thinwire.codec import Codec, Spec, State, decode, derive_seed, encode
from thinwire.codecs.sparse.pairs import Sparsifier
from thinwire.kernels import fresh
from thinwire.registry import child

_PART = 1 << 16
"""Elements to look at in one go: what is in between stays in the cache."""


@dataclass(frozen=True)
class AdaComp(Sparsifier, id="adacomp"):
    """Keep what the newest gradient would lift to its bin's maximum (Chen et al. 2018, arXiv:1712.02679).

    The tensor G is residue + dW; in every ``bin`` consecutive elements those with ``|G + dW| >= max|G|`` are kept, none
    where all are zero. How many that is, the tensor decides: at the first call at least one of every bin that is not
    zero, later any number from none to all. dW is G less what the last call left unsent, which the history holds: a
    copy of the tensor, beside the feedback's residual. The feedback must give all of that back: ``ErrorFeedback()``
    without a clip does, and so do a downlink's differences.

    Published values are signs times one scale: use ``values=Sign()``. Published bins are 50 elements for convolutions,
    500 otherwise.
    """

    bin: int = 500
    values: Codec = child("Raw()")
    indices: Codec = child("Indices()")

    def __post_init__(self) -> None:
        if not isinstance(self.bin, int) or not 1 <= self.bin < 1 << 31:
            raise ValueError(f"AdaComp: bin is {self.bin!r}, expected a number of elements from 1")

    def select(self, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Compare bin by bin, and remember as ``unsent`` what decoding will lack (as many elements, of x's dtype)."""
        residue = history.get("unsent", flat[:0]).to(flat).reshape(-1)
        if residue.numel() != flat.numel():
            residue = torch.zeros((), dtype=flat.dtype, device=flat.device).expand(flat.numel())
        indices = self._kept((g, g - r) for g, r in zip(self._parts(flat), self._parts(residue), strict=True))
        left = fresh.empty((flat.numel(),), flat.dtype, flat.device).copy_(flat)
        left[indices] -= decode(encode(self.values, flat[indices], derive_seed(seed, "values"))).to(flat.device)
        return indices, {"unsent": left}

    def accumulate(self, residual: Tensor, flat: Tensor, seed: int, history: State) -> tuple[Tensor, State]:
        """Select with dW at hand: there is nothing to remember."""
        return self._kept(zip(self._parts(residual.add_(flat)), self._parts(flat), strict=True)), {}

    def _parts(self, x: Tensor) -> Iterator[Tensor]:
        """Yield whole bins, some at a time, in the working dtype."""
        return (part.to(Spec.of(x).working) for part in torch.split(x, max(1, _PART // self.bin) * self.bin))

    def _kept(self, parts: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the indices of what is kept of G, given with dW part by part."""
        found, start = [], 0
        for g, newest in parts:
            found.append(_lifted(g, newest, self.bin) + start)
            start += g.numel()
        return torch.cat(found)


def _lifted(g: Tensor, newest: Tensor, bin: int) -> Tensor:
    """Return the indices of what ``newest``, once more, lifts to the largest of its bin, which is not zero."""
    most = _bins(g, bin).abs().amax(1, keepdim=True)
    lifted = _bins(g + newest, bin).abs_() >= torch.where(most > 0, most, torch.inf)
    return lifted.view(-1)[: g.numel()].nonzero().view(-1)


def _bins(x: Tensor, bin: int) -> Tensor:
    """Return x as rows of ``bin`` elements; zeros fill the last one."""
    rows = -(-x.numel() // bin)
    missing = rows * bin - x.numel()
    return (torch.nn.functional.pad(x, (0, missing)) if missing else x).view(rows, bin)
