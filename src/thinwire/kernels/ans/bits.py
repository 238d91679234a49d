"""Bits, low ones first, and Exp-Golomb codes: what the head of a stream is written in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from thinwire.errors import WireError

_LONGEST = 40
_AHEAD = 14
"""Bytes that hold the longest code, of an order up to 16, wherever in a byte it begins."""
_PIECE = 256

Bytes = bytes | bytearray | memoryview


class Writer:
    """Appends bits to a few integers."""

    def __init__(self) -> None:
        self.count = 0
        self._full = bytearray()
        self._held, self._fill = 0, 0

    def bits(self, value: int, width: int) -> None:
        """Append ``width`` bits of a non-negative value below ``2**width``."""
        self._held |= value << self._fill
        self._fill += width
        self.count += width
        if self._fill >= _PIECE:
            self._full += (self._held & (1 << _PIECE) - 1).to_bytes(_PIECE // 8, "little")
            self._held >>= _PIECE
            self._fill -= _PIECE

    def golomb(self, value: int, order: int) -> None:
        """Append a non-negative integer: Exp-Golomb of the order, which is about the logarithm of usual values."""
        high = (value >> order) + 1
        width = high.bit_length() - 1
        self.bits(1 << width, width + 1)
        self.bits(high - (1 << width), width)
        self.bits(value & ((1 << order) - 1), order)

    def signed(self, values: Iterable[int], order: int) -> None:
        """Append integers of either sign: 0, -1, 1, -2 become 0, 1, 2, 3."""
        for value in values:
            self.golomb(-2 * value - 1 if value < 0 else 2 * value, order)

    def data(self) -> bytes:
        """Return all bits, filled with zeros to whole bytes."""
        return bytes(self._full) + self._held.to_bytes((self._fill + 7) // 8, "little")


class Reader:
    """Takes bits from the start of a stream; whatever is not there raises WireError."""

    def __init__(self, data: Bytes) -> None:
        self._data, self.count = data, 0

    def bits(self, width: int) -> int:
        """Return the next ``width`` bits."""
        first, end = self.count // 8, (self.count + width + 7) // 8
        if end > len(self._data):
            raise WireError("ans: the head is cut short")
        value = int.from_bytes(self._data[first:end], "little") >> self.count % 8
        self.count += width
        return value & ((1 << width) - 1)

    def golomb(self, order: int, most: int) -> int:
        """Return the next Exp-Golomb code, which is at most ``most``."""
        first = self.count // 8
        held = int.from_bytes(self._data[first : first + _AHEAD], "little") >> self.count % 8
        width = (held & -held).bit_length() - 1
        if width > _LONGEST or (width < 0 and 8 * len(self._data) - self.count > _LONGEST):
            raise WireError("ans: a number of the head is too long")
        self.count += 2 * width + 1 + order
        if width < 0 or self.count > 8 * len(self._data):
            raise WireError("ans: the head is cut short")
        held >>= width + 1
        high, low = (1 << width) - 1 + (held & (1 << width) - 1), held >> width & (1 << order) - 1
        value = (high << order) + low
        if value > most:
            raise WireError(f"ans: a number of the head is {value}, expected at most {most}")
        return value

    def signed(self, order: int, most: int) -> int:
        """Return the next integer of either sign, whose magnitude is at most ``most``."""
        code = self.golomb(order, 2 * most)
        return -(code + 1 >> 1) if code & 1 else code >> 1

    def flags(self, count: int) -> tuple[bool, ...]:
        """Return the next ``count`` bits one by one."""
        return tuple(bool(self.bits(1)) for _ in range(count))

    def whole_bytes(self) -> int:
        """Return how many bytes were read; the bits that fill the last one must be zero."""
        if self.count % 8 and self.bits(8 - self.count % 8):
            raise WireError("ans: the padding of the head is not zero")
        return self.count // 8


def golomb_bits(codes: Sequence[int], order: int) -> int:
    """Return how many bits ``golomb`` takes for non-negative integers."""
    return sum(2 * ((code >> order) + 1).bit_length() - 1 + order for code in codes)
