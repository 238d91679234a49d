"""Encode and decode seconds of one large tensor, as multiples of a plain copy of it measured in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thinwire.codec import Codec, decode, encode
from thinwire.lab.bench.rates.ours import goal, with_knob
from thinwire.lab.bench.rates.rivals import Coder, blosc2, missing, pcodec_ints, sz3
from thinwire.lab.bench.synthetic import laplace
from thinwire.registry import parse

NMSE = 0.01
STEP = 0.39
"""In units of the standard deviation: of a Laplace tensor, the plain quantizer's error is then about `NMSE`."""
THEIRS = ("Uniform(bits=8)", "Uniform(bits=4, symmetric=True, block=64)", "Eden(bits=4, scale='mse')", "Planes()")
ALONE_S = 3.0
"""What takes longer than this is timed once."""


@dataclass(frozen=True)
class Subject:
    """What is timed: there, and back from what `encode` returned."""

    name: str
    kind: str
    encode: Callable[[], Any]
    decode: Callable[[Any], Any]


def speeds(texts: tuple[str, ...], side: int, repeats: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a row per method: the least of `repeats` times, after one that is not counted."""
    x = laplace(side * side, seed).view(side, side)
    place = torch.empty_like(x)
    for subject in _subjects(texts, x):
        yield _row(subject, x, place, repeats)


def _row(subject: Subject, x: Tensor, place: Tensor, repeats: int) -> dict[str, Any]:
    first_s, sent = _seconds(subject.encode)
    times = []
    for _ in range(1 if first_s > ALONE_S else repeats):
        copy_s, _ = _seconds(lambda: place.copy_(x))
        encode_s, sent = _seconds(subject.encode)
        decode_s, _ = _seconds(lambda sent=sent: subject.decode(sent))
        times.append((copy_s, encode_s, decode_s))
    copy_s, encode_s, decode_s = map(min, zip(*times, strict=True))
    return {
        "method": subject.name,
        "kind": subject.kind,
        "encode_copies": encode_s / copy_s,
        "decode_copies": decode_s / copy_s,
        "encode_s": encode_s,
        "decode_s": decode_s,
        "copy_s": copy_s,
    }


def _subjects(texts: tuple[str, ...], x: Tensor) -> Iterator[Subject]:
    step = STEP * float(x.std())
    for text in texts:
        what: Any = parse(text)
        if isinstance(what, Codec) and goal(what) in ("step", "nmse"):
            yield _codec(text, "ours", with_knob(what, goal(what), step if goal(what) == "step" else NMSE), x)
    for text in THEIRS:
        yield _codec(text, "rival", parse(text), x)
    yield from _installed(x, step)


def _codec(name: str, kind: str, codec: Codec, x: Tensor) -> Subject:
    return Subject(name, kind, lambda: encode(codec, x), decode)


def _installed(x: Tensor, step: float) -> Iterator[Subject]:
    gone = missing()
    if "pysz" not in gone:
        for mode in ("NOPRED", "LORENZO_REG"):
            yield _floats(f"sz3 {mode.lower()}", sz3(mode), x, step)
    if "pcodec" not in gone:
        yield _integers("pcodec", pcodec_ints(), x, step)
    if "blosc2" not in gone:
        yield _integers("blosc2", blosc2(), x, step)
        yield _integers("blosc2, level 1", blosc2(level=1), x, step)


def _floats(name: str, coder: Coder, x: Tensor, step: float) -> Subject:
    array = x.numpy()
    return Subject(name, "rival", lambda: coder.encode(array, step), lambda data: coder.decode(data, array.shape))


def _integers(name: str, coder: Coder, x: Tensor, step: float) -> Subject:
    """Rounding is part of the way there, and the multiplication of the way back."""
    array, scale = x.numpy().reshape(-1), np.float32(step)
    return Subject(
        name,
        "rival",
        lambda: coder.encode(np.rint(array / scale).astype(np.int32), step),
        lambda data: coder.decode(data, array.shape) * scale,
    )


def _seconds(run: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = run(*arguments)
    return time.perf_counter() - started, result
