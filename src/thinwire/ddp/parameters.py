"""A model's parameters as they are averaged: by name, as real numbers, in the order of their dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from thinwire.codec import Spec
from thinwire.ddp.layout import Layouts, is_dense


class Parameters:
    """The parameters that DDP may have in its buckets: name -> Parameter."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = dict(parameters)
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self._layouts = Layouts()

    def __contains__(self, name: str) -> bool:
        return name in self._parameters

    def spec(self, name: str) -> Spec:
        """Return the spec under which the gradient of a parameter is averaged."""
        return real_spec(self._parameters[name])

    def without_gradient(self, name: str) -> bool:
        """Return whether backward left a parameter without a gradient, on all ranks."""
        return self._parameters[name].grad is None

    def moved(self) -> str | None:
        """Return the name of a parameter whose memory is not in the order of its dimensions, if there is one."""
        return next((name for name, x in self._parameters.items() if is_dense(x) and not x.is_contiguous()), None)

    def views(
        self,
        bucket: torch.distributed.GradBucket,  # type: ignore[name-defined]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the gradients of a bucket by name, and where their means go: views of its buffer, of their ``spec``.

        Raises ValueError on sparse ones.
        """
        parameters = bucket.parameters()
        names = [self._names[id(parameter)] for parameter in parameters]
        if bucket.buffer().is_sparse:
            raise ValueError(sparse_text(names[0]))
        both = map(self._layouts.views, names, parameters, _flats(bucket))
        gradients, means = zip(*((real(view), real(out)) for view, out in both), strict=True)
        return dict(zip(names, gradients, strict=True)), dict(zip(names, means, strict=True))


def _flats(bucket: torch.distributed.GradBucket) -> Sequence[Tensor]:  # type: ignore[name-defined]
    """Return the gradients of a bucket in its order, as contiguous views.

    What torch returns of complex ones is half of each: it counts complex numbers in a buffer that it made real.
    """
    buffer, parameters = bucket.buffer(), bucket.parameters()
    if not parameters[0].is_complex():
        return list(bucket.gradients())
    pairs = buffer if buffer.is_complex() else torch.view_as_complex(buffer.view(-1, 2))
    parts = torch.split(pairs, [parameter.numel() for parameter in parameters])
    return [part.view(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)]


def real(x: Tensor) -> Tensor:
    """Return a view of a gradient as real numbers: of a complex one, real and imaginary parts are one dimension more.

    A vector of them is a vector of twice the length.
    """
    if not x.is_complex():
        return x
    pairs = torch.view_as_real(x)
    return pairs if x.dim() > 1 else pairs.view(-1)


def real_spec(x: Tensor) -> Spec:
    """Return the spec of what ``real`` returns of a gradient of x."""
    return Spec.of(real(torch.empty(x.shape, dtype=x.dtype, device="meta")))


def sparse_text(name: str) -> str:
    """Return what to do about a sparse gradient."""
    return (
        f"the gradient of {name} is a sparse tensor, which only an uncompressed average takes: make the embedding with "
        "sparse=False, or leave it to a DistributedDataParallel of its own without compression"
    )
