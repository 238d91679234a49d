"""One chunk of symbols to bytes and back: the coding modes behind the `Symbols` codec.

A chunk is one mode byte and a body. Symbols are zigzagged (0, -1, 1, -2 -> 0, 1, 2, 3). In the packed modes the largest
code of the width escapes to a list of uint32 that follows the packed codes. The high bit of the mode byte says that the
body is stored as it is, because zstd did not make it smaller.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from thinwire.errors import WireError
from thinwire.kernels import dispatch, gaps, zstd

CHUNK = 1 << 18
_STORED = 0x80
_ZEROS, _SPARSE, _WIDE = 0, 1, 2
_PACKED = {2: 3, 4: 4, 8: 5}
_BITS = {mode: bits for bits, mode in _PACKED.items()}


def counts(total: int) -> list[int]:
    """Return how many symbols each chunk of a tensor with ``total`` symbols holds."""
    return [min(CHUNK, total - start) for start in range(0, total, CHUNK)]


def split(values: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the chunks of a 1-D array, as views."""
    return (values[start : start + CHUNK] for start in range(0, values.size, CHUNK))


def encode(values: np.ndarray, level: int) -> bytes:
    """Return the smallest coding of one chunk of int32 symbols."""
    codes = zigzag(values)
    nonzero = int(np.count_nonzero(codes))
    if nonzero == 0:
        return bytes([_ZEROS])
    candidates = [_packed(codes, bits, level) for bits in _worthwhile(codes)]
    if nonzero * 4 <= codes.size:
        candidates.append(_sparse(codes, level))
    return min(candidates or [_wide(codes, level)], key=len)


def decode(data: bytes, count: int) -> np.ndarray:
    """Return the ``count`` int32 symbols of one chunk, or raise WireError."""
    if not data:
        raise WireError("symbols: an empty chunk")
    mode, body = data[0] & ~_STORED, data[1:]
    if mode == _ZEROS:
        if len(data) != 1 or data[0] & _STORED:
            raise WireError("symbols: a chunk of zeros has a body")
        return np.zeros(count, np.int32)
    if mode == _SPARSE:
        return unzigzag(_unsparse(body, count, bool(data[0] & _STORED)))
    if mode not in _BITS and mode != _WIDE:
        raise WireError(f"symbols: unknown mode {mode}")
    limit = 4 * count + (dispatch.packed_bytes(count, _BITS[mode]) if mode in _BITS else 0)
    raw = body if data[0] & _STORED else zstd.decompress(body, limit)
    return unzigzag(_unwide(raw, count) if mode == _WIDE else _unpacked(raw, _BITS[mode], count))


def zigzag(values: np.ndarray) -> np.ndarray:
    """Return uint32 codes: 0, -1, 1, -2 become 0, 1, 2, 3."""
    v = values.astype(np.int32, copy=False)
    return ((v << 1) ^ (v >> 31)).view(np.uint32)


def unzigzag(codes: np.ndarray) -> np.ndarray:
    """Invert ``zigzag``."""
    return ((codes >> np.uint32(1)) ^ (np.uint32(0) - (codes & np.uint32(1)))).view(np.int32)


def _worthwhile(codes: np.ndarray) -> list[int]:
    """Return the packing widths that escape at most one code in eight."""
    return [b for b in _PACKED if int(np.count_nonzero(codes >= 2**b - 1)) * 8 <= codes.size]


def _body(mode: int, raw: bytes, level: int) -> bytes:
    packed = zstd.compress(raw, level)
    return bytes([mode]) + packed if len(packed) < len(raw) else bytes([mode | _STORED]) + raw


def _packed(codes: np.ndarray, bits: int, level: int) -> bytes:
    return _body(_PACKED[bits], pack_escaped(codes, bits), level)


def _wide(codes: np.ndarray, level: int) -> bytes:
    planes = np.ascontiguousarray(codes.view(np.uint8).reshape(-1, 4).T)
    return _body(_WIDE, planes.tobytes(), level)


def _unwide(raw: bytes, count: int) -> np.ndarray:
    if len(raw) != 4 * count:
        raise WireError(f"symbols: {len(raw)} bytes for {count} wide symbols")
    planes = np.frombuffer(raw, np.uint8).reshape(4, count)
    return np.ascontiguousarray(planes.T).view(np.uint32).reshape(-1)


def pack_escaped(codes: np.ndarray, bits: int) -> bytes:
    """Return codes packed to ``bits`` each, followed by the uint32 of those that did not fit."""
    escape = np.uint32(2**bits - 1)
    packed = dispatch.pack(torch.from_numpy(np.minimum(codes, escape).astype(np.int32)), bits)
    return packed.numpy().tobytes() + codes[codes >= escape].astype("<u4").tobytes()


def _unpacked(raw: bytes, bits: int, count: int) -> np.ndarray:
    head = dispatch.packed_bytes(count, bits)
    if len(raw) < head:
        raise WireError("symbols: packed codes are cut short")
    packed = torch.frombuffer(bytearray(raw[:head]), dtype=torch.uint8)
    codes = dispatch.unpack(packed, bits, count).numpy().view(np.uint32)
    escaped = codes == 2**bits - 1
    if len(raw) - head != 4 * int(np.count_nonzero(escaped)):
        raise WireError("symbols: the number of escaped symbols disagrees with the codes")
    codes[escaped] = np.frombuffer(raw, "<u4", offset=head)
    return codes


def _sparse(codes: np.ndarray, level: int) -> bytes:
    """Gaps and values, each under its own zstd frame: their statistics differ. Values are non-zero, so one less."""
    at = np.flatnonzero(codes)
    values = codes[at] - np.uint32(1)
    if int(values.max()) <= 1:
        coded = bytes([1]) + np.packbits(values.astype(bool), bitorder="little").tobytes()
    else:
        options = (bytes([bits]) + zstd.compress(pack_escaped(values, bits), level) for bits in _PACKED)
        coded = min(options, key=len)
    where = zstd.compress(gaps.encode(gaps.between(at)), level)
    return bytes([_SPARSE]) + len(where).to_bytes(4, "little") + where + coded


def _unsparse(body: bytes, count: int, stored: bool) -> np.ndarray:
    length = int.from_bytes(body[:4], "little")
    if stored or len(body) < 5 + length:
        raise WireError("symbols: a sparse chunk is cut short")
    at = gaps.decode(zstd.decompress(body[4 : 4 + length], 2 * count), count)
    if at.size and int(at[-1]) >= count:
        raise WireError(f"symbols: a non-zero at {int(at[-1])} in a chunk of {count}")
    bits, coded = body[4 + length], body[5 + length :]
    if bits == 1:
        if len(coded) != dispatch.packed_bytes(at.size, 1):
            raise WireError("symbols: the signs of a sparse chunk have the wrong length")
        values = np.unpackbits(np.frombuffer(coded, np.uint8), bitorder="little", count=at.size).astype(np.uint32)
    elif bits in _PACKED:
        raw = zstd.decompress(coded, dispatch.packed_bytes(at.size, bits) + 4 * at.size)
        values = _unpacked(raw, bits, at.size)
    else:
        raise WireError(f"symbols: {bits} bits a value in a sparse chunk")
    out = np.zeros(count, np.uint32)
    out[at] = values + np.uint32(1)
    return out
