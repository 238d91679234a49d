"""What a method is to the benchmark: a name, whose it is, and points of its rate-distortion curve."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from thinwire.codec import Codec, decode, derive_seed, encode, specs
from thinwire.lab.bench.rates.cases import Case
from thinwire.lab.bench.rates.tuning import Knob, Send, Sent, tuned
from thinwire.wire import dumps, loads

Kind = Literal["ours", "rival", "bound"]
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Point:
    """A size at an error. `asked` is the error it was tuned to; None for a method that has no knob."""

    asked: float | None
    setting: str
    sent: Sent


Points = Callable[[Case, Sequence[float]], Iterator[Point]]
"""The points of a case at the errors that are asked for."""


@dataclass(frozen=True)
class Method:
    """One way to send an update."""

    name: str
    kind: Kind
    summary: str
    points: Points


def turning(
    bind: Callable[[Case], Send],
    knob: Callable[[Case, float], Knob],
    setting: Callable[[float], str],
    error: Callable[[Case, float], float] | None = None,
) -> Points:
    """Return the points of a method with a knob: one for every error that it can meet.

    `error` is that of a knob, where it can be had without an entropy coder: the search then takes a third of the time.
    """

    def points(case: Case, errors: Sequence[float]) -> Iterator[Point]:
        send = bind(case)
        trial = send if error is None else lambda at: Sent(0, error(case, at))
        for nmse in errors:
            if found := tuned(trial, nmse, knob(case, nmse)):
                yield Point(nmse, setting(found.knob), found.sent if error is None else send(found.knob))

    return points


def fixed(codecs: Sequence[Codec]) -> Points:
    """Return the points of codecs as they are, one each, whatever is asked for."""

    def points(case: Case, errors: Sequence[float]) -> Iterator[Point]:
        for codec in codecs:
            yield Point(None, str(codec), framed(codec, case))

    return points


def framed(codec: Codec, case: Case) -> Sent:
    """Return the size of the frame of all tensors, and the error of what is decoded from it."""
    frame = dumps({name: encode(codec, x, derive_seed(0, name)) for name, x in case.tensors.items()})
    return received(frame, case)


def received(frame: bytes, case: Case) -> Sent:
    """Return the size of a frame and the error of what its receiver decodes."""
    message = loads(frame, specs(case.tensors))
    return Sent(len(frame), nmse_of(case, {name: decode(encoded) for name, encoded in message.items()}))


def nmse_of(case: Case, decoded: Tensors) -> float:
    """Return the error of the whole update."""
    errors = (float((decoded[name].double() - x.double()).square().sum()) for name, x in case.tensors.items())
    return sum(errors) / case.energy


def step_knob(case: Case, nmse: float) -> Knob:
    """Return where the step of a uniform quantizer begins: its error is a twelfth of its square."""
    rms = case.rms
    return Knob((12 * nmse) ** 0.5 * rms, 1e-6 * rms, 1e4 * rms)
