"""How fast the link between ranks is: a few messages of growing size, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
import torch.distributed as dist

from thinwire.collective.link import TorchLink

Send = Callable[[], object]

_FEW_BYTES, _GROWTH = 64, 4
_SIZES = (1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22)
_REPEATS = (1, 3, 7)
"""Of a message that takes long, one that does not, and one of a moment: a core that is busy with others delays some."""
_LONG_S, _MOMENT_S, _NEXT_S = 0.5, 0.01, 0.1
"""What that means; and a larger message that would take longer than the last of these is not sent."""
_LEAST_SHARE = 0.1
"""Of a message's seconds, what its bytes take at least: noise may leave nothing once latency is taken off."""


@dataclass(frozen=True)
class LinkSpeed:
    """What ranks send each other at, the slowest of them.

    ``latency_s``: seconds in which ranks tell each other a few bytes, about one way; a swap takes two.
    ``bandwidth_bps``: bits a second that a rank sends while it receives as many. ``all_reduce_latency_s`` and
    ``all_reduce_bps``: of torch's own all-reduce, in which a rank sends ``2 (N - 1) / N`` of a tensor; None: not
    measured. Raises ValueError for what no link has.
    """

    latency_s: float
    bandwidth_bps: float
    all_reduce_latency_s: float | None = None
    all_reduce_bps: float | None = None

    def __post_init__(self) -> None:
        if not self.latency_s >= 0 or not (self.all_reduce_latency_s or 0) >= 0:
            raise ValueError(f"{self}: a latency is 0 or more")
        if not self.bandwidth_bps > 0 or (self.all_reduce_bps is not None and not self.all_reduce_bps > 0):
            raise ValueError(f"{self}: a bandwidth is more than 0")

    @property
    def best_bps(self) -> float:
        """Return what the better of the two gets out of the link."""
        return max(self.bandwidth_bps, self.all_reduce_bps or 0.0)


def probed(link: TorchLink, group: dist.ProcessGroup, device: torch.device) -> LinkSpeed | None:
    """Measure a link and, of the group that it is beside, the all-reduce of tensors on a device; None for one rank.

    All ranks call it and get the same numbers. It takes about a second at most, but on a link that is slower than
    1 Mbit/s or whose latency is above 20 ms, and sends less than 100 MB.
    """
    if link.world == 1:
        return None
    latency_s = _measured_latency_s(link)
    _, byte_s = _measured(link, lambda size: _swap(link, size))
    sum_latency_s, sum_byte_s = _measured(link, lambda size: _all_reduce(group, device, size))
    return LinkSpeed(latency_s, 8 / byte_s, sum_latency_s, 8 / sum_byte_s * 2 * (link.world - 1) / link.world)


def _measured_latency_s(link: TorchLink) -> float:
    """Return the seconds in which ranks tell each other a few bytes."""
    few = _random(_FEW_BYTES)
    return _typical_s(link, lambda: link.tell(few, "probe", [few[:0]] * link.world))


def _measured(link: TorchLink, message: Callable[[int], Send]) -> tuple[float, float]:
    """Return the seconds of a few bytes, and those of each byte of the largest message that there was time for."""
    message(_FEW_BYTES)()
    latency_s = _typical_s(link, message(_FEW_BYTES))
    for size in _SIZES:
        took_s = _typical_s(link, message(size))
        bytes_s = max(took_s - latency_s, _LEAST_SHARE * took_s)
        if latency_s + _GROWTH * bytes_s > _NEXT_S:
            break
    return latency_s, bytes_s / size


def _typical_s(link: TorchLink, send: Send) -> float:
    """Return the median of a few, after a first that says how many, as the slowest rank saw it."""
    first_s = _slowest(link, _timed_s(send))
    repeats = _REPEATS[(first_s < _LONG_S) + (first_s < _MOMENT_S)]
    return _slowest(link, median(_timed_s(send) for _ in range(repeats)))


def _timed_s(send: Send) -> float:
    started = time.perf_counter()
    send()
    return time.perf_counter() - started


def _slowest(link: TorchLink, seconds: float) -> float:
    told = torch.tensor([seconds], dtype=torch.float64).view(torch.uint8)
    return max(x.clone().view(torch.float64).item() for x in link.swap("probe", [told] * link.world, [8] * link.world))


def _swap(link: TorchLink, size: int) -> Send:
    """Return what sends ``size`` bytes in all to the other ranks. Random: some links compress by themselves."""
    piece = _random(max(1, size // (link.world - 1)))
    return lambda: link.swap("probe", [piece] * link.world, [len(piece)] * link.world)


def _all_reduce(group: dist.ProcessGroup, device: torch.device, size: int) -> Send:
    flat = _random(size // 4).to(device, torch.float32)

    def send() -> None:
        dist.all_reduce(flat, group=group)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return send


def _random(count: int) -> torch.Tensor:
    return torch.randint(256, (count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))
