"""What compression buys on a link: how long a step waits with it, and how long it would without."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from thinwire.collective import LinkSpeed
from thinwire.ddp.report import StepReport
from thinwire.rates import rate_text

_BEGINNING, _RECENT = 2, 50
"""The first steps are unlike others: kernels are compiled, and DDP makes its buckets anew. Of the rest, the newest."""
_LEAST_BPS, _MOST_BPS, _NEAR = 1e-6, 1e18, 1e-9


@dataclass(frozen=True)
class Worth:
    """Whether compression pays on a link: what a step waits for its average, dense and compressed.

    ``break_even_bps``: below this bandwidth it pays; infinity: on any link, 0: it sends no fewer bytes.
    """

    pays: bool
    dense_s: float
    compressed_s: float
    break_even_bps: float
    text: str


@dataclass(frozen=True)
class Way:
    """One way to average the gradients of a step: its bytes, and what it takes whatever the bandwidth.

    That is codecs, sums and latencies, and what its bytes take more than those of the way that makes most of the link.
    """

    sent_bytes: float
    fixed_s: float

    def total_s(self, bandwidth_bps: float) -> float:
        """Return the seconds from end to end."""
        return self.fixed_s + 8 * self.sent_bytes / bandwidth_bps


@dataclass(frozen=True)
class Overlap:
    """What averaging can hide behind: backward from the first bucket to the last. ``last_share`` comes after it."""

    backward_s: float
    last_share: float

    def exposed_s(self, total_s: float) -> float:
        """Return what of an averaging is left when backward is over."""
        return max(total_s - self.backward_s, self.last_share * total_s)


NO_OVERLAP = Overlap(0.0, 1.0)


def worth(steps: Sequence[StepReport], link: LinkSpeed, pipelined: bool, own: LinkSpeed | None = None) -> Worth:
    """Return what compression was worth in these steps, or would have been on another link.

    Both ways are computed, with the same formula, from what was measured: bytes and codecs' seconds of the steps, and
    the link. The dense one is granted all of backward to hide behind; ours only with a pipeline. ``own``: the link on
    which the steps went, where that was measured; what they waited there beyond the formula, they are taken to wait on
    any. Raises ValueError where there is no step.
    """
    if not steps:
        raise ValueError("no step yet: what compression is worth is known after some")
    if steps[-1].world == 1:
        return Worth(False, 0.0, 0.0, 0.0, "do not compress: one rank has nothing to send")
    used = (steps[_BEGINNING:] or steps[-1:])[-_RECENT:]
    overlap = Overlap(_typical(used, "backward_s"), _typical(used, "last_share"))
    own_overlap = overlap if pipelined else NO_OVERLAP
    waits_s = 0.0
    if own:
        told_s = own_overlap.exposed_s(compressed(used, own).total_s(own.best_bps))
        waits_s = max(0.0, _typical(used, "exposed_s") - told_s)
    return judged(compressed(used, link), dense(used, link), overlap, link, pipelined, waits_s)


def dense(steps: Sequence[StepReport], link: LinkSpeed) -> Way:
    """Return the way of an all-reduce of each bucket, a ring."""
    world, sent_bytes = steps[-1].world, _typical(steps, "allreduce_bytes")
    latency_s = 2 * (world - 1) * link.latency_s if link.all_reduce_latency_s is None else link.all_reduce_latency_s
    more_s = _more_s(link, link.all_reduce_bps or link.bandwidth_bps)
    return Way(sent_bytes, _typical(steps, "buckets") * latency_s + more_s * sent_bytes)


def compressed(steps: Sequence[StepReport], link: LinkSpeed) -> Way:
    """Return the way that the steps went."""
    sent_bytes = _typical(steps, "sent_bytes")
    fixed_s = _typical(steps, "lane_s") + _typical(steps, "lane_rounds") * link.latency_s
    return Way(sent_bytes, fixed_s + _more_s(link, link.bandwidth_bps) * sent_bytes)


def judged(ours: Way, other: Way, overlap: Overlap, link: LinkSpeed, pipelined: bool, waits_s: float = 0.0) -> Worth:
    """Compare our way with the dense one. ``waits_s``: what ours is exposed for in addition, on any link."""

    def waited_s(bandwidth_bps: float) -> tuple[float, float]:
        compressed_s = (overlap if pipelined else NO_OVERLAP).exposed_s(ours.total_s(bandwidth_bps)) + waits_s
        return compressed_s, overlap.exposed_s(other.total_s(bandwidth_bps))

    def pays(bandwidth_bps: float) -> bool:
        compressed_s, dense_s = waited_s(bandwidth_bps)
        return compressed_s < dense_s

    compressed_s, dense_s = waited_s(link.best_bps)
    limit_bps = _limit(pays) if ours.sent_bytes < other.sent_bytes else 0.0
    here = f"on this link ({rate_text(link.best_bps)}, latency {_ms(link.latency_s)})"
    waits = f"a step waits {_ms(compressed_s)} compressed and {_ms(dense_s)} dense"
    verdict = "compress" if compressed_s < dense_s else "do not compress"
    return Worth(
        compressed_s < dense_s, dense_s, compressed_s, limit_bps, f"{verdict} {here}: {waits}; {_where(limit_bps)}"
    )


def _limit(pays: Callable[[float], bool]) -> float:
    """Return the bandwidth below which compression pays, by bisection: each way has a bend where backward ends."""
    if not pays(_LEAST_BPS):
        return 0.0
    if pays(_MOST_BPS):
        return math.inf
    low, high = math.log(_LEAST_BPS), math.log(_MOST_BPS)
    while high - low > _NEAR:
        middle = (low + high) / 2
        low, high = (middle, high) if pays(math.exp(middle)) else (low, middle)
    return math.exp(low)


def _typical(steps: Sequence[StepReport], name: str) -> float:
    return float(median(getattr(step, name) for step in steps))


def _more_s(link: LinkSpeed, bandwidth_bps: float) -> float:
    """Return what a byte takes beside the link, summing for example: no faster link takes it off."""
    return 8 / bandwidth_bps - 8 / link.best_bps


def _where(limit_bps: float) -> str:
    if not limit_bps:
        return "it sends no fewer bytes"
    return f"compression pays {'on any' if math.isinf(limit_bps) else f'below {rate_text(limit_bps)}'}"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.0f} ms" if seconds >= 0.1 else f"{1e3 * seconds:.3g} ms"
