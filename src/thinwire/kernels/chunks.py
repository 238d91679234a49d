"""One chunk of symbols to bytes and back: the coding modes behind the `Symbols` codec.

A chunk is one mode byte and a body. Symbols are zigzagged (0, -1, 1, -2 -> 0, 1, 2, 3). In the packed modes the largest
code of the width escapes: to a list of uint32 that follows the packed codes, or, where there are many, to a chunk of
their own. The high bit of the mode byte says that the body (with such a chunk: its packed codes) is stored as it is,
because zstd did not make it smaller.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from thinwire.errors import WireError
from thinwire.kernels import codes as coding
from thinwire.kernels import gaps, zstd
from thinwire.kernels.codes import Bytes, Codes, Symbols, unzigzag, zigzag
from thinwire.kernels.reference import packed_bytes

CHUNK = 1 << 18
_STORED = 0x80
_ZEROS, _SPARSE, _WIDE = 0, 1, 2
_PACKED = {2: 3, 4: 4, 8: 5}
_NESTED = {2: 11, 4: 12, 8: 13}
_BITS = {mode: bits for modes in (_PACKED, _NESTED) for bits, mode in modes.items()}
_FEW = 64
"""So many escapes and fewer stay a list: a chunk of them would hardly be smaller."""
_MOST_ESCAPES = {2: 1 / 4, 4: 1 / 4, 8: 1 / 2}
_MOST_LISTED = 1 / 64
"""Up to such a part of the codes may escape; more are worth a wider code, and a list is worth far fewer."""
_DEEPEST = 3
_MOST_SPARSE = 1 / 5
"""Where no more are not zero, the gaps between them take less than packed codes."""
_SMALL = 1 << 12
"""Of a tensor of so many symbols and fewer every coding is tried; in a chunk there may be too many such chunks."""
_HALF = 1 / 2

Narrow = NDArray[np.int8] | Symbols


def counts(total: int) -> list[int]:
    """Return how many symbols each chunk of a tensor with ``total`` symbols holds."""
    return [min(CHUNK, total - start) for start in range(0, total, CHUNK)]


def split(values: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the chunks of a 1-D array, as views."""
    return (values[start : start + CHUNK] for start in range(0, values.size, CHUNK))


def encode(values: Symbols, level: int, deeper: int = _DEEPEST) -> bytes:
    """Return a small coding of one chunk of int32 symbols, with chunks in it, nested at most so many times."""
    codes, (nonzero, *beyond) = coding.cut(values)
    if nonzero == 0:
        return bytes([_ZEROS])
    if codes.size <= _SMALL and deeper == _DEEPEST:
        return min(_every(values, codes, [nonzero, *beyond], level, deeper), key=len)
    if nonzero <= _MOST_SPARSE * codes.size and deeper:
        return _sparse(values, codes, nonzero, level, deeper)
    for bits, escapes in zip(_PACKED, beyond, strict=True):
        # The narrowest puts most symbols into a byte, and so codes most of them together.
        if escapes <= (_MOST_ESCAPES[bits] if deeper else _MOST_LISTED) * codes.size:
            return _packed(values, codes, bits, escapes, level, deeper)
    return _wide(zigzag(values), level)


def _every(values: Symbols, codes: Bytes, reached: list[int], level: int, deeper: int) -> Iterator[bytes]:
    """Yield every coding of a few symbols: what does not depend on their number decides."""
    nonzero, *beyond = reached
    yield _wide(zigzag(values), level)
    if deeper and nonzero <= _HALF * codes.size:
        yield _sparse(values, codes, nonzero, level, deeper)
    for bits, escapes in zip(_PACKED, beyond, strict=True):
        if escapes <= _HALF * codes.size:
            yield _packed(values, codes, bits, escapes, level, 0)
            if deeper and escapes > _FEW:
                yield _packed(values, codes, bits, escapes, level, deeper)


def decode(data: bytes | memoryview, count: int) -> Symbols:
    """Return the ``count`` int32 symbols of one chunk, or raise WireError."""
    return decode_narrow(data, count).astype(np.int32, copy=False)


def decode_narrow(data: bytes | memoryview, count: int, deeper: int = _DEEPEST) -> Narrow:
    """Return the ``count`` symbols of one chunk, as int8 where none escaped, or raise WireError."""
    if not data:
        raise WireError("symbols: an empty chunk")
    mode, stored, body = data[0] & ~_STORED, bool(data[0] & _STORED), memoryview(data)[1:]
    if mode == _ZEROS:
        if len(data) != 1 or stored:
            raise WireError("symbols: a chunk of zeros has a body")
        return np.zeros(count, np.int8)
    if mode == _SPARSE:
        return _unsparse(body, count, stored, deeper)
    if mode == _WIDE:
        return unzigzag(_unwide(_content(body, stored, 4 * count), count))
    if mode in _PACKED.values():
        bits = _BITS[mode]
        return _unpacked(_content(body, stored, packed_bytes(count, bits) + 4 * count), bits, count)
    if mode in _NESTED.values() and deeper:
        return _unnested(body, stored, _BITS[mode], count, deeper - 1)
    raise WireError(f"symbols: unknown mode {mode}")


def _shrunk(raw: bytes, level: int) -> tuple[bytes, int]:
    """Return bytes under zstd or as they are, whichever is smaller, and the flag that says so."""
    packed = zstd.smallest(raw, level)
    return (packed, 0) if len(packed) < len(raw) else (raw, _STORED)


def _content(body: memoryview, stored: bool, most: int) -> Bytes:
    return np.frombuffer(body if stored else zstd.decompress(body, most), np.uint8)


def _wide(codes: Codes, level: int) -> bytes:
    planes = np.ascontiguousarray(codes.view(np.uint8).reshape(-1, 4).T)
    body, flag = _shrunk(planes.tobytes(), level)
    return bytes([_WIDE | flag]) + body


def _unwide(raw: Bytes, count: int) -> Codes:
    if raw.size != 4 * count:
        raise WireError(f"symbols: {raw.size} bytes for {count} wide symbols")
    return np.ascontiguousarray(raw.reshape(4, count).T).view(np.uint32).reshape(-1)


def _packed(values: Symbols, codes: Bytes, bits: int, escapes: int, level: int, deeper: int) -> bytes:
    escape = 2**bits - 1
    head = coding.pack(codes, bits).tobytes()
    beyond = coding.beyond(values, codes, escape, escapes)
    if escapes <= _FEW or not deeper:
        listed = (zigzag(beyond) + np.uint32(escape)).astype("<u4")
        body, flag = _shrunk(head + listed.tobytes(), level)
        return bytes([_PACKED[bits] | flag]) + body
    body, flag = _shrunk(head, level)
    rest = encode(beyond, level, deeper - 1)
    return bytes([_NESTED[bits] | flag]) + len(body).to_bytes(4, "little") + body + rest


def _unpacked(raw: Bytes, bits: int, count: int) -> Narrow:
    head = packed_bytes(count, bits)
    if raw.size < head:
        raise WireError("symbols: packed codes are cut short")
    codes, escapes = _unpack(raw[:head], bits, count)
    if raw.size - head != 4 * escapes:
        raise WireError("symbols: the number of escaped symbols disagrees with the codes")
    return _symbols(codes, bits, unzigzag(raw[head:].copy().view("<u4")))


def _unnested(body: memoryview, stored: bool, bits: int, count: int, deeper: int) -> Narrow:
    head, length = packed_bytes(count, bits), int.from_bytes(body[:4], "little")
    raw = _content(body[4 : 4 + length], stored, head)
    if raw.size != head or len(body) < 4 + length:
        raise WireError("symbols: packed codes are cut short")
    codes, escapes = _unpack(raw, bits, count)
    beyond = zigzag(decode_narrow(body[4 + length :], escapes, deeper))
    return _symbols(codes, bits, unzigzag(beyond + np.uint32(2**bits - 1)))


def _unpack(packed: Bytes, bits: int, count: int) -> tuple[Bytes, int]:
    """Return codes of one byte each, and how many of them escape."""
    codes = coding.unpack(packed, bits, count)
    return codes, int(np.count_nonzero(codes == 2**bits - 1))


def _symbols(codes: Bytes, bits: int, escaped: Symbols) -> Narrow:
    if escaped.size:
        return coding.joined(codes, 2**bits - 1, escaped)
    return ((codes >> 1) ^ -(codes & 1)).view(np.int8)


def _sparse(values: Symbols, codes: Bytes, nonzero: int, level: int, deeper: int) -> bytes:
    """Gaps and values apart: their statistics differ. No value is zero, so their codes are one less."""
    at = coding.places(codes, nonzero)
    where = zstd.smallest(gaps.encode(gaps.between(at)), level)
    found = zigzag(values[at]) - np.uint32(1)
    if int(found.max()) <= 1:
        coded = bytes([1]) + np.packbits(found.astype(bool), bitorder="little").tobytes()
    else:
        coded = bytes([0]) + encode(unzigzag(found), level, deeper - 1)
    return bytes([_SPARSE]) + len(where).to_bytes(4, "little") + where + coded


def _unsparse(body: memoryview, count: int, stored: bool, deeper: int) -> Symbols:
    length = int.from_bytes(body[:4], "little")
    if stored or len(body) < 5 + length:
        raise WireError("symbols: a sparse chunk is cut short")
    at = gaps.decode(zstd.decompress(body[4 : 4 + length], 2 * count), count)
    if at.size and int(at[-1]) >= count:
        raise WireError(f"symbols: a non-zero at {int(at[-1])} in a chunk of {count}")
    out = np.zeros(count, np.int32)
    out[at] = unzigzag(_found(body[4 + length], body[5 + length :], at.size, deeper) + np.uint32(1))
    return out


def _found(bits: int, coded: memoryview, count: int, deeper: int) -> Codes:
    """Return the codes, less one, of the non-zero symbols in a sparse chunk."""
    if bits == 0 and deeper:
        return zigzag(decode_narrow(coded, count, deeper - 1))
    if bits == 1:
        if len(coded) != packed_bytes(count, 1):
            raise WireError("symbols: the signs of a sparse chunk have the wrong length")
        return np.unpackbits(np.frombuffer(coded, np.uint8), bitorder="little", count=count).astype(np.uint32)
    if bits in _PACKED:
        raw = zstd.decompress(coded, packed_bytes(count, bits) + 4 * count)
        return zigzag(_unpacked(np.frombuffer(raw, np.uint8), bits, count))
    raise WireError(f"symbols: {bits} bits a value in a sparse chunk")
