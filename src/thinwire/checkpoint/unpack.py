"""Unpack: the safetensors file that a packed one stands for, a frame at a time."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from thinwire.checkpoint.difference import Mode, restored
from thinwire.checkpoint.entries import Entry
from thinwire.checkpoint.head import Head
from thinwire.checkpoint.packed import BASE_DIGEST_BYTES, CONTENT_DIGEST_BYTES, PackedFile, open_packed
from thinwire.checkpoint.pieces import Piece
from thinwire.checkpoint.progress import OnBytes, ignore
from thinwire.checkpoint.sink import Sink, lying
from thinwire.checkpoint.source import Checkpoint, open_checkpoint
from thinwire.codec import Encoded, decode
from thinwire.errors import CheckpointError, WireError
from thinwire.files import Over, check_target, replaced


@dataclass(frozen=True)
class UnpackReport:
    """What came of it."""

    tensors: int
    file_bytes: int
    packed_bytes: int
    wall_s: float


def unpack(
    packed: Path,
    out: Path,
    base: Path | None = None,
    max_bytes: int | None = None,
    on_bytes: OnBytes = ignore,
    over: Over = "file",
) -> UnpackReport:
    """Write the checkpoint in ``packed`` to ``out`` as safetensors; ``base`` is the one that it was packed against.

    A file of more than ``max_bytes`` is not begun, nor one that the disk has no room for. ``out`` appears when it is
    whole and equal, bit for bit, to what the packer decoded; ``over`` is what it may replace. Raises WireError where
    ``packed`` is damaged, CheckpointError where the base or a limit does not fit, OSError where ``out`` cannot be
    written.
    """
    began = time.perf_counter()
    check_target(out, over)
    opened = open_packed(packed)
    other = _checked_base(opened, open_checkpoint(base) if base else None)
    header = safetensors_header(opened.head)
    total = len(header) + opened.head.nbytes
    _check_room(total, out, max_bytes)
    with replaced(out, over) as file:
        file.write(header)
        sink = Sink(file, CONTENT_DIGEST_BYTES)
        restorer = _Restorer(opened, other)
        for record in opened.records():
            for piece, mode, encoded in record.parts():
                sink.write(lying(restorer.piece(piece, mode, encoded)))
                on_bytes("unpack", piece.spec.nbytes, opened.head.nbytes)
        if sink.digest() != opened.content_digest:
            raise WireError("what it decodes to is not what its packer decoded")
    return UnpackReport(len(opened.head.entries), total, opened.file_bytes, time.perf_counter() - began)


class _Restorer:
    """Decodes pieces, and checks that the base is the one that was meant."""

    def __init__(self, packed: PackedFile, base: Checkpoint | None) -> None:
        self._packed, self._base = packed, base
        self._digest = hashlib.blake2b(digest_size=BASE_DIGEST_BYTES)

    def piece(self, piece: Piece, mode: Mode, encoded: Encoded) -> Tensor:
        """Return the piece as it was packed."""
        base = self._base.read(piece) if self._base and piece.entry.based else None
        if base is not None:
            self._check(piece, base)
        return restored(decode(encoded), base, mode, piece.spec.dtype)

    def _check(self, piece: Piece, base: Tensor) -> None:
        self._digest.update(lying(base))
        if not piece.ends:
            return
        name, found = piece.entry.name, self._digest.digest()
        self._digest = hashlib.blake2b(digest_size=BASE_DIGEST_BYTES)
        if found != self._packed.base_digests[name]:
            raise CheckpointError(
                f"{self._packed.path} was packed against another base: {name!r} differs in the one given; "
                "give the checkpoint that `thinwire pack --base` had"
            )


def safetensors_header(head: Head) -> bytes:
    """Return the start of the safetensors file: the library's own bytes for a file that the library wrote."""
    table: dict[str, object] = {"__metadata__": dict(head.metadata)} if head.metadata else {}
    at = 0
    for entry in head.entries:
        end = at + entry.spec.nbytes
        table[entry.name] = {"dtype": entry.dtype, "shape": list(entry.spec.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    padded = text + b" " * (-len(text) % 8)
    return len(padded).to_bytes(8, "little") + padded


def _checked_base(packed: PackedFile, base: Checkpoint | None) -> Checkpoint | None:
    if not packed.head.based:
        if base is not None:
            raise CheckpointError(f"{packed.path} was packed without a base; unpack it without one")
        return None
    if base is None:
        raise CheckpointError(f"{packed.path} is a difference; give the checkpoint that it was packed against as base")
    theirs = {entry.name: entry for entry in base.entries}
    for entry in packed.head.based:
        found = theirs.get(entry.name)
        if found is None or (found.dtype, found.spec) != (entry.dtype, entry.spec):
            raise CheckpointError(
                f"{base.path} is not the base of {packed.path}: {entry.name!r} is {_shown(found)}, "
                f"expected {_shown(entry)}"
            )
    return base


def _check_room(total: int, out: Path, max_bytes: int | None) -> None:
    if max_bytes is not None and total > max_bytes:
        raise CheckpointError(f"the checkpoint has {total:,} bytes, more than the {max_bytes:,} allowed")
    free = shutil.disk_usage(out.parent).free
    if total > free:
        raise CheckpointError(f"the checkpoint has {total:,} bytes, {free:,} are free in {out.parent}")


def _shown(entry: Entry | None) -> str:
    return f"{entry.spec.shape} {entry.dtype}" if entry else "missing"
