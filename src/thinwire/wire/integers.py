"""Integers of the records: LEB128, at most six bytes, one form for each value."""

from __future__ import annotations

from thinwire.errors import WireError

_MAX_VARINT_BYTES = 6


def varint(value: int) -> bytes:
    """Return a non-negative integer, seven bits a byte, lowest first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Reader:
    """Takes integers off the records, in order."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    @property
    def left(self) -> int:
        """Bytes not taken yet."""
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        """Take ``count`` bytes. Raises WireError where fewer are left."""
        if count > self.left:
            raise WireError("the records are cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        """Take an integer. Raises WireError on more than six bytes or leading zeros: each value has one form."""
        value = 0
        for place in range(_MAX_VARINT_BYTES):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                if byte == 0 and place:
                    break
                return value
        raise WireError("an integer of the records is too long or has leading zeros")
