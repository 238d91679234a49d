"""Arrays that no frame carries: smaller where zstd makes them so, the same bytes back, and never more than allowed."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Array

from thinwire.errors import WireError
from thinwire.flower import beside

NOISE = np.random.default_rng(0).bytes(4000)
ARRAYS = {
    "trees as JSON": Array("", (), "", b'{"learner": {"trees": [1, 2, 3]}}' * 200),
    "no bytes": Array("", (), "", b""),
    "a few": Array("uint8", (3,), "own", b"abc"),
    "noise": Array("uint8", (4000,), "own", NOISE),
    "complex": Array(np.zeros((50, 60), np.complex64)),
    "strings": Array(np.array(["a", "bc"] * 500)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_the_same_array_comes_back(name: str) -> None:
    array = ARRAYS[name]
    packed = beside.pack({name: array})
    (back,) = beside.unpack(packed, len(array.data)).values()
    assert (back.dtype, tuple(back.shape), back.stype, back.data) == (
        array.dtype, tuple(array.shape), array.stype, array.data)  # fmt: skip
    assert beside.travelling_bytes(packed) <= len(array.data)


def test_what_repeats_travels_in_less() -> None:
    for name in ("trees as JSON", "complex", "strings"):
        packed = beside.pack({name: ARRAYS[name]})
        assert beside.travelling_bytes(packed) < len(ARRAYS[name].data) / 10
        assert beside.as_they_are_bytes(packed) == 0
    assert beside.as_they_are_bytes(beside.pack({"noise": ARRAYS["noise"]})) == 4000


def test_an_app_may_use_our_own_name() -> None:
    once = beside.pack({"x": ARRAYS["trees as JSON"]})
    assert beside.unpack(beside.pack(once), 10_000) == once
    small = {"x": Array("", (), once["x"].stype, b"ab")}
    assert beside.unpack(beside.pack(small), 10_000)["x"].data == b"ab"


def test_hostile_bytes_are_refused_within_bounds() -> None:
    stype = beside.pack({"x": ARRAYS["trees as JSON"]})["x"].stype
    bomb = beside.pack({"x": Array("", (), "", bytes(50_000_000))})
    assert beside.travelling_bytes(bomb) < 10_000
    for arrays in (bomb, {"x": Array("", (), stype, NOISE)}, {"x": Array("", (), stype, b"")}):
        with pytest.raises(WireError, match="array 'x' cannot be read"):
            beside.unpack(arrays, 1_000_000)
    assert len(beside.unpack(bomb, 50_000_000)["x"].data) == 50_000_000
    with pytest.raises(WireError, match="'y'"):
        beside.unpack({**bomb, "y": bomb["x"]}, 99_999_999)
