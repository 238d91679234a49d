"""Work follows bytes: a microsecond a schema byte and two a frame byte, whatever a frame claims.

Schema bytes are those of the receiver's tensors, dense, with their names and shapes. Time is the process's own; a
tensor takes some of it however small it is, which `FIXED_S` allows for once a frame.
"""

from __future__ import annotations

import struct
import time
from contextlib import suppress

import pytest
import torch
from frames import ANS, FLOATS, HEADER, LOWRANK, RANDOMK, RAW, f32, frame, sealed, varint

import thinwire as tw
from thinwire import wire
from thinwire.codec import Spec, Specs, encode_parts
from thinwire.kernels import zstd
from thinwire.kernels.ans.bits import Writer
from thinwire.testing.slow import SlowSearch, cuts

FIXED_S = 2e-3
SLACK = 4
"""Machines of a test run are slower than the one that docs/wire-format.md names, and shared."""


def allowed_s(data: bytes, expect: Specs) -> float:
    schema = sum(spec.nbytes for spec in expect.values()) + len(wire.dump_schema(expect))
    return FIXED_S + 1e-6 * schema + 2e-6 * len(data)


def seconds(data: bytes, expect: Specs) -> float:
    """Return the least of some runs: the first may compile loops."""

    def once() -> float:
        began = time.process_time()
        with suppress(tw.WireError):
            wire.decode_message(wire.loads(data, expect))
        return time.process_time() - began

    return min(once() for _ in range(4))


def ans_tables(levels: int) -> bytes:
    """Return a stream of as many tables and levels as a head can tell, of which no element has any use."""
    out = Writer()
    out.bits(4, 3)
    out.golomb(30, 2)
    for _ in range(30):
        out.bits(1, 1)
    out.bits(0, 2)
    out.signed([351] + [0] * 30, 2)
    for _ in range(31):
        out.golomb(levels - 1, 0)
    out.bits(0, 2)
    out.signed([0] * 31 * levels, 0)
    out.bits(0, 8)
    return b"\2" + out.data() + bytes(4)


@pytest.mark.parametrize("levels", [1, 20, 300])
def test_tables_for_one_element(levels: int) -> None:
    spec = Spec((1,), torch.int32)
    stream = ans_tables(levels)
    data = frame(ANS, b"\0" + varint(len(stream)), stream, spec)
    with pytest.raises(tw.WireError, match="ans: tables of"):
        tw.decode(tw.loads(data, {"x": spec})["x"])
    assert seconds(data, {"x": spec}) < SLACK * allowed_s(data, {"x": spec})


def test_tables_for_each_of_many_elements() -> None:
    """Decoding every tensor, also after one was refused, as whoever goes on after an error would."""
    expect = {f"t{i}": Spec((1,), torch.int32) for i in range(300)}
    stream = ans_tables(1)
    fixed = (b"TWIR", 1, 0, 1, len(expect), 1, 0, 300 * (1 + len(varint(len(stream)))), wire.schema_id(expect))
    data = sealed(HEADER.pack(*fixed) + ANS + (b"\0" + varint(len(stream))) * 300 + stream * 300)
    message = tw.loads(data, expect)

    def every() -> float:
        began = time.process_time()
        for encoded in message.values():
            with suppress(tw.WireError):
                tw.decode(encoded)
        return time.process_time() - began

    assert min(every() for _ in range(3)) < SLACK * allowed_s(data, expect)


def test_no_encoder_writes_tables_that_are_refused() -> None:
    """Symbols as unlike as can be in tensors as small as can be; what has too many levels goes as a chunk."""
    draw = torch.Generator().manual_seed(1)
    for n in (1, 2, 3, 5, 8, 13, 40, 100):
        for reach in (1, 30, 1000, 10**6, 2**31 - 1):
            x = torch.randint(-reach, reach + 1, (n,), generator=draw).to(torch.int32)
            for symbols in (x, x.abs(), torch.where(torch.arange(n) == 0, x, 0).to(torch.int32)):
                encoded = encode_parts(tw.Ans(), symbols, 0, {})[0]
                assert torch.equal(tw.decode(encoded), symbols)


def test_a_table_of_codecs_before_the_hash_is_compared() -> None:
    head = RAW * (1 << 20)
    fixed = (b"TWIR", 1, 0, 65_535, 65_535, len(head), 0, 0, bytes(16))
    data = sealed(HEADER.pack(*fixed) + head)
    assert seconds(data, {"x": FLOATS}) < 0.2


def test_the_rank_follows_the_elements() -> None:
    """A matrix of zeros in a few hundred bytes, as a product of factors as wide as it is."""
    side, spec = 1500, Spec((1500, 1500), torch.float32)
    factor = zstd.compress(bytes(4 * side * side), 19)
    for rank, fits in ((side // 2, True), (side, False)):
        part = zstd.compress(bytes(4 * side * rank), 19)
        record = b"\0" + varint(rank) + varint(len(part)) + varint(len(part))
        data = frame(LOWRANK + b"\x09\x09", record, part + part + f32(1.0), spec)
        if fits:
            assert torch.equal(tw.decode(tw.loads(data, {"x": spec})["x"]), torch.zeros(side, side))
        else:
            with pytest.raises(tw.WireError, match="expected 1 to 750"):
                tw.loads(data, {"x": spec})
        assert seconds(data, {"x": spec}) < SLACK * allowed_s(data, {"x": spec})
    assert len(factor) < 2000


def test_nested_random_subsets() -> None:
    n, spec = 500_000, Spec((500_000,), torch.float32)
    packed = zstd.compress(bytes(4 * n), 19)
    record = b"\0" + (varint(n) + struct.pack("<I", 7)) * 4 + varint(len(packed))
    data = frame(RANDOMK * 4 + b"\x09", record, packed, spec)
    assert not tw.decode(tw.loads(data, {"x": spec})["x"]).any()
    assert len(data) < 300
    assert seconds(data, {"x": spec}) < allowed_s(data, {"x": spec})


@pytest.mark.parametrize("text", ["Raw()", "Uniform(bits=8)"])
def test_many_small_tensors_are_linear(text: str) -> None:
    took, count = [], 500
    for tensors in (count, 4 * count):
        encoded = tw.encode(tw.parse(text), torch.arange(8.0))
        message = {f"layer{i}.weight": encoded for i in range(tensors)}
        data, expect = tw.dumps(message), dict.fromkeys(message, encoded.spec)
        took.append(seconds(data, expect))
    assert took[1] < 8 * took[0]


def test_a_hundred_thousand_tensors() -> None:
    encoded = tw.encode(tw.Raw(), torch.zeros(2))
    message = {f"{i:06}." + "e" * 86: encoded for i in range(100_000)}
    expect = dict.fromkeys(message, encoded.spec)
    assert wire.split_specs(expect) == (expect, {})
    assert list(wire.loads_any(tw.dumps(message, schema=True))) == list(message)


def test_the_search_finds_what_is_slow_and_makes_it_small() -> None:
    """A decoder that takes its time over a byte of 7: found among others, then alone."""

    def decode(data: bytes) -> None:
        for _ in range(3000 * data.count(7)):
            pass

    search = SlowSearch(decode, lambda data: 1e-6 * (len(data) + 10), keep=4)
    for place in range(40):
        search.offer(bytes(60) if place != 23 else bytes(30) + b"\7" + bytes(29))
    worst = search.worst(cuts)
    assert 7 in worst.item
    assert len(worst.item) < 60
    assert search.timed == 40
