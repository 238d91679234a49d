"""Safetensors files as they are read: by memory map, piece by piece, so that a model may be larger than memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from thinwire.checkpoint.entries import CARRIERS, DTYPES, Entry
from thinwire.checkpoint.pieces import Piece
from thinwire.codec import Spec
from thinwire.errors import CheckpointError

_MAPPED_BYTES = 1 << 25


@dataclass
class SafetensorsFile:
    """One file. Pages that were read stay in the map, so it is opened again from time to time."""

    path: Path
    _opened: Any = field(init=False)
    _read_bytes: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._open()

    def entries(self) -> list[Entry]:
        """Return what the file holds, in the order in which it lies there. Raises CheckpointError."""
        return [self._entry(name) for name in self._opened.offset_keys()]

    def metadata(self) -> dict[str, str]:
        """Return the file's texts."""
        return dict(self._opened.metadata() or {})

    def read(self, piece: Piece) -> Tensor:
        """Return the elements of a piece, in its carrier: a copy."""
        if self._read_bytes > _MAPPED_BYTES:
            self._open()
        self._read_bytes += piece.spec.nbytes
        whole = self._opened.get_tensor(piece.entry.name).view(piece.entry.spec.dtype)
        part: Tensor = whole.reshape(-1)[piece.start : piece.start + piece.spec.numel]
        return part.clone().reshape(piece.shape)

    def _open(self) -> None:
        from safetensors import SafetensorError, safe_open

        self._opened = None
        self._read_bytes = 0
        try:
            self._opened = safe_open(self.path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.path}: {error}; expected a safetensors file") from None

    def _entry(self, name: str) -> Entry:
        found = self._opened.get_slice(name)
        dtype = found.get_dtype()
        if dtype not in CARRIERS:
            raise CheckpointError(f"{self.path}: {name!r} is {dtype}, expected one of {', '.join(DTYPES)}")
        return Entry(name, dtype, Spec(tuple(found.get_shape()), CARRIERS[dtype]))


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one file or of several."""

    path: Path
    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    files: Mapping[str, SafetensorsFile]
    """Tensor name -> the file that holds it."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.spec.nbytes for entry in self.entries)

    def read(self, piece: Piece) -> Tensor:
        """Return the elements of a piece: a copy."""
        return self.files[piece.entry.name].read(piece)


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a safetensors file, or an index (``*.safetensors.index.json``) with all its shards.

    Raises CheckpointError.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the safetensors file or the index.json in it")
    files = [SafetensorsFile(file) for file in (_shards(path) if path.suffix == ".json" else [path])]
    owners: dict[str, SafetensorsFile] = {}
    entries: list[Entry] = []
    for file in files:
        for entry in file.entries():
            if entry.name in owners:
                raise CheckpointError(f"{entry.name!r} is in {owners[entry.name].path} and in {file.path}")
            owners[entry.name] = file
            entries.append(entry)
    if len(files) > 1:
        # The widest first, as safetensors lays them out: a tensor that starts off its alignment cannot be mapped.
        entries.sort(key=lambda entry: -entry.spec.dtype.itemsize)
    metadata = {key: text for file in files for key, text in sorted(file.metadata().items())}
    return Checkpoint(path, tuple(entries), metadata, owners)


def _shards(path: Path) -> list[Path]:
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        return [path.parent / name for name in sorted(set(weight_map.values()))]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path}: {error!r}; expected an index with a weight_map of tensors to files") from None
