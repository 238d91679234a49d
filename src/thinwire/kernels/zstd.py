"""Bounded zstd (RFC 8878), the only native decoder that ever sees a peer's bytes.

Frames carry no content size and no checksum (the thinwire frame has both), and lose their constant 4-byte magic.
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np

from thinwire.errors import WireError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MAGIC = b"\x28\xb5\x2f\xfd"
_WINDOW_LOG = 23
_NO_REPEATS: dict[int, int] = {zstd.CompressionParameter.min_match: 7, zstd.CompressionParameter.hash_log: 6}
_WHOLE, _PART = 1 << 14, 8
"""Up to so many bytes both ways are tried on all of them, else on one part of so many."""
_DECODER: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}


def smallest(data: bytes, level: int = 1) -> bytes:
    """Return ``data`` as one zstd frame, with repeats or without, whichever makes a part from the middle smaller."""
    if len(data) <= _WHOLE:
        return min(compress(data, 1, repeats=False), compress(data, level), key=len)
    part = data[len(data) // 2 :][: len(data) // _PART]
    repeats = len(compress(part, level)) < len(compress(part, 1, repeats=False))
    return compress(data, level) if repeats else compress(data, 1, repeats=False)


def compress(data: bytes | np.ndarray, level: int = 1, repeats: bool = True) -> bytes:
    """Return ``data`` as one zstd frame, no magic. Level 1 beats higher ones on packed symbols (docs/methods.md).

    Without ``repeats`` next to none are looked for: on random bytes, Huffman codes alone are smaller and faster.
    """
    raw = data.tobytes() if isinstance(data, np.ndarray) else data
    compressor = (
        _kept(repeats) if level == 1 and len(raw) <= _WHOLE else zstd.ZstdCompressor(options=_options(level, repeats))
    )
    return bytes(compressor.compress(raw, mode=zstd.ZstdCompressor.FLUSH_FRAME))[len(_MAGIC) :]


@cache
def _kept(repeats: bool) -> zstd.ZstdCompressor:
    """Return a compressor of level 1: to make one takes longer than to compress a few thousand bytes.

    All threads share it. It holds a lock of its own while it makes a whole frame, which begins afresh.
    """
    return zstd.ZstdCompressor(options=_options(1, repeats))


def _options(level: int, repeats: bool) -> dict[int, int]:
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.content_size_flag: 0,
        zstd.CompressionParameter.checksum_flag: 0,
        zstd.CompressionParameter.window_log: 20,
    }
    return options if repeats else options | _NO_REPEATS


def decompress(data: bytes | memoryview, limit: int) -> bytes:
    """Return the content of exactly one frame, at most ``limit`` bytes. Anything else raises WireError.

    The limit holds whatever the frame claims: the decoder is asked for one byte more than allowed and no further.
    """
    decoder = zstd.ZstdDecompressor(options=_DECODER)
    try:
        out = bytes(decoder.decompress(_MAGIC + data, max_length=limit + 1))
    except zstd.ZstdError as error:
        raise WireError(f"zstd: {error}") from None
    if len(out) > limit:
        raise WireError(f"zstd: content is larger than the {limit} bytes that the schema allows")
    if not decoder.eof or decoder.unused_data:
        raise WireError("zstd: the frame is cut short or followed by other bytes")
    return out
