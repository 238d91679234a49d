"""Where in a bucket the elements of a gradient lie: DDP keeps them in the order of the parameter's own memory."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor

_SURE = 2
"""Steps in which a layout has to be seen: DDP makes its buckets anew after the first, from parameters as they are."""
_MOST_DIMENSIONS = 5
_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Layouts:
    """The strides of every gradient in its bucket, by the parameter's name.

    They are those that the parameter had when DDP made its buckets, if these are dense, else those of a contiguous
    tensor. A parameter may have got others since: so what lies in the bucket is compared with the gradient that
    backward just left, until it was seen twice. What the hook returns, DDP reads as the parameter is now.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, ...]] = {}
        self._seen: dict[str, tuple[tuple[int, ...], int]] = {}

    def views(self, name: str, parameter: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Return a parameter's gradient, and where its mean goes: ``flat`` is its part of a bucket as torch gives it,
        contiguous.
        """
        if sum(side > 1 for side in parameter.shape) < 2:
            return flat, flat
        strides, seen = self._seen.get(name, ((), 0))
        if strides != parameter.stride():  # it got another layout, and perhaps its bucket did
            seen = 0
        if seen < _SURE:
            self._known[name], sure = _found(parameter, flat, self._known.get(name))
            self._seen[name] = parameter.stride(), seen + sure
        view = _strided(flat, self._known[name])
        return view, view if _is_view(parameter.grad, flat) else _strided(flat, _own(parameter, flat))


def _found(parameter: Tensor, flat: Tensor, known: tuple[int, ...] | None) -> tuple[tuple[int, ...], bool]:
    """Return the strides of a gradient in its bucket, and whether they are certain."""
    own, gradient = _own(parameter, flat), parameter.grad
    if gradient is None or gradient.dtype != flat.dtype:
        return known or own, False
    if _is_view(gradient, flat):
        return gradient.stride(), True
    likely = dict.fromkeys([own, flat.stride(), *([known] if known else [])])
    fitting = [strides for strides in likely if _holds(flat, strides, gradient)]
    if not fitting and flat.dim() <= _MOST_DIMENSIONS:
        fitting = [strides for strides in _orders(flat) if _holds(flat, strides, gradient)]
    return (fitting or [own])[0], len(fitting) == 1


def _own(parameter: Tensor, flat: Tensor) -> tuple[int, ...]:
    """Return the strides that DDP would give a parameter's gradient now."""
    return parameter.stride() if is_dense(parameter) else flat.stride()


def _is_view(gradient: Tensor | None, flat: Tensor) -> bool:
    """Return whether a gradient is its part of a bucket, as with gradient_as_bucket_view."""
    return gradient is not None and gradient.data_ptr() == flat.data_ptr()


def _strided(flat: Tensor, strides: tuple[int, ...]) -> Tensor:
    return flat.as_strided(flat.shape, strides, flat.storage_offset())


def is_dense(x: Tensor) -> bool:
    """Return whether a tensor fills its memory, each element once, in whatever order of its dimensions."""
    expected = 1
    for stride, side in sorted(zip(x.stride(), x.shape, strict=True)):
        if side > 1:
            if stride != expected:
                return False
            expected *= side
    return True


def _holds(flat: Tensor, strides: tuple[int, ...], gradient: Tensor) -> bool:
    """Return whether a bucket, read with these strides, holds a gradient bit for bit."""
    return torch.equal(_words(_strided(flat, strides)), _words(gradient.detach()))


def _words(x: Tensor) -> Tensor:
    """Return the bits of x as integers: NaN equals itself."""
    x = torch.view_as_real(x) if x.is_complex() else x
    return x.view(_WORDS[x.dtype.itemsize])


def _orders(x: Tensor) -> dict[tuple[int, ...], None]:
    """Return the strides of all dense tensors of the shape of x."""
    found = dict[tuple[int, ...], None]()
    for order in permutations(range(x.dim())):
        strides, step = [0] * x.dim(), 1
        for dimension in order:
            strides[dimension] = step
            step *= x.shape[dimension]
        found[tuple(strides)] = None
    return found
