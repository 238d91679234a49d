"""Tensors in a file: one frame that carries their names and shapes, with a checksum over everything; no pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from thinwire.codec import State, encode
from thinwire.codecs.raw import Raw
from thinwire.errors import WireError
from thinwire.files import create
from thinwire.wire import DEFAULT_LIMITS, decode_message, dumps, loads_any


def save(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors, every bit of them, to a file that is not there yet."""
    write_through(dumps({name: encode(Raw(), x.detach().cpu()) for name, x in tensors.items()}, schema=True), file)


def load(file: Path) -> State:
    """Return the tensors of a file, on the CPU. Raises ValueError naming a file that is damaged, OSError."""
    try:
        return decode_message(loads_any(file.read_bytes(), DEFAULT_LIMITS))
    except WireError as error:
        raise ValueError(f"{file} is damaged ({error})") from error


def write_through(data: bytes, file: Path) -> None:
    """Write a file that is not there yet and wait until the disk has it."""
    with create(file) as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def under(prefix: str, state: Mapping[str, Tensor]) -> State:
    """Return what lies under ``prefix/``, without it."""
    return {name.removeprefix(f"{prefix}/"): x for name, x in state.items() if name.startswith(f"{prefix}/")}


def below(prefix: str, state: Mapping[str, Tensor]) -> State:
    """Return the same tensors with their names under ``prefix/``."""
    return {f"{prefix}/{name}": x for name, x in state.items()}
