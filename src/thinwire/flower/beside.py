"""Arrays that no frame carries and that travel beside one: under zstd where that is smaller, else as they are.

These are kinds of numbers that torch lacks, strings, and what other serializations hold: trees as JSON, for one.
"""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import Array

from thinwire.errors import WireError
from thinwire.flower.names import short
from thinwire.kernels import zstd

_PREFIX = "thinwire.zstd.v1/"
"""Before the stype of an array whose bytes are compressed."""
_LEVEL, _LEAST_BYTES = 3, 64


def pack(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays as they travel."""
    return {name: _packed(array) for name, array in arrays.items()}


def unpack(arrays: Mapping[str, Array], most_bytes: int) -> dict[str, Array]:
    """Return the arrays as they were. Raises WireError where that is not what ``pack`` makes, or is more in all."""
    unpacked = dict[str, Array]()
    for name, array in arrays.items():
        unpacked[name] = _unpacked(name, array, most_bytes)
        most_bytes -= len(unpacked[name].data)
    return unpacked


def as_they_are_bytes(arrays: Mapping[str, Array]) -> int:
    """Return how many bytes travel uncompressed, of arrays that ``pack`` made."""
    return sum(len(array.data) for array in arrays.values() if not array.stype.startswith(_PREFIX))


def travelling_bytes(arrays: Mapping[str, Array]) -> int:
    """Return how many bytes travel."""
    return sum(len(array.data) for array in arrays.values())


def _packed(array: Array) -> Array:
    data = zstd.smallest(array.data, _LEVEL) if len(array.data) >= _LEAST_BYTES else array.data
    # One that an app itself calls so is packed whatever comes of it, or it would be unpacked though it was not.
    if len(data) < len(array.data) or array.stype.startswith(_PREFIX):
        body = data if data is not array.data else zstd.compress(array.data)
        return Array(array.dtype, array.shape, _PREFIX + array.stype, body)
    return array


def _unpacked(name: str, array: Array, most_bytes: int) -> Array:
    if not array.stype.startswith(_PREFIX):
        return array
    try:
        data = zstd.decompress(array.data, max(0, most_bytes))
    except WireError as error:
        raise WireError(f"array {short(name)!r} cannot be read: {error}") from None
    return Array(array.dtype, array.shape, array.stype.removeprefix(_PREFIX), data)
