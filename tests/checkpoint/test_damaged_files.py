"""A packed file is restored to the last bit or refused with WireError, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import importlib
import random
import struct
from pathlib import Path

import pytest
import torch
from checkpoint_files import save

from thinwire.checkpoint import Bounded, CheckpointError, open_packed, pack, unpack
from thinwire.checkpoint.entries import LIMITS, Entry
from thinwire.checkpoint.head import FIXED, Head, dump_head, load_fixed, load_head
from thinwire.checkpoint.packed import RECORD_BYTES
from thinwire.codec import Spec
from thinwire.errors import WireError
from thinwire.kernels import zstd

DIGEST = 32


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base and a packed difference to it, with all three modes, in several frames."""
    folder, g = tmp_path_factory.mktemp("packed"), torch.Generator().manual_seed(0)
    old = {"matrix": torch.randn(32, 40, generator=g), "steps": torch.arange(5), "flag": torch.tensor([True, False])}
    new = {
        "matrix": old["matrix"] + 0.01,
        "steps": old["steps"] + 1,
        "flag": ~old["flag"],
        "new": torch.randn(3, generator=g),
    }
    base = save(folder / "old.safetensors", old)
    source = save(folder / "new.safetensors", new, {"format": "pt"})
    pack(source, folder / "x.tw", Bounded("nmse", 0.1), base, slice_elements=640)
    return base, folder / "x.tw"


def refused(data: bytes, base: Path, folder: Path) -> str:
    file, out = folder / "damaged.tw", folder / "back.safetensors"
    file.write_bytes(data)
    with pytest.raises(WireError) as found:
        unpack(file, out, base)
    assert [path.name for path in folder.iterdir()] == ["damaged.tw"]
    return str(found.value)


def test_a_file_cut_anywhere_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    data = files[1].read_bytes()
    for length in range(len(data)):
        refused(data[:length], files[0], tmp_path)
    refused(data + b"\0", files[0], tmp_path)


def test_every_flipped_byte_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    data = files[1].read_bytes()
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        refused(bytes(damaged), files[0], tmp_path)


def sealed(data: bytes) -> bytes:
    """The same file with a digest that fits: what a forger would send."""
    return data[:-DIGEST] + hashlib.blake2b(data[:-DIGEST], digest_size=DIGEST).digest()


def test_forged_files_are_refused_or_restored_and_nothing_else(files: tuple[Path, Path], tmp_path: Path) -> None:
    base, good = files
    data, draw = good.read_bytes(), random.Random(0)
    out, file = tmp_path / "back.safetensors", tmp_path / "forged.tw"
    messages = set()
    for _ in range(1500):
        forged = bytearray(data)
        for _ in range(draw.choice([1, 1, 2, 4])):
            forged[draw.randrange(len(data) - DIGEST)] = draw.randrange(256)
        file.write_bytes(sealed(bytes(forged)))
        try:
            unpack(file, out, base, max_bytes=1 << 20)
        except (WireError, CheckpointError) as error:
            messages.add(re_worded(str(error)))
        assert {path.name for path in tmp_path.iterdir()} <= {"forged.tw", "back.safetensors"}
    assert len(messages) > 8


def test_forged_heads_are_refused_or_restored_and_nothing_else(tmp_path: Path) -> None:
    """The plain head is changed, of both versions, and packed and sealed again: what random bytes seldom reach."""
    golden, draw = Path(__file__).parent / "golden", random.Random(0)
    out, file, messages = tmp_path / "back", tmp_path / "forged.tw", set()
    snippets = [b'"', b"{", b"}", b"[", b"]", b",", b":", b"0", b"9" * 25, b"null", b"\\ud800", b"F4", b"\xff", b"\0"]
    for name in ("odd", "odd-based", "lossless-based"):
        data = (golden / f"{name}.tw").read_bytes()
        fixed = load_fixed(data, LIMITS)
        plain = zstd.decompress(data[FIXED.size :][: fixed.stored_bytes], fixed.plain_bytes)
        rest = data[FIXED.size + fixed.stored_bytes :]
        for _ in range(200):
            forged, at = bytearray(plain), draw.randrange(len(plain))
            forged[at : at + draw.choice([0, 1, 4])] = draw.choice(snippets)
            packed = zstd.compress(bytes(forged))
            start = FIXED.pack(b"TWCP", fixed.version, 0, 0, fixed.slice_elements, len(packed), len(forged))
            file.write_bytes(sealed(start + packed + rest))
            try:
                unpack(file, out, golden / "old.safetensors" if "based" in name else None, max_bytes=1 << 20)
            except (WireError, CheckpointError) as error:
                messages.add(str(error))
            assert {path.name for path in tmp_path.iterdir()} <= {"forged.tw", "back"}
    assert all(text.isprintable() for text in messages)
    assert len(set(map(re_worded, messages))) > 15


@pytest.mark.parametrize("files", [100, pytest.param(5000, marks=pytest.mark.slow)])
def test_the_fuzzer_of_packed_files_finds_nothing(files: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("safetensors")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "bench")
    found = importlib.import_module("fuzz_packed").fuzz_packed(files, seed=files)
    assert found["bugs"] == []
    assert found["accepted"] < files / 2
    assert len(found["refused"]) > 10


def re_worded(text: str) -> str:
    return "".join(sign for sign in text if sign.isalpha())[:40]


def head_of(entries: tuple[Entry, ...], metadata: dict[str, str] | None = None) -> bytes:
    return dump_head(Head(entries, metadata or {}, 1 << 20), LIMITS)


def test_a_huge_claim_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    entries = tuple(Entry(f"x{i}", "F32", Spec((1 << 30,), torch.float32)) for i in range(4))
    frames = 4 << 10
    start = head_of(entries) + bytes(RECORD_BYTES * frames)
    end = struct.pack("<IQ", 0, frames) + bytes(16)
    (tmp_path / "x.tw").write_bytes(sealed(start + end + bytes(DIGEST)))
    with pytest.raises(CheckpointError, match="more than the 1,000 allowed"):
        unpack(tmp_path / "x.tw", tmp_path / "back", max_bytes=1000)
    with pytest.raises((CheckpointError, WireError)):
        unpack(tmp_path / "x.tw", tmp_path / "back")
    assert [path.name for path in tmp_path.iterdir()] == ["x.tw"]


@pytest.mark.parametrize("frames", [0, 5, 1 << 39, (1 << 64) - 1])
def test_frames_that_cannot_be_in_the_file_are_not_counted(frames: int, tmp_path: Path) -> None:
    """A terabyte in pieces of one element: whoever counts them is busy for days."""
    head = Head((Entry("x", "U8", Spec((1 << 39,), torch.uint8)),), {}, 1)
    end = struct.pack("<IQ", 0, frames) + bytes(16)
    (tmp_path / "x.tw").write_bytes(sealed(dump_head(head, LIMITS) + end + bytes(DIGEST)))
    with pytest.raises(WireError, match="not what the head says"):
        open_packed(tmp_path / "x.tw")


def forged_head(plain: bytes, announced: int | None = None, most: int = 1 << 20) -> bytes:
    packed = zstd.compress(plain)
    size = len(plain) if announced is None else announced
    return FIXED.pack(b"TWCP", 1, 0, 0, most, len(packed), size) + packed


def schema(name: bytes, dtype: int = 0, shape: tuple[int, ...] = (2,)) -> bytes:
    record = struct.pack("<HBB", len(name), dtype, len(shape)) + name + struct.pack(f"<{len(shape)}Q", *shape)
    data = struct.pack("<I", 1) + record
    return bytes([len(data)]) + data


GOOD = schema(b"x") + b"\0"
BAD_HEADS = {
    "a bomb": forged_head(bytes(1 << 26)),
    "announced too short": forged_head(GOOD, 5),
    "announced too long": forged_head(GOOD, 50),
    "no slice": forged_head(GOOD, most=0),
    "a huge slice": forged_head(GOOD, most=1 << 25),
    "the reserved name": forged_head(schema(b"__metadata__") + b"\0"),
    "no UTF-8": forged_head(schema(b"\xff") + b"\0"),
    "a dtype that does not exist": forged_head(schema(b"x") + bytes([200])),
    "a carrier that is not that dtype's": forged_head(schema(b"x", dtype=4) + b"\0"),
    "an enormous side": forged_head(schema(b"x", shape=(1 << 62, 0)) + b"\0"),
    "metadata cut short": forged_head(GOOD + b"\5abc"),
    "metadata that is no text": forged_head(GOOD + b"\1\xff\1a"),
    "a key without a value": forged_head(GOOD + b"\1a"),
    "no kinds": forged_head(schema(b"x")),
    "nothing": forged_head(b""),
}


def loaded(data: bytes) -> Head:
    fixed = load_fixed(data, LIMITS)
    return load_head(data[FIXED.size : FIXED.size + fixed.stored_bytes], fixed, LIMITS)


@pytest.mark.parametrize("name", BAD_HEADS)
def test_bad_heads_are_refused(name: str) -> None:
    with pytest.raises(WireError):
        loaded(BAD_HEADS[name])


def test_a_head_returns_as_it_was() -> None:
    entries = (Entry("a", "F8_E5M2", Spec((2, 3), torch.uint8), True), Entry("𝛼", "BF16", Spec((), torch.bfloat16)))
    head = Head(entries, {"k": "v", "": ""}, 77)
    data = dump_head(head, LIMITS)
    assert loaded(data) == head
    assert loaded(forged_head(GOOD)).entries[0].name == "x"


def test_what_no_file_can_hold_is_said_when_packing(tmp_path: Path) -> None:
    source = save(tmp_path / "x.safetensors", {"x" * 1025: torch.zeros(3)})
    with pytest.raises(CheckpointError, match="1025 bytes"):
        pack(source, tmp_path / "x.tw", Bounded("nmse", 0.1))
    with pytest.raises(CheckpointError, match="expected a safetensors file"):
        pack(tmp_path / "nowhere", tmp_path / "x.tw", Bounded("nmse", 0.1))
    with pytest.raises(CheckpointError, match="is a folder"):
        pack(tmp_path, tmp_path / "x.tw", Bounded("nmse", 0.1))
    with pytest.raises(CheckpointError, match="seed is -1"):
        pack(source, tmp_path / "x.tw", Bounded("nmse", 0.1), seed=-1)


def test_an_error_on_the_way_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "x.safetensors", {"x": torch.randn(40, 40)})
    (tmp_path / "x.tw").write_text("what was there")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "x.tw", Bounded("nmse", 0.1), on_bytes=stop)
    assert (tmp_path / "x.tw").read_text() == "what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.safetensors", "x.tw"]


def test_a_swapped_frame_that_fits_is_noticed(tmp_path: Path) -> None:
    """The content's own digest: a sealed file with two equal-sized pieces exchanged decodes to something else."""
    x = torch.cat([torch.full((20, 10), 1.0), torch.full((20, 10), 2.0)])
    pack(save(tmp_path / "x.safetensors", {"x": x}), tmp_path / "x.tw", Bounded("absolute", 1e-3), slice_elements=200)
    packed = open_packed(tmp_path / "x.tw")
    data = (tmp_path / "x.tw").read_bytes()
    sizes = [record.file_bytes for record in packed.records()]
    first, second = data[packed.head_bytes :][: sizes[0]], data[packed.head_bytes + sizes[0] :][: sizes[1]]
    rest = data[packed.head_bytes + sum(sizes) :]
    (tmp_path / "x.tw").write_bytes(sealed(data[: packed.head_bytes] + second + first + rest))
    with pytest.raises(WireError, match="not what its packer decoded"):
        unpack(tmp_path / "x.tw", tmp_path / "back")
