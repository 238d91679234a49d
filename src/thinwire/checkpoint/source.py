"""Safetensors files as they are read: piece by piece, so that a model may be larger than memory."""

from __future__ import annotations

import os
import stat
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from thinwire.checkpoint.entries import Entry
from thinwire.checkpoint.header import MOST_BYTES, BadHeader, Header, header_text, parse_header
from thinwire.checkpoint.pieces import Piece
from thinwire.checkpoint.shards import read_index
from thinwire.errors import CheckpointError, quoted

_LENGTH_BYTES = 8


class SafetensorsFile:
    """One file, held open. Raises CheckpointError where it is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = _opened(path)
            weakref.finalize(self, os.close, self._file)
            self.text = self._header()
            self.header: Header = parse_header(self.text)
        except (BadHeader, OSError) as error:
            raise CheckpointError(f"{path}: {error}; expected a safetensors file") from None
        self._data = _LENGTH_BYTES + len(self.text)
        self._starts: dict[str, int] = {}
        at = self._data
        for entry in self.header.entries:
            self._starts[entry.name] = at
            at += entry.spec.nbytes
        size = os.fstat(self._file).st_size
        if at != size:
            raise CheckpointError(f"{path}: {size:,} bytes, its header says {at:,}: cut short, or no safetensors file")

    def read(self, piece: Piece) -> Tensor:
        """Return the elements of a piece, in its carrier: a copy."""
        spec = piece.spec
        if not spec.numel:
            return torch.zeros(spec.shape, dtype=spec.dtype)
        start = self._starts[piece.entry.name] + piece.start * spec.dtype.itemsize
        return torch.frombuffer(self._bytes(start, spec.nbytes), dtype=spec.dtype).reshape(spec.shape)

    def _header(self) -> bytes:
        length = int.from_bytes(self._bytes(0, _LENGTH_BYTES), "little")
        if length > MOST_BYTES:
            raise BadHeader(f"a header of {length:,} bytes, at most {MOST_BYTES:,}")
        return bytes(self._bytes(_LENGTH_BYTES, length))

    def _bytes(self, start: int, count: int) -> bytearray:
        # Asked first: a buffer of any length that a damaged file claims would be made before it is found empty.
        if start + count > os.fstat(self._file).st_size:
            raise CheckpointError(f"{self.path} is cut short; expected a safetensors file")
        data = bytearray(count)
        view, done = memoryview(data), 0
        while done < count:
            read = os.preadv(self._file, [view[done:]], start + done)
            if not read:
                raise CheckpointError(f"{self.path} became shorter while it was read")
            done += read
        return data


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one file or of several."""

    path: Path
    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    text: bytes
    """The header of the one file that holds all, as it is there or as it would be."""
    files: Mapping[str, SafetensorsFile]
    """Tensor name -> the file that holds it."""
    notes: tuple[str, ...] = ()
    """What its user should know, a sentence each."""

    @cached_property
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
    if path.suffix == ".json":
        return _sharded(path)
    file = SafetensorsFile(path)
    header = file.header
    return Checkpoint(path, header.entries, header.metadata, file.text, {e.name: file for e in header.entries})


def _opened(path: Path) -> int:
    # Asked first: to open a pipe waits for whoever writes to it.
    if not stat.S_ISREG(path.stat().st_mode):
        raise CheckpointError(f"{path} is no regular file; expected a safetensors file")
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _sharded(path: Path) -> Checkpoint:
    wanted = read_index(path)
    files = {name: SafetensorsFile(path.parent / name) for name in sorted(set(wanted.values()))}
    owners: dict[str, SafetensorsFile] = {}
    for file in files.values():
        for entry in file.header.entries:
            if entry.name in owners:
                raise CheckpointError(f"{quoted(entry.name)} is in {owners[entry.name].path} and in {file.path}")
            owners[entry.name] = file
    for name, shard in wanted.items():
        if owners.get(name) is not files[shard]:
            raise CheckpointError(
                f"{path}: {quoted(name)} is to be in {quoted(shard)}, which has no such tensor; fetch the model again"
            )
    entries = [entry for file in files.values() for entry in file.header.entries]
    if len(files) > 1:
        # The widest first, as safetensors lays them out: a tensor that starts off its alignment cannot be mapped.
        entries.sort(key=lambda entry: -entry.spec.dtype.itemsize)
    metadata, notes = _joined(files.values())
    if unlisted := len(entries) - len(wanted):
        notes += (f"{unlisted} tensors of the shards are not in the index's weight_map; they are packed too",)
    return Checkpoint(path, tuple(entries), metadata, header_text(entries, metadata), owners, notes)


def _joined(files: Iterable[SafetensorsFile]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the texts of all files, the first that says it of those that differ, and a note where some do."""
    metadata: dict[str, str] = {}
    odd: dict[str, None] = {}
    for file in files:
        for key, text in sorted(file.header.metadata.items()):
            if metadata.setdefault(key, text) != text:
                odd[key] = None
    if not odd:
        return metadata, ()
    return metadata, (f"shards differ in the metadata {', '.join(map(quoted, odd))}: the first one's is kept",)
