"""One line for an ordinary DistributedDataParallel model."""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from thinwire.codec import Codec
from thinwire.collective import TorchLink, probed
from thinwire.compressor import Compressor
from thinwire.ddp.attendance import Attendance
from thinwire.ddp.compression import GradientCompression
from thinwire.ddp.lanes import LANES, Lanes
from thinwire.ddp.method import check, resolved
from thinwire.ddp.model import must_be_ordinary, register
from thinwire.ddp.parameters import Parameters, real_spec
from thinwire.ddp.planner import Planner
from thinwire.policy import Policy


def compress_gradients(
    model: DistributedDataParallel,
    method: str | Codec | Policy | Compressor,
    density: float | None = None,
    *,
    use_pipeline: bool = True,
    lanes: int = LANES,
    scaler: torch.amp.GradScaler | None = None,
    nonfinite: Literal["raise", "pass"] | None = None,
    seed: int = 0,
    probe: bool = False,
    replan_steps: int = 100,
) -> GradientCompression:
    """Compress what the ranks of ``model`` send each other in ``backward``; call it on all ranks, once a model.

    ``method``: a name of ``thinwire.zoo`` (with ``density``, if it has one), a description such as ``"TopK(0.01)"``, a
    codec, a policy, or a compressor. What ``method`` does not say is as usual:
    error feedback, and tensors of one dimension or under 1,024 elements uncompressed.

    With ``use_pipeline``, buckets are encoded and sent in ``lanes`` threads while backward makes the next; without,
    within backward. ``scaler``: the GradScaler of the loss, whose scale is taken out before encoding. ``nonfinite``:
    what becomes of a gradient that holds NaN or infinity on some rank: ``raise`` NonFiniteError on all; ``pass``, the
    default with a scaler, which then skips the step: all get NaN, and no residual changes. ``seed`` (0 to 2**32 - 1)
    drives every random choice; the same on all ranks. ``probe``: measure the link first, for about a second at most,
    so that ``worth()`` and ``report()`` say if compression pays on it.

    A policy that looks at data, the loss or the link (``ByteBudget``, ``Plateau``, ``Deadline``) would plan differently
    on each rank: rank 0 asks it for all, with its own gradients and residuals, at steps 1, 2, 4, 8, ... and then
    every ``replan_steps``; such a step is sent once backward is over. See ``GradientCompression.note``.

    Bytes travel over gloo, in groups made here, with the time-out of the model's own: the model may be on CUDA devices
    and its own group NCCL, but its gradients go through the CPU's memory. Raises ValueError on what cannot be.
    """
    if lanes < 1:
        raise ValueError(f"lanes is {lanes!r}, expected an integer from 1")
    if not isinstance(replan_steps, int) or replan_steps < 1:
        raise ValueError(f"replan_steps is {replan_steps!r}, expected an integer from 1")
    made = resolved(method, density)
    must_be_ordinary(model)
    # DDP may have some in its buckets that were frozen since.
    named = {name: x for name, x in model.module.named_parameters() if name not in model.parameters_to_ignore}
    specs = {name: real_spec(x) for name, x in named.items() if x.requires_grad}
    check(made, specs)
    links = [TorchLink.beside(model.process_group) for _ in range(lanes if use_pipeline else 1)]
    attendance = Attendance(model, named)
    compression = GradientCompression(
        Parameters(named),
        made,
        Lanes(links, threads=use_pipeline),
        scaler.get_scale if scaler is not None else _unscaled,
        nonfinite or ("raise" if scaler is None else "pass"),
        seed,
        use_pipeline,
        Planner(made, specs, replan_steps, seed, dist.get_world_size(model.process_group)),
        attendance,
        probed(links[0], model.process_group, next(iter(named.values())).device) if probe else None,
    )
    register(model, compression)
    model.register_forward_pre_hook(attendance.begun)
    return compression


def _unscaled() -> float:
    return 1.0
