"""What a coder without context has to pay: the entropy of every tensor's symbols, one step for all tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from thinwire.lab.bench.rates.cases import Case
from thinwire.lab.bench.rates.method import Method, Point, step_knob
from thinwire.lab.bench.rates.tuning import Knob, Send, Sent, tuned

ZONES = (0.5, 0.55, 0.6, 0.66, 0.72, 0.8)
MOST_SYMBOLS = 1 << 22
"""An outlier may be that many steps away; beyond, symbols are cut off, which only makes the bound lower."""


def order0(zone: float, case: Case) -> Send:
    """Return the bytes and the error of a dead zone by step: tables are free, and symbols decode to their means."""
    return lambda step: _whole(case, [_tensor(x, step, zone) for x in case.tensors.values()])


def _whole(case: Case, each: list[tuple[float, float]]) -> Sent:
    return Sent(round(sum(bits for bits, _ in each) / 8), sum(error for _, error in each) / case.energy)


def _tensor(x: Tensor, step: float, zone: float) -> tuple[float, float]:
    """Return bits and squared error."""
    values = x.reshape(-1).double()
    symbols = quantized(values, step, zone)
    bins = symbols - symbols.min()
    counts = torch.bincount(bins)
    sums = torch.bincount(bins, weights=values)
    used = counts > 0
    shares = counts[used].double() / len(values)
    bits = -float((counts[used] * shares.log2()).sum())
    # The mean of what a symbol stands for: the squares that are left are those of the values less those of the means.
    kept = float((sums[used].square() / counts[used]).sum())
    return bits, max(float(values.square().sum()) - kept, 0.0)


def quantized(values: Tensor, step: float, zone: float) -> Tensor:
    """Return int64 symbols: zero below `zone` steps, else rounded."""
    magnitudes = (values / step).abs()
    symbols = torch.where(magnitudes < zone, 0.0, magnitudes.round().clamp(1, MOST_SYMBOLS))
    return (symbols * values.sign()).to(torch.int64)


def _points(case: Case, errors: Sequence[float]) -> Iterator[Point]:
    for nmse in errors:
        knob, found = step_knob(case, nmse), []
        for zone in ZONES:
            if best := tuned(order0(zone, case), nmse, knob):
                found.append(Point(nmse, f"step {best.knob:.6g}, dead zone {zone:g}", best.sent))
                knob = Knob(best.knob, knob.least, knob.most)
        if found:
            yield min(found, key=lambda point: point.sent.bytes)


ORDER0 = Method(
    "order-0", "bound", "entropy of each tensor's symbols, the best dead zone and one step for all", _points
)
