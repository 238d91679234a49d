"""Whether a rank takes part in every step as the others do: what it has to tell of itself, which is next to nothing."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.parallel import DistributedDataParallel

from thinwire.ddp.layout import is_dense

_PARAMETERS, _ELEMENTS = 8, 64
"""How much is looked at: an update changes nearly every element."""


class Attendance:
    """Counts a model's forward passes, and looks whether its optimizer took the last step."""

    def __init__(self, model: DistributedDataParallel | None, parameters: Mapping[str, Parameter]) -> None:
        # The model has it, through DDP's reducer, where no garbage collector looks: nothing would ever be freed.
        self._model: Callable[[], DistributedDataParallel | None] = (
            weakref.ref(model) if model is not None else lambda: None
        )
        self._looked_at = _sampled([x for _, x in sorted(parameters.items()) if x.requires_grad])
        self._passes, self._before = 0, ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy or pickle, with the model: its copy has no hook that would ask."""
        return Attendance, (None, {})

    def begun(self, model: DistributedDataParallel, _inputs: Any) -> None:
        """A forward pass begins, which a backward may follow."""
        # Where it is traced, ranks count nothing, all alike: a number that changes would have it traced anew.
        if not torch.compiler.is_compiling() and torch.is_grad_enabled() and model.require_backward_grad_sync:
            self._passes += not self.uneven

    @property
    def uneven(self) -> bool:
        """Whether ranks may have run out of rows (``Join``): then they do not step alike."""
        model = self._model()
        return model is not None and bool(model._join_config.enable)

    def passes(self) -> int:
        """Return how many forward passes there were since this was last asked."""
        passes, self._passes = self._passes, 0
        return passes

    def updated(self) -> str:
        """Return whether parameters changed since this was last asked, in words: the same on all ranks, or one of them
        left out a step of the optimizer.
        """
        if self.uneven or any(hasattr(x, "_in_backward_optimizers") for x in self._looked_at):
            return "unknown"
        now, before = _digest(self._looked_at), self._before
        self._before = now
        return "unknown" if not before else "changed" if now != before else "as they were"


def _sampled(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Return a few of them, from all parts of the model."""
    whole = [x for x in parameters if x.numel() and is_dense(x)]
    return whole[:: max(1, len(whole) // _PARAMETERS)][:_PARAMETERS]


def _digest(parameters: Sequence[Tensor]) -> str:
    """Return a hash of elements from all over each parameter."""
    hashed = hashlib.blake2b(digest_size=8)
    for x in parameters:
        stride = max(1, x.numel() // _ELEMENTS)
        few = x.detach().as_strided((min(x.numel(), _ELEMENTS),), (stride,), x.storage_offset())
        real = torch.view_as_real(few.resolve_conj()) if few.is_complex() else few
        hashed.update(real.contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return hashed.hexdigest()


def passes_text(passes: Sequence[int]) -> str | None:
    """Return what to say where ranks made other numbers of forward passes before a step; None where they did not."""
    if len(set(passes)) < 2:
        return None
    usual = max(set(passes), key=passes.count)
    odd = "; ".join(f"rank {rank}: {count}" for rank, count in enumerate(passes) if count != usual)
    return (
        f"forward passes since the last step: {odd}, others: {usual}. A rank that leaves out a backward is a step "
        "ahead in its rows, and the others wait for it in the end: leave it out on all ranks, or send zeros "
        "(loss * 0). Passes without backward belong in torch.no_grad() or model.no_sync()"
    )
