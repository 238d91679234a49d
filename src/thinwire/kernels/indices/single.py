"""The coders of one list of gaps, by name and by number, and the smallest of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from thinwire.errors import WireError
from thinwire.kernels.indices import limits, low, plain
from thinwire.kernels.indices.measured import Gaps
from thinwire.kernels.indices.reference import Integers


@dataclass(frozen=True)
class Coder:
    """A number on the wire, for ever; an encoder that returns None for gaps that are not for it; a decoder."""

    number: int
    encode: Callable[[Gaps], bytes | None]
    decode: Callable[[bytes, int], Integers]

    def stream(self, gaps: Gaps) -> bytes | None:
        """Return the number and the coder's bytes."""
        data = self.encode(gaps)
        return None if data is None else bytes([self.number]) + data


CODERS = {
    "gaps": Coder(0, plain.encode_gaps, plain.decode_gaps),
    "rice": Coder(1, low.encode_rice, low.decode_rice),
    "bitmap": Coder(2, plain.encode_bitmap, plain.decode_bitmap),
    "local12": Coder(4, plain.encode_local12, plain.decode_local12),
    "split": Coder(5, low.encode_split, low.decode_split),
}


def rice(gaps: Gaps) -> bytes:
    """Return the stream of the coder that takes any gaps."""
    return bytes([CODERS["rice"].number]) + low.encode_rice(gaps)


def smallest(gaps: Gaps) -> bytes:
    """Return the smallest stream. Rice's size is known beforehand; others are tried where they can win."""
    best: bytes | None = None
    for name in _promising(gaps):
        if best is None or name != "split" or low.least_split_bytes(gaps) < len(best):
            stream = CODERS[name].stream(gaps)
            best = min(filter(None, (best, stream)), key=len, default=None)
    if best is None or 1 + low.rice_bytes(gaps) <= len(best):
        return rice(gaps)
    return best


def _promising(gaps: Gaps) -> Iterator[str]:
    yield "gaps"
    if gaps.rice[0] > low.BELOW_RICE:
        yield "split"
    if 2 * gaps.near >= gaps.size:
        yield "bitmap"


def decode(stream: bytes, count: int, coders: Mapping[str, Coder] = CODERS) -> Integers:
    """Return ``count`` (1 or more) indices, strictly ascending from 0 and below ``MOST``."""
    decoders = {coder.number: coder.decode for coder in coders.values()}
    if not stream or stream[0] not in decoders:
        raise WireError(f"indices: coder {stream[0] if stream else 'none'} is none of {sorted(decoders)}")
    indices = decoders[stream[0]](stream[1:], count)
    limits.check_last(int(indices[-1]))
    return indices
