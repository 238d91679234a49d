"""Tensors in and out of Flower's records, and our bytes in one Array.

One Array with our own ``stype`` carries everything: a peer without thinwire fails loudly on it instead of averaging
garbage, and many-layer models cost one object instead of two a tensor. An array that no frame carries (complex64,
uint32, strings, another serialization) travels beside it.
"""

from __future__ import annotations

import ast
import io
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from numpy.lib import format as npy
from torch import Tensor

from thinwire.codec import specs
from thinwire.errors import WireError
from thinwire.flower.engine import CLIPPING_NORM_KEY
from thinwire.flower.names import full_name, record_of, short
from thinwire.wire import INLINE_LIMITS, split_specs

DOWN, UP, STATE = "thinwire.down.v1", "thinwire.up.v1", "thinwire.state.v1"
_KEY = "thinwire"
_NUMPY = "numpy.ndarray"
_NAMES = ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
_DTYPES = {name: getattr(torch, name) for name in _NAMES}
_KINDS = {"b": "integers", "i": "integers", "u": "integers", "f": "floats", "c": "complex numbers"}
"""What numpy's kinds of numbers are called: those that strategies can average."""
NUMBERS = frozenset(_KINDS.values())
_LENGTHS = {b"\1\0": struct.Struct("<H"), b"\2\0": struct.Struct("<I"), b"\3\0": struct.Struct("<I")}
"""How each version of numpy's format says the length of its header."""
_LONGEST_HEADER = 10_000
"""As in numpy."""


@dataclass(frozen=True)
class Arrays:
    """The arrays of a message, by full name (record and key)."""

    tensors: dict[str, Tensor]
    """Those that frames carry, in order. They share memory with the message: to be read only."""
    others: dict[str, Array]
    """Those that travel beside."""
    order: tuple[str, ...] = ()
    """All names, in the order of the message."""
    untyped: bool = False
    """The arrays say neither dtype nor shape, as those of Flower's older API do."""
    fresh: Mapping[str, Array] = field(default_factory=dict)
    """Those of a peer that numpy would write otherwise (big-endian, an odd header, a false label), written anew."""

    @property
    def dense_bytes(self) -> int:
        """Bytes of all arrays as they are."""
        return dense_bytes(self.tensors) + sum(len(array.data) for array in self.others.values())


def dense_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes of the tensors as they are."""
    return sum(x.numel() * x.itemsize for x in tensors.values())


def read(content: RecordDict) -> Arrays:
    """Return the arrays of a message of our own side; what no frame of ours carries is among ``others``."""
    given = arrays_of(content)
    arrays = _split(given, strict=False)
    fitting, _ = split_specs(specs(arrays.tensors), INLINE_LIMITS)
    if len(fitting) == len(arrays.tensors):
        return arrays
    tensors = {name: x for name, x in arrays.tensors.items() if name in fitting}
    others = {name: given[name] for name in arrays.order if name not in fitting}
    return replace(arrays, tensors=tensors, others=others)


def read_untrusted(arrays: Mapping[str, Array]) -> Arrays:
    """Return arrays of a peer, by full name; big-endian numbers are swapped.

    Raises WireError naming the array whose bytes are not what its header says.
    """
    return _split(arrays, strict=True)


def arrays_of(content: RecordDict) -> dict[str, Array]:
    """Return all arrays of a message by full name, in order."""
    return {
        full_name(record, key): array
        for record, arrays in content.array_records.items()
        for key, array in arrays.items()
    }


def read_npy(data: bytes) -> np.ndarray[Any, Any]:
    """Return the array that bytes in numpy's format hold, sharing their memory.

    Raises WireError, whatever numpy's parser of the header raises, before anything of the claimed size is allocated.
    """
    try:
        shape, fortran, dtype, at = _header(data)
        if dtype.hasobject or dtype.subdtype or not dtype.itemsize or any(side < 0 for side in shape):
            raise ValueError(f"dtype {dtype} and shape {shape}")
        if math.prod(shape) * dtype.itemsize != len(data) - at:
            raise ValueError(f"{len(data) - at} bytes for an array of shape {shape} and dtype {dtype}")
        return np.ndarray(shape, dtype, data, at, order="F" if fortran else "C")
    except Exception as error:  # of Python's parser of literals, and of numpy's of dtypes: any may come
        raise WireError(f"not an array in numpy's format ({type(error).__name__}: {str(error)[:100]})") from None


def _header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, Fortran's order, dtype, and where the numbers begin.

    As numpy reads it, but for its second try on what Python 2 wrote, which takes long. May raise anything.
    """
    form = _LENGTHS[bytes(data[6:8])]
    (length,), start = form.unpack_from(data, 8), 8 + form.size
    if not data.startswith(npy.MAGIC_PREFIX) or start + length > len(data) or length > _LONGEST_HEADER:
        raise ValueError(f"it starts with {bytes(data[:10])!r}")
    return *_parsed(bytes(data[start : start + length])), start + length


@lru_cache(maxsize=4096)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, Fortran's order and dtype; many arrays of a model have the same header. May raise anything."""
    told = ast.literal_eval(header.decode("latin1"))
    shape, fortran = told["shape"], told["fortran_order"]
    if not (isinstance(shape, tuple) and all(isinstance(side, int) for side in shape) and isinstance(fortran, bool)):
        raise ValueError(f"shape {shape} and Fortran order {fortran}")
    if len(told) != 3:
        raise ValueError("the header says more than dtype, order and shape")
    return shape, fortran, npy.descr_to_dtype(told["descr"])


def to_array(x: Tensor, untyped: bool = False) -> Array:
    """Return a tensor as Flower's Array, of its own memory; ``untyped`` as Flower's older API makes them."""
    return _array(x.numpy(), untyped)


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


def record_with(content: RecordDict, stype: str) -> str:
    """Return the name of the record that carries our bytes; empty: none does."""
    return next((name for name, each in content.array_records.items() if data_of(each, stype) is not None), "")


def data_of(record: object, stype: str) -> bytes | None:
    """Return the bytes that ``carry`` put into a record, or None where it is another."""
    if not isinstance(record, ArrayRecord) or _KEY not in record or record[_KEY].stype != stype:
        return None
    return bytes(record[_KEY].data)


def carried_beside(content: RecordDict) -> dict[str, Array]:
    """Return what travelled beside our bytes, by full name."""
    return {name: array for name, array in arrays_of(content).items() if array.stype not in (DOWN, UP)}


def config_bytes(content: RecordDict) -> dict[str, int]:
    """Return how many bytes each ConfigRecord holds as such: what an app serialized itself, and nothing compresses."""
    found = dict[str, int]()
    for name, record in content.config_records.items():
        values = [each for value in record.values() for each in (value if isinstance(value, list) else [value])]
        if size := sum(len(value) for value in values if isinstance(value, bytes)):
            found[name] = size
    return found


def clipping_norm(content: RecordDict) -> float | None:
    """Return the norm to which a differentially private strategy has clients clip their updates; None: it has none."""
    for config in content.config_records.values():
        norm = config.get(CLIPPING_NORM_KEY)
        if isinstance(norm, int | float) and not isinstance(norm, bool) and norm >= 0:
            return float(norm)
    return None


def kind_and_shape(array: Array) -> tuple[str, tuple[int, ...]]:
    """Return what strategies see of an array that no frame carries: its kind of number, or another name, and shape."""
    if array.stype != _NUMPY:
        return f"serialized as {array.stype!r}", ()
    try:
        values = read_npy(array.data)
    except WireError:
        return "not readable", ()
    return _KINDS.get(values.dtype.kind, str(values.dtype)), values.shape


def finite_as(array: Array, like: Array | Tensor | None) -> bool:
    """Return whether an array that no frame carries is finite, in the dtype of the one that it answers, or that is not.

    What holds no numbers is finite.
    """
    if array.stype != _NUMPY or (values := read_npy(array.data)).dtype.kind not in "fc":
        return True
    if isinstance(like, Tensor):
        base = like.numpy()
    else:
        base = values if like is None or like.stype != _NUMPY else read_npy(like.data)
    with np.errstate(over="ignore"):
        narrow = values.astype(base.dtype) if base.dtype.kind == values.dtype.kind else values
    bad = ~np.isfinite(narrow)
    if not bad.any():
        return True
    return (
        like is not None and base.dtype.kind in "fc" and base.shape == values.shape and not bad[np.isfinite(base)].any()
    )


def energy_of_change(array: Array, before: Array | None) -> float:
    """Return the sum of squares of the difference of two arrays that no frame carries; 0 where they hold no numbers.

    ``before`` counts as zeros where it is missing or of another shape.
    """
    values, base = (None if each is None else _numbers(each) for each in (array, before))
    if values is None:
        return 0.0
    change = values if base is None or base.shape != values.shape else values - base
    return float(np.sum(np.abs(change) ** 2))


def _numbers(array: Array) -> np.ndarray[Any, Any] | None:
    """Return what an array holds, in 128 bits; None where these are no numbers."""
    if array.stype != _NUMPY:
        return None
    try:
        values = read_npy(array.data)
    except WireError:
        return None
    return values.astype(np.complex128) if values.dtype.kind in _KINDS else None


def _array(values: np.ndarray[Any, Any], untyped: bool) -> Array:
    body = values if values.flags.c_contiguous or values.flags.f_contiguous else np.ascontiguousarray(values)
    flat = body.reshape(-1) if body.flags.c_contiguous else body.T.reshape(-1)
    data = b"".join([_head(values), flat.view(np.uint8).data])
    return Array("" if untyped else str(values.dtype), () if untyped else tuple(values.shape), _NUMPY, data)


def _head(values: np.ndarray[Any, Any]) -> bytes:
    head = io.BytesIO()
    npy.write_array_header_1_0(head, npy.header_data_from_array_1_0(values))
    return head.getvalue()


def _split(given: Mapping[str, Array], strict: bool) -> Arrays:
    tensors, others, fresh, untyped = dict[str, Tensor](), dict[str, Array](), dict[str, Array](), False
    for name, array in given.items():
        values = _values(name, array, strict)
        if values is not None and strict and (anew := _anew(array, values)) is not None:
            fresh[name], array = anew, anew
            values = read_npy(anew.data)
        if values is None or not values.dtype.isnative or values.dtype.name not in _DTYPES:
            others[name] = array
        else:
            tensors[name], untyped = _as_tensor(values), untyped or not array.dtype
    return Arrays(tensors, others, tuple(given), untyped, fresh)


def _values(name: str, array: Array, strict: bool) -> np.ndarray[Any, Any] | None:
    """Return what an array holds in numpy's format; None: it has another."""
    if array.stype != _NUMPY:
        return None
    try:
        return read_npy(array.data)
    except WireError as error:
        if strict:
            raise WireError(f"array {short(name)!r} cannot be read: {error}") from None
        return None


def _anew(array: Array, values: np.ndarray[Any, Any]) -> Array | None:
    """Return an array of a peer as numpy would have written it; None: it did. Numbers become native.

    Strategies read the bytes with numpy again, which must not see anything else in them than was checked.
    """
    if values.dtype.kind == "V":
        return None
    labels = {(str(values.dtype), values.shape), ("", ())}
    if values.dtype.isnative and (array.dtype, array.shape) in labels and array.data.startswith(_head(values)):
        return None
    return _array(values.astype(values.dtype.newbyteorder("="), copy=False), untyped=not array.dtype)


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
