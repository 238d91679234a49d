"""The frame: sizes to the byte, and a named refusal for everything that is not a frame. docs/wire-format.md."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from frames import (
    AFFINE8,
    CAST,
    FLOATS,
    HEADER,
    LOWRANK,
    ONES,
    PLANES,
    RANDOMK,
    RAW,
    STEP,
    SYMMETRIC8,
    THRESHOLD,
    TOPK,
    UNIFORM,
    ZSTD,
    described,
    entry,
    f32,
    frame,
    listed,
    repeated,
    resealed,
    varint,
    windowed,
)
from torch import Tensor

import thinwire as tw
from thinwire import registry, wire
from thinwire.codec import Encoded, Message, Spec, Specs
from thinwire.kernels import zstd
from thinwire.testing import INSTANCES, Row, ordinary, same_bits, suited
from thinwire.wire import DEFAULT_LIMITS, INLINE_LIMITS, Limits, schema

UPDATES = [row for row in INSTANCES if row.domain == "update"]


def message_of(rows: list[Row], tensors: int) -> Message:
    return {
        f"layer{i}.weight": tw.encode(rows[i % len(rows)].codec, suited("update", (32, 24 + i), seed=i), seed=i)
        for i in range(tensors)
    }


def spec_of(message: Message) -> Specs:
    return {name: encoded.spec for name, encoded in message.items()}


@pytest.mark.parametrize("schema", [False, True])
@pytest.mark.parametrize("tensors", [0, 1, 6])
def test_a_frame_is_its_header_table_names_records_and_payload(tensors: int, schema: bool) -> None:
    message = message_of(UPDATES, tensors)
    data = tw.dumps(message, schema=schema)
    _, _, _, _, _, head, names, records, _ = HEADER.unpack_from(data)
    payload = sum(encoded.payload_bytes for encoded in message.values())
    assert len(data) == HEADER.size + head + names + records + payload + 4
    assert (names > 0) == schema
    assert tw.inspect(data, spec_of(message)).overhead_bytes == len(data) - payload


@pytest.mark.parametrize("tensors", [1, 6, 60])
@pytest.mark.parametrize("row", UPDATES, ids=str)
def test_overhead_is_at_most_64_bytes_and_16_a_tensor(row: Row, tensors: int) -> None:
    message = message_of([row], tensors)
    assert_small(message)


@pytest.mark.parametrize("tensors", [6, 60])
def test_overhead_stays_small_when_every_tensor_has_its_own_codec(tensors: int) -> None:
    assert_small(message_of(UPDATES[::-1], tensors))
    assert_small(message_of(UPDATES, tensors))


def assert_small(message: Message) -> None:
    data, allowed = tw.dumps(message), 64 + 16 * len(message)
    assert len(data) - sum(encoded.payload_bytes for encoded in message.values()) <= allowed
    assert len(data) <= sum(encoded.spec.nbytes for encoded in message.values()) + allowed


@pytest.mark.parametrize("row", INSTANCES, ids=str)
def test_what_is_loaded_is_what_was_dumped(row: Row) -> None:
    message = {name: tw.encode(row.codec, x, seed=3) for name, x in ordinary(row.domain).items()}
    data = tw.dumps(message)
    loaded = tw.loads(data, spec_of(message))
    assert list(loaded) == list(message)
    assert tw.dumps(loaded) == data
    for name, encoded in message.items():
        assert (loaded[name].seed, loaded[name].size, loaded[name].spec) == (encoded.seed, encoded.size, encoded.spec)
        assert all(same_bits(a, b) for a, b in zip(loaded[name].leaves(), encoded.leaves(), strict=True))


def test_a_frame_accepts_any_buffer_and_does_not_pin_it() -> None:
    message = message_of(UPDATES, 2)
    buffer = bytearray(tw.dumps(message))
    loaded = tw.loads(buffer, spec_of(message))  # type: ignore[arg-type]
    before = [leaf.clone() for encoded in loaded.values() for leaf in encoded.leaves()]
    buffer[:] = b"\xff" * len(buffer)
    after = [leaf for encoded in loaded.values() for leaf in encoded.leaves()]
    assert all(same_bits(a, b) for a, b in zip(before, after, strict=True))


def sample() -> tuple[bytes, Specs]:
    message = {
        "a": tw.encode(tw.parse("TopK(0.1, values=Uniform(bits=4))"), suited("update", (12, 9))),
        "b": tw.encode(tw.parse("Step(nmse=0.1)"), suited("update", (12, 9))),
        "c": tw.encode(tw.parse("Planes()"), torch.arange(8)),
    }
    return tw.dumps(message), spec_of(message)


def test_every_flipped_bit_is_refused() -> None:
    data, expect = sample()
    for place in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(tw.WireError):
            tw.loads(bytes(damaged), expect)


def test_every_truncation_and_extension_is_refused() -> None:
    data, expect = sample()
    for cut in [data[:length] for length in range(len(data))] + [data + b"\0", data + data, b"\0" + data]:
        with pytest.raises(tw.WireError):
            tw.loads(cut, expect)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"magic": b"TWIS"}, "not a thinwire frame"),
        ({"version": 2}, "not a thinwire frame of version 1"),
        ({"version": 0}, "not a thinwire frame of version 1"),
        ({"flags": 2}, "unknown flags"),
        ({"flags": 0x80}, "unknown flags"),
        ({"flags": 1}, "unknown flags"),
        ({"names": 4}, "unknown flags"),
        ({"head": 1 << 21}, "over the limit"),
        ({"records": 2**32 - 1}, "over the limit"),
        ({"tensors": (1 << 18) + 1}, "over the limit"),
        ({"tensors": 4}, "4 tensors, expected 3"),
        ({"codecs": 4}, "a table of 4 codecs for 3 tensors"),
        ({"codecs": 2}, "codec 2 of a table of 2"),
        ({"records": 1 << 19}, "checksum"),
        ({"schema": bytes(16)}, "another schema"),
    ],
    ids=str,
)
def test_a_wrong_header_is_refused(fields: dict[str, Any], words: str) -> None:
    data, expect = sample()
    with pytest.raises(tw.WireError, match=words):
        tw.loads(resealed(data, **fields), expect)


def test_sections_that_trade_a_byte_are_refused() -> None:
    data, expect = sample()
    head, records = HEADER.unpack_from(data)[5], HEADER.unpack_from(data)[7]
    for moved in ({"head": head + 1, "records": records - 1}, {"records": records + 1}, {"records": records - 1}):
        with pytest.raises(tw.WireError):
            tw.loads(resealed(data, **moved), expect)


@pytest.mark.parametrize(
    "change",
    [
        lambda e: {("z" if name == "a" else name): spec for name, spec in e.items()},
        lambda e: dict(reversed(e.items())),
        lambda e: e | {"a": Spec((9, 12), torch.float32)},
        lambda e: e | {"a": Spec((12, 9), torch.float64)},
        lambda e: {name: spec for name, spec in e.items() if name != "c"},
        lambda e: {},
    ],
    ids=["name", "order", "shape", "dtype", "missing", "empty"],
)
def test_another_schema_is_refused(change: Callable[[Specs], Specs]) -> None:
    data, expect = sample()
    with pytest.raises(tw.WireError, match="another schema"):
        tw.loads(data, change(expect))


@pytest.mark.parametrize(
    ("table", "records", "body", "words"),
    [
        (b"\xfe", b"\0", b"", "unknown codec tag 254"),
        (b"\0", b"\0", b"", "unknown codec tag 0"),
        (TOPK * 6 + RAW * 8, b"\0", b"", "nested too deep"),
        (TOPK, b"\0", b"", "cut short"),
        (UNIFORM + b"\x11\0\0" + RAW, b"\0", b"", "bits is 17"),
        (UNIFORM + b"\0\0\0" + RAW, b"\0", b"", "bits is 0"),
        (UNIFORM + b"\x01\x01\0" + RAW, b"\0", b"", "bits is 1"),
        (UNIFORM + b"\x08\x02\0" + RAW, b"\0", b"", "symmetric is neither 0 nor 1"),
        (UNIFORM + b"\x08\0\x03" + RAW, b"\0", b"", "block is 1"),
        (UNIFORM + b"\x88\x00\0\0" + RAW, b"\0", b"", "leading zeros"),
        (CAST + b"\x02", b"\0", bytes(20), "dtype is 0"),
        (RAW, b"\x01", ONES, "codec 1 of a table of 1"),
        (RAW, b"", ONES, "cut short"),
        (RAW, b"\x80\0", ONES, "leading zeros"),
        (RAW, b"\xff" * 7, ONES, "too long"),
        (RAW, b"\0\0", ONES, "1 bytes of records and 0 of body are left over"),
        (RAW, b"\0", ONES + b"\0", "0 bytes of records and 1 of body are left over"),
        (RAW, b"\0", ONES[:-1], "a part of 40 bytes, 39 are left"),
        (ZSTD, b"\0\x05", b"1234", "a part of 5 bytes, 4 are left"),
        (TOPK + RAW + RAW, b"\0\x0b", bytes(400), "11 elements kept of a tensor of 10"),
        (TOPK + RAW + RAW, b"\0\xff\xff\xff\xff\xff\x7f", b"", "elements kept of a tensor of 10"),
        (RANDOMK + RAW, b"\0\x0b" + bytes(4), bytes(400), "11 elements kept of a tensor of 10"),
        (RANDOMK + RAW, b"\0\x05\0\0\0", bytes(20), "cut short"),
        (STEP + ZSTD + RAW, b"\0\x0b", b"", "11 exact elements in a tensor of 10"),
    ],
    ids=str,
)
def test_a_wrong_table_record_or_body_is_refused(table: bytes, records: bytes, body: bytes, words: str) -> None:
    with pytest.raises(tw.WireError, match=words):
        tw.loads(frame(table, records, body, FLOATS), {"x": FLOATS})


def test_a_rank_above_the_smaller_side_is_refused() -> None:
    spec = Spec((4, 6), torch.float32)
    for rank in (b"\0", b"\x05", b"\xff\x7f"):
        with pytest.raises(tw.WireError, match="rank"):
            tw.loads(frame(LOWRANK + ZSTD + ZSTD, b"\0" + rank, b"", spec), {"x": spec})


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8])
def test_a_lossy_codec_for_integers_is_refused(dtype: torch.dtype) -> None:
    spec = Spec((10,), dtype)
    data = frame(AFFINE8, b"\0", bytes(18), spec)
    with pytest.raises(tw.WireError, match="a lossy codec for"):
        tw.loads(data, {"x": spec})


def test_a_lossy_codec_for_integer_parts_is_refused() -> None:
    data = frame(TOPK + RAW + AFFINE8, b"\0\x02", bytes(18), FLOATS)
    with pytest.raises(tw.WireError, match="a lossy codec for"):
        tw.loads(data, {"x": FLOATS})


def refused(table: bytes, records: bytes, body: bytes, spec: Spec = FLOATS) -> str:
    """Return what decoding says about a frame that parses."""
    message = tw.loads(frame(table, records, body, spec), {"x": spec})
    with pytest.raises(tw.WireError) as caught:
        tw.decode(message["x"])
    return str(caught.value)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), float("-inf"), -1.0])
def test_a_bad_scale_is_refused(scale: float) -> None:
    uniform, lowrank = AFFINE8, Spec((2, 5), torch.float32)
    assert "a scale is negative, NaN or infinite" in refused(uniform, b"\0", bytes(10) + f32(scale, 0.0))
    assert "step: the step is" in refused(STEP + RAW + RAW, b"\0\0", bytes(40) + f32(scale))
    assert "the scale is" in refused(LOWRANK + RAW + RAW, b"\0\x01", bytes(28) + f32(scale), lowrank)


def test_a_minimum_that_is_not_finite_is_refused() -> None:
    assert "NaN or infinite" in refused(AFFINE8, b"\0", bytes(10) + f32(1.0, float("nan")))


def test_values_that_overflow_are_refused() -> None:
    assert "not finite" in refused(AFFINE8, b"\0", b"\xff" * 10 + f32(3e38, 0.0))
    assert "not finite" in refused(STEP + RAW + RAW, b"\0\0", b"\0\1\0\0" * 10 + f32(3e38))
    assert "not finite" in refused(CAST + b"\0", b"\0", torch.tensor([torch.inf] * 10).half().numpy().tobytes())
    assert "not finite" in refused(TOPK + RAW + RAW, b"\0\1", f32(float("nan")) + bytes(8))


def test_symbols_beyond_the_levels_are_refused() -> None:
    symmetric = SYMMETRIC8
    assert "beyond the 255 levels" in refused(symmetric, b"\0", b"\xff" + bytes(9) + f32(1.0))
    rows = Spec((2, 5), torch.float32)
    levels = struct.pack("<7i", 1, 4096, 0, 0, 0, 0, 0)
    assert "lowrank: left holds" in refused(LOWRANK + RAW + RAW, b"\0\x01", levels + f32(1.0), rows)


@pytest.mark.parametrize("indices", [[1, 1], [2, 1], [0, 10], [-1, 0], [10, 0], [2**63 - 1, 0], [-(2**63), 1]])
def test_indices_that_do_not_ascend_within_the_tensor_are_refused(indices: list[int]) -> None:
    where = struct.pack("<2q", *indices)
    assert "not strictly ascending" in refused(TOPK + RAW + RAW, b"\0\2", f32(1.0, 2.0) + where)
    assert "not strictly ascending" in refused(THRESHOLD + RAW + RAW, b"\0\2", f32(1.0, 2.0) + where)
    exact = bytes(40) + f32(1.0) + where + f32(1.0, 2.0)
    assert "not strictly ascending" in refused(STEP + RAW + RAW, b"\0\2", exact)


def test_a_bool_of_two_is_refused() -> None:
    spec = Spec((3,), torch.bool)
    with pytest.raises(tw.WireError, match="neither 0 nor 1"):
        tw.loads(frame(RAW, b"\0", b"\0\1\2", spec), {"x": spec})
    packed = zstd.compress(b"\0\1\2")
    for codec in (ZSTD, PLANES):
        assert "neither 0 nor 1" in refused(codec, b"\0" + bytes([len(packed)]), packed, spec)


def zstd_refused(packed: bytes, codec: bytes = ZSTD) -> str:
    return refused(codec, b"\0" + varint(len(packed)), packed)


@pytest.mark.parametrize("codec", [ZSTD, PLANES], ids=["zstd", "planes"])
def test_zstd_that_is_not_one_exact_frame_is_refused(codec: bytes) -> None:
    packed = zstd.compress(ONES)
    assert "cut short or followed by other bytes" in zstd_refused(packed[:-1], codec)
    assert "cut short or followed by other bytes" in zstd_refused(packed + b"\0", codec)
    assert "cut short or followed by other bytes" in zstd_refused(packed + b"\x28\xb5\x2f\xfd" + packed, codec)
    assert "39 bytes decoded, the schema says 40" in zstd_refused(zstd.compress(ONES[:-1]), codec)
    assert "larger than the 40 bytes" in zstd_refused(zstd.compress(ONES + b"\0"), codec)
    assert "zstd" in zstd_refused(b"", codec)


def test_a_zstd_bomb_of_a_gibibyte_is_refused_at_once() -> None:
    import resource

    bomb = repeated(8192)
    assert len(bomb) < 40_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "larger than the 40 bytes" in zstd_refused(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_a_zstd_window_above_eight_mebibytes_is_refused() -> None:
    packed = windowed(23)
    message = tw.loads(frame(ZSTD, b"\0" + varint(len(packed)), packed), {"x": FLOATS})
    assert same_bits(tw.decode(message["x"]), torch.zeros(10))
    assert "zstd" in zstd_refused(windowed(24))
    assert "zstd" in zstd_refused(windowed(31))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (listed(entry(b"x", 0, 2**64 - 1)), "over the limit"),
        (listed(entry(b"x", 0, *[2**64 - 1] * 8)), "over the limit"),
        (listed(entry(b"x", 0, 2**63, 0)), "over the limit"),
        (listed(entry(b"x", 0, 2**40, 2**40, 0)), "over the limit"),
        (listed(entry(b"x", 0, 1), entry(b"x", 0, 2)), "comes twice"),
        (listed(entry(b"\xff\xfe", 0, 1)), "not UTF-8"),
        (listed(entry(b"\xed\xa0\x80", 0, 1)), "not UTF-8"),
        (listed(entry(b"n" * 1025, 0, 1)), "over the limits"),
        (listed(entry(b"x", 10, 1)), "over the limits"),
        (listed(entry(b"x", 0, *[1] * 9)), "over the limits"),
        (listed(entry(b"x", 0, 1)) + b"\0", "left over"),
        (listed(entry(b"x", 0, 1), count=2), "cut short"),
        (listed(entry(b"x", 0, 1), count=2**32 - 1), "cut short"),
        (listed(entry(b"x", 0, 10)), "disagrees with its hash"),
        (b"\0\0\0", "cut short"),
    ],
    ids=str,
)
def test_a_wrong_inline_schema_is_refused(names: bytes, words: str) -> None:
    for read in (wire.loads_any, wire.inspect):
        with pytest.raises(tw.WireError, match=words if read is wire.loads_any else None):
            read(described(names))


def test_a_huge_inline_schema_is_refused_before_anything_is_allocated() -> None:
    def huge(side: int) -> bytes:
        spec = Spec((side,), torch.float32)
        encoded = Encoded(tw.RandomK(0.5), spec, {"values": tw.encode(tw.Raw(), torch.zeros(0))})
        return wire.dumps({"x": encoded}, True, DEFAULT_LIMITS)

    with pytest.raises(tw.WireError, match="over the limit of 4294967296 bytes"):
        wire.loads_any(huge(INLINE_LIMITS.decoded_bytes // 4 + 1))
    with pytest.raises(tw.WireError, match="over the limit of 400 bytes"):
        wire.loads_any(huge(101), replace(INLINE_LIMITS, decoded_bytes=400))
    assert tw.decode(wire.loads_any(huge(100), replace(INLINE_LIMITS, decoded_bytes=400))["x"]).shape == (100,)


def test_a_frame_without_names_cannot_be_read_without_a_schema() -> None:
    with pytest.raises(tw.WireError, match="only the hash"):
        wire.loads_any(sample()[0])


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(tensors=2), "over the limit"),
        (Limits(header_bytes=10), "over the limit"),
        (Limits(decoded_bytes=100), "over the limit of 100 bytes"),
        (Limits(decoded_bytes=500), "at most 262144, 500 and"),
        (Limits(name_bytes=0), "a name of 1 bytes"),
        (Limits(dims=1), "2 dimensions"),
    ],
    ids=str,
)
def test_lower_limits_hold(limits: Limits, words: str) -> None:
    data, expect = sample()
    with pytest.raises(tw.WireError, match=words):
        tw.loads(data, expect, limits)


@pytest.mark.parametrize(
    ("name", "x", "words"),
    [
        ("n" * 1025, torch.zeros(3), "a name of 1025 bytes, frames carry at most 1024"),
        ("\ud800", torch.zeros(3), "surrogate"),
        ("x", torch.zeros([1] * 9), "9 dimensions"),
        ("x", torch.zeros(3, dtype=torch.uint16), "frames carry"),
    ],
    ids=["name", "surrogate", "dimensions", "dtype"],
)
def test_what_no_receiver_takes_is_not_sent(name: str, x: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tw.dumps({name: tw.encode(tw.Raw(), x)})


def test_names_travel_as_they_are() -> None:
    x = torch.ones(2)
    for name in ("", "a/b", "../../etc", "重み", "a\0b", "n" * 256):
        assert list(wire.loads_any(tw.dumps({name: tw.encode(tw.Raw(), x)}, schema=True))) == [name]


def test_inspect_tells_codecs_sizes_and_tensors() -> None:
    data, expect = sample()
    blind, seen = tw.inspect(data), tw.inspect(data, expect)
    assert blind.message is None
    assert blind.codecs == seen.codecs
    assert len(blind.codecs) == 3
    assert blind.tensors == 3
    assert seen.message is not None
    assert list(seen.message) == ["a", "b", "c"]


def test_the_documented_codecs_and_dtypes_are_those_of_the_code() -> None:
    text = (Path(__file__).parents[1] / "docs" / "wire-format.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", text.split("## Codecs")[1], re.MULTILINE)
    assert dict(rows) == {str(cls.tag): cls.__name__ for cls in registry.codecs().values() if 0 < cls.tag < 128}
    assert all(f"{i} {str(dtype).removeprefix('torch.')}" in text for i, dtype in enumerate(schema.DTYPES))
    assert (Limits().tensors, Limits().dims, Limits().name_bytes) == (262_144, 8, 1024)
    assert (Limits().header_bytes, INLINE_LIMITS.decoded_bytes) == (64 << 20, 4 << 30)


@pytest.mark.parametrize(
    ("codec", "shown"),
    [
        ("TopK(0.01, values=Uniform(bits=4))", "TopK(values=Uniform(bits=4, ...), ...)"),
        ("Step(nmse=0.2)", "Step(...)"),
        ("Uniform(bits=4, block=128, codes=Zstd())", "Uniform(bits=4, block=128, codes=Zstd(), ...)"),
        ("LowRank(rank=3)", "LowRank(...)"),
        ("Qsgd(levels=2)", "Qsgd(...)"),
        ("Uniform(bits=8, rounding='floor')", "Uniform(bits=8, ...)"),
        ("Planes()", "Planes()"),
        ("NF4(block=32)", "NF4(block=32)"),
    ],
)
def test_an_inspected_frame_shows_what_travelled_and_no_more(codec: str, shown: str) -> None:
    frame = tw.dumps({"x": tw.encode(tw.parse(codec), torch.randn(80, 70))})
    assert tw.inspect(frame).codecs == (shown,)
    # Nor does what was loaded say of itself what its sender never told.
    loaded = tw.loads(frame, {"x": Spec((80, 70), torch.float32)})["x"].codec
    assert str(loaded) == repr(loaded) == shown
