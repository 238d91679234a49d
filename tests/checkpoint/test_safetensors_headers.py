"""Any safetensors header returns byte for byte, or is refused in a sentence; so does any dtype, known here or not."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from checkpoint_files import save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinwire.checkpoint import Bounded, Lossless, open_packed, pack, unpack
from thinwire.checkpoint.header import BadHeader, parse_header
from thinwire.cli import main
from thinwire.errors import CheckpointError


def write(path: Path, header: str | bytes | dict[str, object], data: bytes = b"") -> Path:
    text = json.dumps(header) if isinstance(header, dict) else header
    raw = text.encode() if isinstance(text, str) else text
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def tensor(dtype: str, shape: list[int], start: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


A, B = tensor("F32", [2], 8, 16), tensor("I64", [], 0, 8)
HEADERS = {
    "sorted otherwise": {"a": A, "b": B},
    "metadata last": {"b": B, "a": A, "__metadata__": {"z": "1", "a": "2"}},
    "no metadata in an object": {"__metadata__": {}, "b": B, "a": A},
    "null metadata": {"__metadata__": None, "b": B, "a": A},
    "fields in another order": {"b": dict(reversed(B.items())), "a": A},
    "a field more": {"b": B | {"crc": 12, "note": "x", "ok": None, "scale": -1.5e3}, "a": A},
    "blanks": json.dumps({"b": B, "a": A}, indent=3) + "      ",
    "escapes": '{"\\u0061":' + json.dumps(A) + ',"\\n\\ud834\\udd1e":' + json.dumps(B) + "}",
    "tabs": json.dumps({"b": B, "a": A}).replace(" ", "\t\r\n"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_returns_byte_for_byte(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "x.safetensors", HEADERS[name], bytes(range(16)))
    for base in (None, source):
        pack(source, tmp_path / "x.tw", Lossless(), base)
        unpack(tmp_path / "x.tw", tmp_path / "back", base)
        assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_what_the_library_wrote_needs_no_copy_of_its_header(tmp_path: Path) -> None:
    source = save(tmp_path / "x.safetensors", {"a": torch.zeros(3), "b": torch.ones(2) > 0}, {"format": "pt", "b": "c"})
    pack(source, tmp_path / "x.tw", Lossless())
    assert open_packed(tmp_path / "x.tw").head.verbatim == b""
    assert (tmp_path / "x.tw").read_bytes()[4] == 1
    unpack(tmp_path / "x.tw", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_dtypes_that_nobody_here_knows_travel_as_their_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = {
        "four": tensor("F4", [3, 2], 0, 3),
        "six": tensor("F6_E2M3", [4], 3, 6),
        "new": tensor("Q\x1b[31m5", [7, 9], 6, 11),
        "float": tensor("F32", [40, 40], 11, 6411),
        "bool": tensor("BOOL", [4], 6411, 6415),
    }
    floats = torch.randn(1600, generator=torch.Generator().manual_seed(0)).numpy().tobytes()
    source = write(tmp_path / "x.safetensors", header, bytes(range(240, 251)) + floats + b"\x00\x01\x02\xff")
    for goal in (Lossless(), Bounded("nmse", 0.1)):
        for base in (None, source):
            pack(source, tmp_path / "x.tw", goal, base)
            unpack(tmp_path / "x.tw", tmp_path / "back", base)
            assert (tmp_path / "back").read_bytes()[:11] == source.read_bytes()[:11]
            assert (tmp_path / "back").read_bytes()[-4:] == b"\x00\x01\x02\xff"
            assert goal != Lossless() or (tmp_path / "back").read_bytes() == source.read_bytes()
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "x.tw")]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "Q\\x1b[31m5" in text
    assert "3x2" in text


def test_a_bool_that_is_neither_0_nor_1_returns(tmp_path: Path) -> None:
    old = write(tmp_path / "old", {"m": tensor("BOOL", [5], 0, 5)}, b"\x00\x01\x00\x02\x80")
    new = write(tmp_path / "new", {"m": tensor("BOOL", [5], 0, 5)}, b"\x01\x01\x02\x02\x7f")
    for base in (None, old):
        pack(new, tmp_path / "x.tw", Lossless(), base)
        unpack(tmp_path / "x.tw", tmp_path / "back", base)
        assert (tmp_path / "back").read_bytes() == new.read_bytes()


HUGE = (1 << 64) - 1
EMPTY = b'"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
BAD = {
    "nested": b'{"a":' * 100_000,
    "nested lists": b'{"a":' + b"[" * 100_000,
    "surrogate": b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
    "surrogate in metadata": b'{"__metadata__":{"a":"\\udfff"}}',
    "no UTF-8": b'{"\xff":{}}',
    "huge side": {"a": tensor("F32", [0, HUGE], 0, 0)},
    "huge side of an unknown dtype": {"a": tensor("F4", [0, HUGE], 0, 0)},
    "huge sides": {"a": tensor("U8", [1 << 32, 1 << 32], 0, 0)},
    "huge offsets": {"a": tensor("U8", [HUGE], 0, HUGE)},
    "digits": b'{"a":{"dtype":"U8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,0]}}',
    "nine dimensions": {"a": tensor("U8", [1] * 9, 0, 1)},
    "a hole": {"a": tensor("U8", [1], 1, 2)},
    "an overlap": {"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 1, 3)},
    "backwards": {"a": tensor("U8", [0], 0, -1)},
    "another size": {"a": tensor("F32", [2], 0, 7)},
    "half a byte": {"a": tensor("F4", [3], 0, 2)},
    "more data": {"a": tensor("U8", [0], 0, 0)},
    "less data": {"a": tensor("U8", [9], 0, 9)},
    "a name twice": b"{%s,%s}" % (EMPTY, EMPTY),
    "metadata twice": b'{"__metadata__":{},"__metadata__":{}}',
    "a text twice": b'{"__metadata__":{"a":"","a":""}}',
    "a text that is a number": {"__metadata__": {"a": 1}},
    "metadata that is a list": {"__metadata__": []},
    "no dtype": {"a": {"shape": [0], "data_offsets": [0, 0]}},
    "a float side": b'{"a":{"dtype":"U8","shape":[0.0],"data_offsets":[0,0]}}',
    "a text for a shape": {"a": {"dtype": "U8", "shape": "[0]", "data_offsets": [0, 0]}},
    "three offsets": {"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0, 0]}},
    "something behind": b"{} {}",
    "a list": b"[]",
    "nothing": b"",
    "a comma": b"{%s,}" % EMPTY,
    "other digits": '{"a":{"dtype":"U8","shape":[٣],"data_offsets":[0,3]}}',
}


@pytest.mark.parametrize("name", BAD)
def test_what_no_safetensors_file_says_is_one_sentence(name: str, tmp_path: Path, capsys) -> None:
    source = write(tmp_path / "x.safetensors", BAD[name], b"" if name == "less data" else b"\0\0\0")
    with pytest.raises(CheckpointError) as found:
        pack(source, tmp_path / "x.tw", Lossless())
    assert str(found.value).isprintable()
    assert len(str(found.value)) < 600 + len(str(source))
    assert main(["advise", "--checkpoint", str(source), "--bandwidth", "1Mbit"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.safetensors"]


def test_lengths_that_are_not_there_are_not_allocated(tmp_path: Path) -> None:
    for claimed in (1 << 62, 100_000_000, 3):
        (tmp_path / "x").write_bytes(struct.pack("<Q", claimed) + b"{}")
        with pytest.raises(CheckpointError, match="safetensors"):
            pack(tmp_path / "x", tmp_path / "x.tw", Lossless())


FIELDS = ["dtype", "shape", "data_offsets", "a", "__metadata__"]
JSON = st.recursive(
    st.none() | st.integers(0, 9) | st.sampled_from(["F32", "U8", "a"]) | st.just([0, 0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=JSON, cut=st.integers(0, 200), flip=st.integers(0, 255))
def test_any_text_is_a_header_or_refused(found: object, cut: int, flip: int) -> None:
    data = bytearray(json.dumps({"a": found, "b": tensor("U8", [0], 0, 0)}).encode())
    if cut < len(data):
        data[cut] = flip
    try:
        header = parse_header(bytes(data))
    except BadHeader:
        return
    assert {entry.name for entry in header.entries} | {"__metadata__"} >= set(json.loads(data))
