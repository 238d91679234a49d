"""Tensors in and out of Flower's records, and our bytes in one Array.

One Array with our own ``stype`` carries everything: a peer without thinwire fails loudly on it instead of averaging
garbage, and many-layer models cost one object instead of two a tensor.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from torch import Tensor

from thinwire.errors import WireError

DOWN, UP, STATE = "thinwire.down.v1", "thinwire.up.v1", "thinwire.state.v1"
_KEY = "thinwire"
_SEPARATOR = "\x00"
_NAMES = ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
_DTYPES = {name: getattr(torch, name) for name in _NAMES}


def carry(data: bytes, stype: str) -> ArrayRecord:
    """Return a record of one Array that holds ``data``."""
    return ArrayRecord({_KEY: Array("uint8", (len(data),), stype, data)})


def carried(record: object, stype: str) -> bytes | None:
    """Return the bytes that ``carry`` put into a record, or None where it is an ordinary one."""
    if not isinstance(record, ArrayRecord) or list(record) != [_KEY] or record[_KEY].stype != stype:
        return None
    return bytes(record[_KEY].data)


def carried_anywhere(content: RecordDict, stype: str) -> tuple[str, bytes] | None:
    """Return (record name, bytes) of the first record that carries ours, or None."""
    for name, record in content.array_records.items():
        if (data := carried(record, stype)) is not None:
            return name, data
    return None


def compressible(content: RecordDict) -> bool:
    """Say whether a message holds arrays and all of them are of kinds that a frame can carry."""
    arrays = [array for record in content.array_records.values() for array in record.values()]
    return bool(arrays) and all(a.stype == "numpy.ndarray" and a.dtype in _DTYPES for a in arrays)


def to_tensors(content: RecordDict) -> dict[str, Tensor]:
    """Return all arrays of all ArrayRecords as tensors of their own memory, named by record and key, in order.

    Raises WireError on an array whose bytes are not what its header says.
    """
    return {
        full_name(record, key): _tensor(key, array)
        for record, arrays in content.array_records.items()
        for key, array in arrays.items()
    }


def to_records(tensors: Mapping[str, Tensor]) -> dict[str, ArrayRecord]:
    """Invert ``to_tensors``: fresh records by name, keys in order."""
    records: dict[str, dict[str, Array]] = {}
    for name, x in tensors.items():
        record, key = name.split(_SEPARATOR, 1)
        records.setdefault(record, {})[key] = Array(x.numpy())
    return {record: ArrayRecord(arrays) for record, arrays in records.items()}


def replace_arrays(content: RecordDict, records: Mapping[str, ArrayRecord]) -> RecordDict:
    """Return a new RecordDict: ``content`` with its ArrayRecords replaced by ``records``, the others as they are."""
    fresh = {**records, **{name: record for name, record in content.items() if not isinstance(record, ArrayRecord)}}
    order = [name for name in content if name in fresh] + [name for name in records if name not in content]
    return RecordDict({name: fresh[name] for name in order})


def full_name(record: str, key: str) -> str:
    """Return the name that a tensor has in frames and states."""
    return record + _SEPARATOR + key


def short(name: str) -> str:
    """Return a tensor's name as people know it: without its record."""
    return name.split(_SEPARATOR, 1)[-1]


def _tensor(key: str, array: Array) -> Tensor:
    try:
        values = array.numpy()
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise WireError(f"array {key!r} cannot be read: {error}") from None
    if values.dtype.name not in _DTYPES:
        raise WireError(f"array {key!r} is {values.dtype}, expected one of {', '.join(_DTYPES)}")
    return torch.from_numpy(np.array(values, order="C", copy=True))
