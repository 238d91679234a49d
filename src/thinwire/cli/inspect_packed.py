"""Explain a packed checkpoint: sizes, metadata, and every tensor with how it travels. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from thinwire.cli.bad_input import BadInput
from thinwire.cli.screen import named, say, table
from thinwire.errors import WireError, escaped
from thinwire.wire import shown

if TYPE_CHECKING:
    from thinwire.checkpoint import PackedFile

HEAD = ("tensor", "shape", "dtype", "travels as", "codec", "bytes", "bits/element", "ratio")
MAGIC = b"TWCP"


@dataclass
class _Row:
    modes: dict[str, None] = field(default_factory=dict)
    codecs: dict[str, None] = field(default_factory=dict)
    payload_bytes: int = 0


def is_packed(file: Path) -> bool:
    """Say whether a file begins as `thinwire pack` writes it."""
    with file.open("rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC


def show_packed(file: Path) -> None:
    """Print what a packed checkpoint says about itself. Raises BadInput."""
    from thinwire.checkpoint import open_packed

    try:
        packed = open_packed(file)
        rows, frames = _rows(packed)
    except WireError as error:
        raise BadInput(f"{file}: {error}") from error
    head = packed.head
    payload = sum(row.payload_bytes for row in rows.values())
    sizes = f"{packed.file_bytes:,} bytes, {packed.file_bytes - payload:,} of them overhead, {payload:,} payload"
    say(f"{named(file)}: {sizes}")
    say(f"a packed checkpoint: {len(head.entries)} tensors in {frames} frames")
    if head.based:
        say(f"a difference to a base for {len(head.based)} of them: unpack needs --base")
    say("".join(f"  {escaped(key)}: {escaped(text)}\n" for key, text in head.metadata.items()))
    table(HEAD, list(_cells(packed, rows)), left=5)
    say(f"\ndense {head.nbytes:,} bytes; the file is {head.nbytes / packed.file_bytes:.2f} times smaller")


def _rows(packed: PackedFile) -> tuple[dict[str, _Row], int]:
    rows = {entry.name: _Row() for entry in packed.head.entries}
    frames = 0
    for record in packed.records():
        frames += 1
        for piece, mode, encoded in record.parts():
            row = rows[piece.entry.name]
            row.modes[mode.name.lower()] = row.codecs[shown(encoded.codec)] = None
            row.payload_bytes += encoded.payload_bytes
    return rows, frames


def _cells(packed: PackedFile, rows: dict[str, _Row]) -> Iterator[tuple[str, ...]]:
    for entry in packed.head.entries:
        row, spec = rows[entry.name], entry.spec
        bits = f"{8 * row.payload_bytes / spec.numel:.3f}" if spec.numel else "-"
        ratio = f"{spec.nbytes / row.payload_bytes:.2f}" if row.payload_bytes else "-"
        shape = "x".join(map(str, spec.shape)) or "scalar"
        yield (
            entry.name,
            shape,
            entry.dtype,
            "+".join(row.modes),
            "+".join(row.codecs),
            f"{row.payload_bytes:,}",
            bits,
            ratio,
        )
