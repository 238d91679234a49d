"""A bucket's gradients where codecs and gloo can reach them: in the CPU's memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Staged:
    """The gradients of a bucket as CPU tensors, and the way back into the bucket.

    CPU buckets are used where they are. One on a CUDA device is copied through pinned memory, once its gradients are
    computed: ``gradients`` waits for that, wherever it is called.
    """

    def __init__(self, buffer: Tensor, views: Sequence[Tensor], names: Sequence[str]) -> None:
        self.buffer, self._views, self._names = buffer, views, names
        self._ready = torch.cuda.Event() if buffer.is_cuda else None  # type: ignore[no-untyped-call]
        if self._ready is not None:
            self._ready.record(torch.cuda.current_stream(buffer.device))

    def gradients(self) -> dict[str, Tensor]:
        """Return name -> gradient on the CPU. Raises ValueError on sparse ones."""
        if self.buffer.is_sparse:
            raise ValueError(f"the gradient of {self._names[0]} is a sparse tensor; use Embedding(sparse=False)")
        return dict(zip(self._names, self._on_cpu(), strict=True))

    def write(self, put: Callable[[str, Tensor], None] | None) -> None:
        """Have each gradient of the bucket written, by ``put(name, into)``; None: NaN everywhere."""
        if put is None:
            self.buffer.fill_(float("nan"))
            return
        for view, name in zip(self._views, self._names, strict=True):
            put(name, view)

    def _on_cpu(self) -> Sequence[Tensor]:
        if self._ready is None:
            return self._views
        self._ready.synchronize()
        flat = torch.empty_like(self.buffer, device="cpu", pin_memory=True).copy_(self.buffer)
        first = self.buffer.storage_offset()
        return [flat.as_strided(x.shape, x.stride(), x.storage_offset() - first) for x in self._views]
