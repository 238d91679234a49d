"""A bucket's gradients where codecs and gloo can reach them: in the CPU's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from thinwire.ddp.parameters import real


class Staged:
    """The gradients of a bucket as CPU tensors, and the way back into the bucket.

    ``views``: name -> gradient, and ``means``: name -> where its mean goes, all of them views of ``buffer``.

    CPU buckets are used where they are. One on a CUDA device is copied through pinned memory, once its gradients are
    computed: ``gradients`` waits for that, wherever it is called.
    """

    def __init__(self, buffer: Tensor, views: Mapping[str, Tensor], means: Mapping[str, Tensor]) -> None:
        self.buffer, self._views, self._means = buffer, views, means
        self._ready = torch.cuda.Event() if buffer.is_cuda else None  # type: ignore[no-untyped-call]
        if self._ready is not None:
            self._ready.record(torch.cuda.current_stream(buffer.device))

    def gradients(self) -> dict[str, Tensor]:
        """Return name -> gradient on the CPU."""
        return dict(zip(self._views, self._on_cpu(), strict=True))

    def write(self, put: Callable[[str, Tensor], None] | None) -> None:
        """Have each gradient of the bucket written, by ``put(name, into)``; None: NaN everywhere."""
        if put is None:
            real(self.buffer).fill_(float("nan"))
            return
        for name, mean in self._means.items():
            put(name, mean)

    def _on_cpu(self) -> Sequence[Tensor]:
        views = list(self._views.values())
        if self._ready is None:
            return views
        self._ready.synchronize()
        buffer = real(self.buffer)
        flat = torch.empty_like(buffer, device="cpu", pin_memory=True).copy_(buffer)
        first = buffer.storage_offset()
        return [flat.as_strided(x.shape, x.stride(), x.storage_offset() - first) for x in views]
