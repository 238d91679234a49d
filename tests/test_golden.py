"""Golden files: decoding is promised for ever, and so is every refusal. golden_frames.py writes them."""

from __future__ import annotations

import json
import os
from typing import Any

import golden_frames
import pytest
from golden_frames import GOLDEN, MANIFEST, decoded_digests, digest

import thinwire as tw
from thinwire import registry
from thinwire.wire import decode_message, inspect, loads_any

if os.environ.get("THINWIRE_WRITE_GOLDEN"):
    golden_frames.write(anew=os.environ["THINWIRE_WRITE_GOLDEN"] == "all")
ENTRIES: dict[str, dict[str, Any]] = json.loads(MANIFEST.read_text())


def read(kind: str, name: str) -> bytes:
    data = (GOLDEN / kind / f"{name}.twf").read_bytes()
    assert digest(data) == ENTRIES[kind][name]["sha256"], f"{kind}/{name}.twf was changed"
    return data


@pytest.mark.parametrize("name", ENTRIES["good"])
def test_a_good_file_decodes_to_the_same_bits_as_ever(name: str) -> None:
    data = read("good", name)
    assert decoded_digests(data) == ENTRIES["good"][name]["tensors"]
    assert len(data) < 2048


@pytest.mark.parametrize("name", ENTRIES["bad"])
def test_a_bad_file_is_refused_for_its_reason(name: str) -> None:
    data = read("bad", name)
    with pytest.raises(tw.WireError) as caught:
        decode_message(loads_any(data))
    assert ENTRIES["bad"][name]["error"] in str(caught.value)


def test_no_file_is_missing_and_none_is_unknown() -> None:
    for kind in ("good", "bad"):
        assert {path.stem for path in (GOLDEN / kind).glob("*")} == set(ENTRIES[kind])
    wanted = {name for name, _ in golden_frames.good()}, {name for name, *_ in golden_frames.bad()}
    missing = wanted[0] - set(ENTRIES["good"]), wanted[1] - set(ENTRIES["bad"])
    assert missing == (set(), set()), "write the missing files with THINWIRE_WRITE_GOLDEN=1"


def test_every_codec_has_a_good_file_of_its_own() -> None:
    present = {inner.split("(")[0] for name in ENTRIES["good"] for inner in inspect(read("good", name)).codecs}
    assert present == {cls.__name__ for cls in registry.codecs().values() if 0 < cls.tag < 128}
