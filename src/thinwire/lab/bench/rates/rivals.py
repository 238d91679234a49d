"""Rivals: compressors that install beside us, and methods as others send them. Each in the setting that does best here.

Their bytes are counted without names, shapes or headers of a message; ours with all of them.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.codec import Codec
from thinwire.lab.bench.rates.bound import quantized
from thinwire.lab.bench.rates.cases import Case
from thinwire.lab.bench.rates.method import Method, Point, Points, fixed, nmse_of, step_knob, turning
from thinwire.lab.bench.rates.ours import ours
from thinwire.lab.bench.rates.tuning import Send, Sent, tuned
from thinwire.registry import parse

PACKAGES = ("pysz", "pcodec", "blosc2")
ZONE = 0.6
"""Dead zone of the integers that general compressors get: near the best at every rate."""
PAIR_BYTES = 4 + 4

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Coder:
    """A compressor of one array: how it is called, and back. `step` is the quantizer's, or twice an absolute bound."""

    encode: Callable[[Any, float], bytes]
    decode: Callable[[bytes, tuple[int, ...]], Any]


def missing() -> tuple[str, ...]:
    """Return the packages of the `bench` extra that are not installed."""
    return tuple(name for name in PACKAGES if importlib.util.find_spec(name) is None)


def rivals() -> tuple[Method, ...]:
    """Return all rivals; those whose package is missing are left out."""
    gone = missing()
    installed = [method for name, makers in _BY_PACKAGE.items() if name not in gone for method in makers()]
    return (*installed, TOP_K, EDEN, *FIXED)


def _sz3() -> Iterator[Method]:
    for name in SZ3_MODES:
        coder = sz3(name)
        text = f"absolute bound, {name.replace('_', ' ')}"
        points = turning(lambda case, coder=coder: _floats(coder, case), step_knob, _bound)  # type: ignore[misc]
        yield Method(f"sz3 {name.lower()}", "rival", text, points)


def _pcodec() -> Iterator[Method]:
    yield Method("pcodec", "rival", f"level 12, integers of a dead zone of {ZONE}", _integers(pcodec_ints()))
    yield Method("pcodec float-mult", "rival", "level 12, their multiples as floats", _integers(pcodec_floats()))


def _blosc2() -> Iterator[Method]:
    summary = f"zstd 9 and bit shuffle, integers of a dead zone of {ZONE} in as few bytes as hold them"
    yield Method("blosc2", "rival", summary, _integers(blosc2()))


_BY_PACKAGE: dict[str, Callable[[], Iterator[Method]]] = {"pysz": _sz3, "pcodec": _pcodec, "blosc2": _blosc2}
SZ3_MODES = ("LORENZO_REG", "INTERP_LORENZO", "NOPRED")


def sz3(mode: str) -> Coder:
    """Return SZ3 (Liang et al. 2023, IEEE TBD) with an absolute error bound of half a step."""
    from pysz import sz, szAlgorithm, szConfig, szErrorBoundMode

    def encode(x: Floats, step: float) -> bytes:
        config = szConfig(x.shape)
        config.errorBoundMode, config.absErrorBound = szErrorBoundMode.ABS, step / 2
        config.cmprAlgo = getattr(szAlgorithm, mode)
        return bytes(sz.compress(x, config)[0])

    return Coder(encode, lambda data, shape: sz.decompress(np.frombuffer(data, np.uint8), np.float32, shape)[0])


def pcodec_ints() -> Coder:
    """Return pcodec at its highest level, on integers."""
    from pcodec import ChunkConfig, standalone

    config = ChunkConfig(compression_level=12)
    return Coder(
        lambda x, step: standalone.simple_compress(x, config), lambda data, _: standalone.simple_decompress(data)
    )


def pcodec_floats() -> Coder:
    """Return pcodec on floats that are multiples of a step, which it is told."""
    from pcodec import ChunkConfig, ModeSpec, standalone

    def encode(x: Ints, step: float) -> bytes:
        config = ChunkConfig(compression_level=12, mode_spec=ModeSpec.try_float_mult(step))
        return standalone.simple_compress(x.astype(np.float32) * np.float32(step), config)  # type: ignore[no-any-return]

    return Coder(encode, lambda data, _: standalone.simple_decompress(data))


def blosc2(level: int = 9) -> Coder:
    """Return blosc2's zstd after a bit shuffle."""
    import blosc2 as package

    def encode(x: Ints, step: float) -> bytes:
        narrow = x.astype(np.min_scalar_type(-1 - int(np.abs(x).max(initial=0))))
        how = {"codec": package.Codec.ZSTD, "clevel": level, "filters": [package.Filter.BITSHUFFLE]}
        return package.compress2(narrow, typesize=narrow.itemsize, **how)  # type: ignore[no-any-return]

    def decode(data: bytes, shape: tuple[int, ...]) -> Ints:
        plain = package.decompress2(data)
        width = len(plain) // max(1, math.prod(shape))
        return np.frombuffer(plain, f"i{width or 1}").reshape(shape)

    return Coder(encode, decode)


def _floats(coder: Coder, case: Case) -> Send:
    arrays = {name: x.numpy() for name, x in case.tensors.items()}

    def send(step: float) -> Sent:
        sent = {name: coder.encode(x, step) for name, x in arrays.items()}
        back = {name: torch.from_numpy(coder.decode(data, arrays[name].shape)) for name, data in sent.items()}
        return Sent(sum(map(len, sent.values())), nmse_of(case, back))

    return send


def _integers(coder: Coder) -> Points:
    """Return the points of a coder of integers: the step is found without it, for it is lossless."""

    def points(case: Case, errors: Sequence[float]) -> Iterator[Point]:
        for nmse in errors:
            if found := tuned(lambda step: Sent(0, _rounding(case, step)), nmse, step_knob(case, nmse)):
                count = sum(len(coder.encode(_symbols(x, found.knob), found.knob)) + 4 for x in case.tensors.values())
                yield Point(nmse, f"step {found.knob:.6g}", Sent(count, found.sent.nmse))

    return points


def _symbols(x: Tensor, step: float) -> Ints:
    return quantized(x.reshape(-1), step, ZONE).numpy().astype(np.int32)


def _rounding(case: Case, step: float) -> float:
    return nmse_of(case, {name: quantized(x, step, ZONE) * step for name, x in case.tensors.items()})


def _bound(step: float) -> str:
    return f"absolute bound {step / 2:.6g}"


def _top_k(case: Case, errors: Sequence[float]) -> Iterator[Point]:
    """Take the largest of the whole update, which is the least error for a number of pairs."""
    squares = torch.cat([x.reshape(-1) for x in case.tensors.values()]).double().square()
    left = 1 - squares.sort(descending=True).values.cumsum(0) / squares.sum()
    for nmse in errors:
        count = 1 + int((left > nmse).sum())
        yield Point(nmse, f"k {count}", Sent(PAIR_BYTES * count, max(float(left[count - 1]), 0.0)))


def _fixed(name: str, summary: str, *texts: str) -> Method:
    codecs: list[Codec] = [parse(text) for text in texts]
    return Method(name, "rival", summary, fixed(codecs))


TOP_K = Method("top-k pairs", "rival", "float32 values and 32-bit indices, the largest of all tensors", _top_k)
EDEN = Method(
    "eden", "rival", "Eden at any number of bits, scaled for the least error", ours("Eden(scale='mse')").points
)
FIXED = (
    _fixed("int8 min-max", "8 bits, a minimum and a step a tensor", "Uniform(bits=8)"),
    _fixed("int8 blocks", "8 bits, 256 to a scale", "Uniform(bits=8, symmetric=True, block=256)"),
    _fixed("int4 blocks", "4 bits, 64 to a scale", "Uniform(bits=4, symmetric=True, block=64)"),
    _fixed("nf4", "4 bits of NormalFloat, 64 to a scale", "NF4()"),
    _fixed(
        "stc",
        "the largest 1, 5 and 20 %, as signs times their mean; our indices",
        *(f"TopK({d}, values=Sign())" for d in (0.01, 0.05, 0.2)),
    ),
    _fixed("qsgd", "a 7th, 31st and 127th of the norm of 512", *(f"Qsgd({levels})" for levels in (7, 31, 127))),
    _fixed("multi-range", "splits of equal counts", "Ranges(bits=6, splits=4)", "Ranges(bits=8, splits=8)"),
    _fixed("min-max by channel", "as many bits", *(f"Uniform(bits={bits}, block='channel')" for bits in (8, 11))),
    _fixed("byte planes", "lossless: byte planes and zstd", "Planes()"),
)
