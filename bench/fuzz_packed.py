"""Fuzz the reader of packed checkpoints with forged files whose checksums are right, and write what came of it.

python bench/fuzz.py --packed 100000 --seed 1 --out results/fuzz-packed.json
"""

from __future__ import annotations

import hashlib
import re
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from fuzz_loop import judged
from safetensors.torch import save_file

from thinwire.checkpoint import Bounded, CheckpointError, Lossless, open_packed, pack, unpack
from thinwire.checkpoint.entries import LIMITS
from thinwire.checkpoint.head import FIXED, load_fixed
from thinwire.errors import WireError
from thinwire.kernels import zstd
from thinwire.testing.fuzz import ACCEPTED
from thinwire.testing.mutate import Sample, mutant

DIGEST_BYTES, MOST_BYTES = 32, 1 << 20
ALLOWED = 2e-3, 3e-6
"""Files are opened, written and moved, whatever they hold; then a microsecond a byte of head, two of a frame."""
SNIPPETS = (b'"', b"{", b"}", b"[", b"]", b",", b":", b"0", b"9" * 25, b"null", b"\\ud800", b"F4", b"\xff", b"\0",
            b"\x1b[31m", b"-1", b"1e9", b"\xff\xff\xff\xff", b"[" * 40)  # fmt: skip


@dataclass(frozen=True)
class Packed:
    """A packed file in its parts, and whether it is a difference."""

    fixed: bytes
    head: bytes
    """Not compressed."""
    records: tuple[tuple[bytes, bytes], ...]
    """Of each frame the modes of its tensors, and the frame."""
    trailer: bytes
    """Without the checksum."""
    based: bool

    def sealed(self) -> bytes:
        """Return the file, its lengths and its checksum made right."""
        found = load_fixed(self.fixed, LIMITS)
        packed = zstd.compress(self.head)
        fixed = FIXED.pack(b"TWCP", found.version, 0, 0, found.slice_elements, len(packed), len(self.head))
        frames = b"".join(struct.pack("<I", len(frame)) + modes + frame for modes, frame in self.records)
        return seal(fixed + packed + frames + self.trailer)


def seal(data: bytes) -> bytes:
    return data + hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def samples(folder: Path) -> tuple[list[Packed], Path]:
    """Return packed files of every mode and goal, and the base of those that are differences."""
    g = torch.Generator().manual_seed(0)
    old = {"matrix": torch.randn(32, 40, generator=g), "steps": torch.arange(5), "flag": torch.tensor([True, False])}
    new = {
        "matrix": old["matrix"] + 0.01 * torch.randn(32, 40, generator=g),
        "steps": old["steps"] + 1,
        "flag": ~old["flag"],
        "new": torch.randn(3, generator=g),
        "half": torch.randn(6, 7, generator=g).half(),
    }
    base, source = folder / "old.safetensors", folder / "new.safetensors"
    save_file(old, base)
    save_file(new, source, {"format": "pt"})
    found = []
    for goal in (Lossless(), Bounded("nmse", 0.1), Bounded("nmse", 1e-4)):
        for given in (None, base):
            file = folder / "packed.tw"
            pack(source, file, goal, given, slice_elements=640)
            found.append(taken_apart(file, given is not None))
    return found, base


def taken_apart(file: Path, based: bool) -> Packed:
    data, opened = file.read_bytes(), open_packed(file)
    fixed = load_fixed(data[: FIXED.size], LIMITS)
    head = zstd.decompress(data[FIXED.size :][: fixed.stored_bytes], fixed.plain_bytes)
    at, records = opened.head_bytes, []
    for record in opened.records():
        count = len(record.pieces)
        frame = data[at + 4 + count : at + record.file_bytes]
        records.append((data[at + 4 : at + 4 + count], frame))
        at += record.file_bytes
    return Packed(data[: FIXED.size], head, tuple(records), data[at:-DIGEST_BYTES], based)


def forged(rng: Random, file: Packed, others: list[Packed]) -> bytes:
    """Return a file after one to three edits, its checksum right; one in twenty is cut or goes on, as it is."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        file = rng.choice(EDITS)(rng, file, rng.choice(others))
    data = file.sealed()
    chance = rng.random()
    if chance < 0.03:
        return data[: rng.randrange(len(data))]
    if chance < 0.05:
        return data + rng.randbytes(rng.randrange(1, 9))
    if chance < 0.3:
        body = bytearray(data[:-DIGEST_BYTES])
        body[rng.randrange(len(body))] = rng.randrange(256)
        return seal(bytes(body))
    return data


def other_head(rng: Random, file: Packed, _: Packed) -> Packed:
    head, at = bytearray(file.head), rng.randrange(len(file.head))
    head[at : at + rng.choice((0, 1, 4, 16))] = rng.choice(SNIPPETS) * rng.choice((1, 1, 1, 30))
    return Packed(file.fixed, bytes(head), file.records, file.trailer, file.based)


def other_frame(rng: Random, file: Packed, other: Packed) -> Packed:
    records, at = list(file.records), rng.randrange(len(file.records))
    modes, frame = records[at]
    frames = [Sample(each, None) for _, each in (*file.records, *other.records)]
    records[at] = modes, mutant(rng, [Sample(frame, None), *frames]).data
    return Packed(file.fixed, file.head, tuple(records), file.trailer, file.based)


def other_records(rng: Random, file: Packed, other: Packed) -> Packed:
    records, at = list(file.records), rng.randrange(len(file.records))
    modes, frame = records[at]
    chance = rng.random()
    if chance < 0.4:
        changed = bytearray(modes)
        changed[rng.randrange(len(changed))] = rng.choice((0, 1, 2, 3, 255))
        records[at] = bytes(changed), frame
    elif chance < 0.6:
        records[at] = rng.choice(other.records)
    elif chance < 0.8:
        records.insert(at, records[at])
    else:
        records.pop(at)
    return Packed(file.fixed, file.head, tuple(records), file.trailer, file.based)


def other_trailer(rng: Random, file: Packed, other: Packed) -> Packed:
    trailer = bytearray(rng.choice((file.trailer, file.trailer, other.trailer)))
    at = rng.randrange(len(trailer))
    trailer[at : at + rng.choice((0, 1, 8))] = rng.choice((b"", b"\0" * 8, b"\xff" * 8, rng.randbytes(1)))
    return Packed(file.fixed, file.head, file.records, bytes(trailer), file.based)


EDITS: tuple[Callable[[Random, Packed, Packed], Packed], ...] = (
    other_head, other_head, other_frame, other_frame, other_records, other_trailer
)  # fmt: skip


class Reader:
    """Unpacks into an empty folder and sees to it that nothing but a whole file is ever left there."""

    def __init__(self, folder: Path, base: Path) -> None:
        self._folder, self._base = folder, base
        folder.mkdir()

    def read(self, given: tuple[bytes, bool]) -> str:
        """Return ``accepted``, or the reason of the refusal. Raises what escaped, and AssertionError on leftovers."""
        data, based = given
        file, out = self._folder / "forged.tw", self._folder / "back.safetensors"
        out.unlink(missing_ok=True)
        file.write_bytes(data)
        try:
            unpack(file, out, self._base if based else None, max_bytes=MOST_BYTES)
        except (WireError, CheckpointError) as error:
            refusal = str(error)
        else:
            refusal = ""
        if refusal:
            assert refusal.isprintable(), "control characters reach the terminal"
            assert [path.name for path in self._folder.iterdir()] == ["forged.tw"], "something is left behind"
            return re.sub(r"'[^']*'|\b[0-9a-f]*\d[0-9a-f]*\b", "_", refusal)[:80]
        assert out.stat().st_size <= MOST_BYTES + len(data) + (1 << 16), "more was written than allowed"
        return ACCEPTED


def fuzz_packed(files: int, seed: int) -> dict[str, object]:
    rng = Random(seed)
    with tempfile.TemporaryDirectory() as name:
        made, base = samples(Path(name))
        reader = Reader(Path(name) / "out", base)
        assert all(reader.read((file.sealed(), file.based)) == ACCEPTED for file in made)

        def draw() -> tuple[bytes, bool]:
            sample = rng.choice(made)
            return forged(rng, sample, made), sample.based

        found = judged(
            "files", files, draw, reader.read, reader.read, lambda given: len(given[0]), ALLOWED,
            lambda given: given[0].hex()[:4000], offer_every=10,
        )  # fmt: skip
    return {"seed": seed} | found
