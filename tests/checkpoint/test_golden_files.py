"""Files that were packed once are restored for ever, to the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from thinwire.checkpoint import unpack

GOLDEN = Path(__file__).parent / "golden"
SOURCES = {"lossless": "new", "odd": "odd"}
"""What was packed with every bit is restored to its source; all else to the file beside it."""
PACKED = sorted(GOLDEN.glob("*.tw"))


def test_there_are_golden_files() -> None:
    assert len(PACKED) >= 8
    assert {packed.read_bytes()[4] for packed in PACKED} == {1, 2}


@pytest.mark.parametrize("packed", PACKED, ids=lambda path: path.stem)
def test_a_packed_file_is_restored_to_the_same_bits(packed: Path, tmp_path: Path) -> None:
    base = GOLDEN / "old.safetensors" if packed.stem.endswith("-based") else None
    unpack(packed, tmp_path / "back", base)
    expected = SOURCES.get(packed.stem.partition("-")[0], packed.stem)
    assert (tmp_path / "back").read_bytes() == (GOLDEN / f"{expected}.safetensors").read_bytes()
