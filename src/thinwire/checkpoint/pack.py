"""Pack: a safetensors checkpoint, or its difference to another, into one file, a frame at a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from thinwire.checkpoint.difference import restored
from thinwire.checkpoint.entries import LIMITS
from thinwire.checkpoint.goals import Chooser, Goal
from thinwire.checkpoint.head import Head, dump_head
from thinwire.checkpoint.measure import energy64, squared_error
from thinwire.checkpoint.packed import (
    BASE_DIGEST_BYTES,
    CONTENT_DIGEST_BYTES,
    COUNT,
    FILE_DIGEST_BYTES,
    LENGTH,
    trailer_bytes,
)
from thinwire.checkpoint.pieces import SLICE, Piece
from thinwire.checkpoint.progress import OnBytes, ignore
from thinwire.checkpoint.sent import Given, Sent
from thinwire.checkpoint.sink import Sink, lying
from thinwire.checkpoint.source import open_checkpoint
from thinwire.checkpoint.survey import Survey, against
from thinwire.codec import decode
from thinwire.errors import CheckpointError
from thinwire.files import Over, check_target, replaced
from thinwire.wire import dumps


@dataclass
class PackReport:
    """What came of it. Energies and errors are sums of squares over the float tensors that are finite."""

    tensors: int
    dense_bytes: int
    file_bytes: int = 0
    error: float = 0.0
    energy: float = 0.0
    """Of the tensors themselves."""
    sent_energy: float = 0.0
    """Of what travels: with a base, of the differences."""
    wall_s: float = 0.0
    lossy: set[str] = field(default_factory=set)
    """Names of the tensors that lost something."""

    @property
    def ratio(self) -> float:
        """Dense bytes over the bytes of the file."""
        return self.dense_bytes / self.file_bytes

    @property
    def nmse(self) -> float:
        """Squared error over squared norm, of the tensors."""
        return self.error / self.energy if self.energy else 0.0

    @property
    def sent_nmse(self) -> float:
        """The same, of what travels."""
        return self.error / self.sent_energy if self.sent_energy else 0.0


def pack(
    source: Path,
    out: Path,
    goal: Goal,
    base: Path | None = None,
    seed: int = 0,
    on_bytes: OnBytes = ignore,
    slice_elements: int = SLICE,
    over: Over = "file",
) -> PackReport:
    """Write ``source`` (a safetensors file or an index of shards) to ``out``; with ``base``, its difference to that.

    Memory is that of a few slices, however large the model. ``out`` appears when it is whole; ``over`` is what it may
    replace. Raises CheckpointError, and OSError where ``out`` cannot be written.
    """
    if not 0 <= seed < 1 << 32:
        raise CheckpointError(f"seed is {seed}, expected 0 to 2**32 - 1")
    began = time.perf_counter()
    check_target(out, over)
    given, other = open_checkpoint(source), open_checkpoint(base) if base else None
    entries = against(given, other)
    head = Head(entries, given.metadata, slice_elements)
    survey = Survey(given, other, entries, slice_elements, seed, on_bytes)
    start = dump_head(head, LIMITS)
    chooser = goal.chooser(survey, len(start) + trailer_bytes(head))
    with replaced(out, over) as file:
        sink = Sink(file, FILE_DIGEST_BYTES)
        sink.write(start)
        packer = _Packer(survey, chooser, PackReport(len(entries), given.nbytes))
        for group in survey.groups():
            record = packer.record(group)
            sink.write(record)
            chooser.wrote(len(record))
        sink.write(packer.trailer())
        file.write(sink.digest())
        packer.report.file_bytes = file.tell()
    packer.report.wall_s = time.perf_counter() - began
    return packer.report


class _Packer:
    """Turns groups of pieces into records, and keeps account of what the end of the file says."""

    def __init__(self, survey: Survey, chooser: Chooser, report: PackReport) -> None:
        self.report = report
        self._survey, self._chooser = survey, chooser
        self._content = hashlib.blake2b(digest_size=CONTENT_DIGEST_BYTES)
        self._bases: dict[str, hashlib.blake2b] = {}
        self._frames = 0

    def record(self, group: Sequence[Piece]) -> bytes:
        """Return a frame with its length and modes."""
        sent = {piece.entry.name: self._sent(piece) for piece in group}
        frame = dumps({name: item.encoded for name, item in sent.items()})
        self._frames += 1
        return b"".join([LENGTH.pack(len(frame)), bytes(item.mode for item in sent.values()), frame])

    def trailer(self) -> bytes:
        """Return the end of the file but for its own digest."""
        bases = [digest.digest() for digest in self._bases.values()]
        return b"".join([COUNT.pack(0, self._frames), *bases, self._content.digest()])

    def _sent(self, piece: Piece) -> Sent:
        given = self._survey.given(piece)
        sent = self._chooser.sent(given)
        decoded = decode(sent.encoded)
        if not self._chooser.holds(given, sent, decoded):
            sent = given.lossless()
            decoded = decode(sent.encoded)
        self._note(given, sent, decoded)
        self._survey.on_bytes("pack", piece.spec.nbytes, self._survey.nbytes)
        return sent

    def _note(self, given: Given, sent: Sent, decoded: Tensor) -> None:
        name = given.piece.entry.name
        if given.base is not None:
            digest = self._bases.setdefault(name, hashlib.blake2b(digest_size=BASE_DIGEST_BYTES))
            digest.update(lying(given.base))
        result = restored(decoded, given.base, sent.mode, given.x.dtype)
        self._content.update(lying(result))
        if given.x.dtype.is_floating_point:
            self._measure(given, result)
        if not sent.encoded.codec.lossless:
            self.report.lossy.add(name)

    def _measure(self, given: Given, result: Tensor) -> None:
        energy, error = energy64(given.x), squared_error(given.x, result)
        if energy < float("inf"):
            self.report.energy += energy
            self.report.error += error
            self.report.sent_energy += energy64(given.target())
