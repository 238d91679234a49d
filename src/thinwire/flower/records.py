"""Tensors in and out of Flower's records, and our bytes in one Array.

One Array with our own ``stype`` carries everything: a peer without thinwire fails loudly on it instead of averaging
garbage, and many-layer models cost one object instead of two a tensor. An array that no frame carries (complex64,
uint32, strings, another serialization) stays beside it as it is.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from numpy.lib import format as npy
from torch import Tensor

from thinwire.codec import specs
from thinwire.errors import WireError
from thinwire.flower.names import full_name, record_of, short
from thinwire.wire import INLINE_LIMITS, split_specs

DOWN, UP, STATE = "thinwire.down.v1", "thinwire.up.v1", "thinwire.state.v1"
_KEY = "thinwire"
_NUMPY = "numpy.ndarray"
_MOST_HEADER = 1 << 16
_CLIPPING_NORM = "clipping_norm"
"""Under this key Flower's differentially private strategies send the norm, in both of its APIs."""
_NAMES = ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
_DTYPES = {name: getattr(torch, name) for name in _NAMES}


@dataclass(frozen=True)
class Arrays:
    """The arrays of a message, by full name (record and key)."""

    tensors: dict[str, Tensor]
    """Those that frames carry, in order. They share memory with the message: to be read only."""
    others: dict[str, Array]
    """Those that travel beside, as they are."""
    order: tuple[str, ...] = ()
    """All names, in the order of the message."""
    untyped: bool = False
    """The arrays say neither dtype nor shape, as those of Flower's older API do."""
    swapped: frozenset[str] = frozenset()
    """Those of a peer that were big-endian."""

    @property
    def dense_bytes(self) -> int:
        """Bytes of all arrays as they are."""
        return dense_bytes(self.tensors) + sum(len(array.data) for array in self.others.values())


def dense_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes of the tensors as they are."""
    return sum(x.numel() * x.itemsize for x in tensors.values())


def read(content: RecordDict) -> Arrays:
    """Return the arrays of a message of our own side; what no frame of ours carries is among ``others``."""
    arrays = _split(content, strict=False)
    fitting, _ = split_specs(specs(arrays.tensors), INLINE_LIMITS)
    if len(fitting) == len(arrays.tensors):
        return arrays
    tensors = {name: x for name, x in arrays.tensors.items() if name in fitting}
    others = {name: _array(content, name) for name in arrays.order if name not in fitting}
    return replace(arrays, tensors=tensors, others=others)


def read_untrusted(content: RecordDict) -> Arrays:
    """Return the arrays of a peer's message; big-endian numbers are swapped.

    Raises WireError naming the array whose bytes are not what its header says.
    """
    return _split(content, strict=True)


def read_npy(data: bytes) -> np.ndarray[Any, Any]:
    """Return the array that bytes in numpy's format hold, sharing their memory.

    Raises WireError, whatever numpy's parser of the header raises, before anything of the claimed size is allocated.
    """
    long = data[6:7] == b"\x02"
    at = 12 + int.from_bytes(data[8:12], "little") if long else 10 + int.from_bytes(data[8:10], "little")
    shape, fortran, dtype = _header(bytes(data[: min(at, _MOST_HEADER)]))
    count = math.prod(shape)
    if count * dtype.itemsize != len(data) - at:
        raise WireError(f"{len(data) - at} bytes for an array of shape {shape} and dtype {dtype}")
    return np.frombuffer(data, dtype, count, at).reshape(shape, order="F" if fortran else "C")


@lru_cache(maxsize=4096)
def _header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and dtype; many arrays of a model have the same header. Raises WireError."""
    try:
        stream = io.BytesIO(head)
        version = npy.read_magic(stream)
        parse = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = parse(stream)
        if dtype.hasobject or any(side < 0 for side in shape) or stream.tell() != len(head):
            raise ValueError(f"dtype {dtype} and shape {shape}")
        return shape, fortran, dtype
    except Exception as error:  # numpy evaluates the header as Python's literals: any of its errors may come
        raise WireError(f"not an array in numpy's format ({type(error).__name__}: {str(error)[:100]})") from None


def to_array(x: Tensor, untyped: bool = False) -> Array:
    """Return a tensor as Flower's Array, of its own memory; ``untyped`` as Flower's older API makes them."""
    values = x.numpy()
    head = io.BytesIO()
    npy.write_array_header_1_0(head, npy.header_data_from_array_1_0(values))
    body = values if values.flags.c_contiguous or values.flags.f_contiguous else np.ascontiguousarray(values)
    data = b"".join([head.getvalue(), body.tobytes("A")])
    return Array("" if untyped else str(values.dtype), () if untyped else tuple(values.shape), _NUMPY, data)


def view(array: Array) -> Tensor:
    """Return the tensor that an Array of ours holds, sharing its memory: to be read only."""
    return _as_tensor(read_npy(array.data))


def to_records(arrays: Mapping[str, Array], order: Sequence[str]) -> dict[str, ArrayRecord]:
    """Return records of arrays by full name, keys in ``order``."""
    records: dict[str, dict[str, Array]] = {}
    for name in order:
        record, key = record_of(name), short(name)
        records.setdefault(record, {})[key] = arrays[name]
    return {record: ArrayRecord(each) for record, each in records.items()}


def replace_arrays(content: RecordDict, records: Mapping[str, ArrayRecord]) -> RecordDict:
    """Return a new RecordDict: ``content`` with its ArrayRecords replaced by ``records``, the others as they are."""
    fresh = {**records, **{name: record for name, record in content.items() if not isinstance(record, ArrayRecord)}}
    order = [name for name in content if name in fresh] + [name for name in records if name not in content]
    return RecordDict({name: fresh[name] for name in order})


def with_data(content: RecordDict, data: bytes, stype: str, others: Mapping[str, Array]) -> RecordDict:
    """Return ``content`` with its arrays replaced by ``data`` in its first ArrayRecord, and ``others`` beside it."""
    first = next(iter(content.array_records))
    fresh: dict[str, dict[str, Array]] = {first: {_KEY: Array("uint8", (len(data),), stype, data)}}
    for name, array in others.items():
        record, key = record_of(name), short(name)
        fresh.setdefault(record, {})[key] = array
    return replace_arrays(content, {record: ArrayRecord(arrays) for record, arrays in fresh.items()})


def carry(data: bytes, stype: str) -> ArrayRecord:
    """Return a record of one Array that holds ``data``."""
    return ArrayRecord({_KEY: Array("uint8", (len(data),), stype, data)})


def carried(content: RecordDict, stype: str) -> bytes | None:
    """Return the bytes that ``with_data`` put into a message, or None where it is an ordinary one."""
    found = (data_of(record, stype) for record in content.array_records.values())
    return next((data for data in found if data is not None), None)


def data_of(record: object, stype: str) -> bytes | None:
    """Return the bytes that ``carry`` put into a record, or None where it is another."""
    if not isinstance(record, ArrayRecord) or _KEY not in record or record[_KEY].stype != stype:
        return None
    return bytes(record[_KEY].data)


def carried_beside(content: RecordDict) -> dict[str, Array]:
    """Return what travelled beside our bytes, by full name."""
    return {
        full_name(record, key): array
        for record, arrays in content.array_records.items()
        for key, array in arrays.items()
        if array.stype not in (DOWN, UP)
    }


def clipping_norm(content: RecordDict) -> float | None:
    """Return the norm to which a differentially private strategy has clients clip their updates; None: it has none."""
    for config in content.config_records.values():
        norm = config.get(_CLIPPING_NORM)
        if isinstance(norm, int | float) and not isinstance(norm, bool) and norm >= 0:
            return float(norm)
    return None


def _array(content: RecordDict, name: str) -> Array:
    return content.array_records[record_of(name)][short(name)]


def _split(content: RecordDict, strict: bool) -> Arrays:
    tensors, others, swapped, untyped = dict[str, Tensor](), dict[str, Array](), set[str](), False
    order = tuple(full_name(record, key) for record, arrays in content.array_records.items() for key in arrays)
    for name in order:
        array = _array(content, name)
        values = _values(name, array, strict)
        if values is None or (not values.dtype.isnative and not strict):
            others[name] = array
            continue
        if not values.dtype.isnative:
            values = values.astype(values.dtype.newbyteorder("="))
            swapped.add(name)
        tensors[name], untyped = _as_tensor(values), untyped or not array.dtype
    return Arrays(tensors, others, order, untyped, frozenset(swapped))


def _values(name: str, array: Array, strict: bool) -> np.ndarray[Any, Any] | None:
    """Return the numbers of an array if frames carry their kind."""
    if array.stype != _NUMPY:
        return None
    try:
        values = read_npy(array.data)
    except WireError as error:
        if strict:
            raise WireError(f"array {short(name)!r} cannot be read: {error}") from None
        return None
    return values if values.dtype.newbyteorder("=").name in _DTYPES else None


def _as_tensor(values: np.ndarray[Any, Any]) -> Tensor:
    if not values.size:
        return torch.zeros(values.shape, dtype=_DTYPES[values.dtype.name])
    if not values.flags.c_contiguous or not values.flags.aligned:
        values = np.array(values, order="C")
    return torch.from_numpy(values if values.flags.writeable else np.asarray(_Unguarded(values)))


class _Unguarded:
    """Memory that is only read, without the mark that it must be: torch warns of tensors on memory with the mark."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        interface = dict(values.__array_interface__)
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}
        self.values = values
