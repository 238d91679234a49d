"""One option on the real tensors: real frames, the error of what is decoded, and seconds on this machine now."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from thinwire.codec import State, specs
from thinwire.compressor import Compressor, Report
from thinwire.kernels.distortion import energy
from thinwire.lab.advise.subject import Subject
from thinwire.policy import Signals
from thinwire.wire import decode_message, dumps, loads

REPEATS, ENOUGH_S = 5, 2.0
"""How often an option is timed at most, and the seconds after which it is not timed once more."""
WARM_UP_ELEMENTS = 65_536


@dataclass(frozen=True)
class Measured:
    """What one option makes of a subject, scaled from the sample to all that it stands for.

    Seconds are medians of ``timings`` calls; ``slow_`` ones are the slowest. ``cores`` is how much computing time the
    calls had per second: well below 1 on a machine that is busy with something else.
    """

    sent_bytes: float
    nmse: float
    encode_s: float
    decode_s: float
    slow_encode_s: float
    slow_decode_s: float
    timings: int
    cores: float


@dataclass(frozen=True)
class _Call:
    encode_s: float
    decode_s: float
    report: Report
    frame_bytes: int
    decoded: Mapping[str, Tensor]
    state: State
    cpu_s: float


def measure(compressor: Compressor, subject: Subject, signals: Signals, seed: int) -> Measured:
    """Encode and decode the subject some times. Raises ValueError where the option cannot take these tensors."""
    _call(compressor, _first_elements(subject), {}, signals, seed)
    state: State = {}
    calls: list[_Call] = []
    spent_s = 0.0
    while len(calls) < REPEATS and spent_s < ENOUGH_S:
        call = _call(compressor, subject.tensors, state, signals, seed)
        calls.append(call)
        spent_s += call.encode_s + call.decode_s
        # The second call is like all later ones: thresholds are known, but nothing waits to be sent once more.
        state = _without(call.state, compressor.feedback.keeps)
    return _scaled(calls, subject)


def free(measured: Measured) -> Measured:
    """Return it without codec seconds: dense tensors need no codec, and framing is not held against them."""
    return replace(measured, encode_s=0.0, decode_s=0.0, slow_encode_s=0.0, slow_decode_s=0.0)


def _call(compressor: Compressor, tensors: Mapping[str, Tensor], state: State, signals: Signals, seed: int) -> _Call:
    expect = specs(tensors)
    cpu_s, started = time.process_time(), time.perf_counter()
    message, state, report = compressor.compress(tensors, state, signals, seed)
    frame = dumps(message)
    sent = time.perf_counter()
    decoded = decode_message(loads(frame, expect))
    ended, cpu_s = time.perf_counter(), time.process_time() - cpu_s
    return _Call(sent - started, ended - sent, report, len(frame), decoded, state, cpu_s)


def _first_elements(subject: Subject) -> dict[str, Tensor]:
    """Return a little of the largest tensor: what loads kernels, so that the first timing is not theirs."""
    name, x = max(subject.tensors.items(), key=lambda item: item[1].numel())
    rows = max(1, WARM_UP_ELEMENTS * x.shape[0] // max(x.numel(), 1)) if x.dim() else 1
    return {name: x[:rows] if x.dim() else x}


def _without(state: State, names: tuple[str, ...]) -> State:
    return {key: value for key, value in state.items() if key.partition("/")[0] not in names}


def _scaled(calls: list[_Call], subject: Subject) -> Measured:
    last, weights = calls[-1], subject.weights
    overhead = last.frame_bytes - last.report.payload_bytes
    payload = sum(item.payload_bytes * weights[name] for name, item in last.report.tensors.items())
    encode_s, decode_s = ([getattr(call, name) / subject.share for call in calls] for name in ("encode_s", "decode_s"))
    return Measured(
        overhead + payload,
        nmse(subject, last.decoded),
        statistics.median(encode_s),
        statistics.median(decode_s),
        max(encode_s),
        max(decode_s),
        len(calls),
        sum(call.cpu_s for call in calls) / sum(call.encode_s + call.decode_s for call in calls),
    )


def nmse(subject: Subject, decoded: Mapping[str, Tensor]) -> float:
    """Return the error of all floats relative to their energy, each tensor counted as often as it stands for."""
    floats = {name: x for name, x in subject.tensors.items() if x.dtype.is_floating_point}
    whole = sum(energy(x) * subject.weights[name] for name, x in floats.items())
    wrong = sum(energy(x.double() - decoded[name].double()) * subject.weights[name] for name, x in floats.items())
    if not math.isfinite(whole):
        return 0.0 if all(_same(x, decoded[name]) for name, x in floats.items()) else math.inf
    return wrong / whole if whole else 0.0


def _same(x: Tensor, y: Tensor) -> bool:
    return bool(((x == y) | (x.isnan() & y.isnan())).all())
