"""What happens to a worker's own gradient before it is averaged.

The order is unscale, clip, weight decay, momentum, residual, select: what compression accumulates over many steps must
hold all that a step adds, or the parts arrive at different times (Lin et al. 2018, arXiv:1712.01887).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn


def prepare(parameters: Iterable[nn.Parameter], clip_norm: float | None, weight_decay: float) -> None:
    """Let every later backward clip each parameter's gradient to an L2 norm, then add the weight decay.

    Clipping goes tensor by tensor: a bucket leaves before the norm of the whole gradient is known.
    """
    for parameter in parameters:
        if clip_norm is not None or weight_decay:
            parameter.register_hook(_changed(parameter, clip_norm, weight_decay))  # type: ignore[no-untyped-call]


def _changed(parameter: nn.Parameter, clip_norm: float | None, weight_decay: float) -> Callable[[Tensor], Tensor]:
    def changed(gradient: Tensor) -> Tensor:
        if clip_norm is not None:
            # A norm that is no number stays one: NaN is for the averaging to report.
            gradient = gradient * (clip_norm / gradient.norm()).clamp(max=1.0)
        return gradient.add(parameter.detach(), alpha=weight_decay) if weight_decay else gradient

    return changed
