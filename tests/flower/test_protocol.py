"""Packages and replies as bytes: round trips, damage, and hostile peers on both sides."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import SHAPES, train
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import NAMED, client, one_round

from thinwire import Raw, dumps, encode
from thinwire.codec import Encoded, Spec
from thinwire.errors import WireError
from thinwire.flower import CompressedGrid, LocalGrid, compress_client, records, state
from thinwire.flower.protocol import (
    ALL_EXACT,
    MOST_LOSSES,
    NOTHING,
    STATELESS,
    UNTYPED,
    Fate,
    Instructions,
    Outcome,
    Package,
    Reply,
)

u32 = st.integers(0, 2**32 - 1)
f32 = st.floats(0, 2.0**127, width=32)
ids = st.binary(min_size=16, max_size=16)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
places = st.frozensets(st.integers(0, 2**20), max_size=6)
others = st.lists(st.tuples(st.integers(0, 2**20), text), max_size=4).map(tuple)
fates = st.lists(st.builds(Fate, u32, st.sampled_from(Outcome), f32), max_size=4).map(tuple)
losses = st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=4).map(tuple)
signal = st.floats(-1, 1, width=32)
i32 = st.integers(-(2**31), 2**31 - 1)
instructions = st.builds(Instructions, text, i32, i32, signal, signal, text, fates, losses)
packages = st.builds(
    Package, u32, u32, u32, st.binary(min_size=32, max_size=32), instructions, ids, st.binary(max_size=40),
    st.lists(ids, max_size=3).map(tuple), places, places, places, others, st.sampled_from([0, UNTYPED, ALL_EXACT]),
)  # fmt: skip
scale = st.floats(0, 1, width=32)
replies = st.builds(
    Reply, u32, u32, st.binary(max_size=40), f32, f32, f32, scale, places, places, others, text,
    st.sampled_from([0, UNTYPED, STATELESS, UNTYPED | STATELESS]),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(packages | replies, st.data())
def test_round_trips_and_damage(body: Package | Reply, data: st.DataObject) -> None:
    """What was written is read; a cut or a flipped bit before the frame, which has its own checksum, is noticed."""
    raw, read = body.dumps(), type(body).loads
    assert read(raw) == body
    head = len(raw) - len(body.frame)
    for at in range(head):
        with pytest.raises(WireError):
            read(raw[:at])
    for at in data.draw(st.lists(st.integers(0, 8 * head - 1), min_size=8, max_size=8)):
        with pytest.raises(WireError):
            read(raw[: at // 8] + bytes([raw[at // 8] ^ 1 << at % 8]) + raw[at // 8 + 1 :])


def test_huge_counts_are_refused_before_anything_is_made_of_them() -> None:
    package = Package(1, 2, 3, bytes(32), Instructions("none", 1), frame=b"x" * 50).dumps()
    reply = Reply(1, 2, b"x" * 50).dumps()
    huge = b"\xff\xff\xff\xff\xff\x3f"
    for raw, read, fixed in ((package, Package.loads, 4 + 2 + 12 + 16 + 32), (reply, Reply.loads, 4 + 2 + 8 + 16)):
        for at in range(fixed, len(raw) - 54):
            with pytest.raises(WireError):
                read(raw[:at] + huge + raw[at + 1 :])
    with pytest.raises(WireError, match="losses"):
        Package.loads(Package(1, 2, 3, bytes(32), Instructions("", 1, losses=(1.0,) * (MOST_LOSSES + 1))).dumps())


@pytest.mark.parametrize("field", ["keep", "verbatim", "others", "fates", "losses", "uplink", "reply others"])
def test_reading_takes_two_microseconds_a_byte_at_most(field: str) -> None:
    told, many = Instructions("none", 1), 20_000
    fields = {
        "keep": replace(Package(1, 2, 3, bytes(32), told), keep=(bytes(16),) * many),
        "verbatim": replace(Package(1, 2, 3, bytes(32), told), verbatim=frozenset(range(many))),
        "others": replace(Package(1, 2, 3, bytes(32), told), others=tuple((at % 100, "") for at in range(many))),
        "fates": Package(1, 2, 3, bytes(32), replace(told, fates=(Fate(1, Outcome.TAKEN),) * many)),
        "losses": Package(1, 2, 3, bytes(32), replace(told, losses=(1.0,) * MOST_LOSSES)),
        "uplink": Package(1, 2, 3, bytes(32), replace(told, uplink="x" * many)),
        "reply others": replace(Reply(1, 2, b""), others=tuple((at % 100, "") for at in range(many))),
    }
    body = fields[field]
    raw = body.dumps()
    assert min(_seconds(type(body).loads, raw) for _ in range(5)) < 2e-6 * len(raw) + 1e-4


def _seconds(read: Callable[[bytes], object], raw: bytes) -> float:
    began = time.process_time()
    read(raw)
    return time.process_time() - began


class Between(ClientApp):
    """An honest client, and somebody who rewrites what comes to node 2 or goes from there."""

    def __init__(self) -> None:
        super().__init__()
        self._honest = compress_client(client(train))
        self.down: Callable[[Package], Package | bytes] = lambda package: package
        self.up: Callable[[Reply], Reply | bytes] = lambda reply: reply
        self.beside: dict[str, Array] = {}

    def __call__(self, message: Message, context: Context) -> Message:
        if context.node_id == 2:
            message.content["arrays"] = self._rewritten(message, records.DOWN, Package.loads, self.down)
        reply = self._honest(message, context)
        if context.node_id == 2 and not reply.has_error():
            reply.content["arrays"] = self._rewritten(reply, records.UP, Reply.loads, self.up)
            reply.content["arrays"].update(self.beside)
        return reply

    def _rewritten(self, message: Message, stype: str, read, change) -> ArrayRecord:
        data = records.carried(message.content, stype)
        assert data is not None
        changed = change(read(data))
        return records.carry(changed if isinstance(changed, bytes) else changed.dumps(), stype)


class Rounds:
    """Rounds of three nodes around a ``Between``; what node 2 answers is an error or averages like the others'."""

    def __init__(self, uplink: object = "none") -> None:
        self.between, self.number = Between(), 0
        self.local = LocalGrid(self.between, 3)
        self.grid = CompressedGrid(self.local, uplink, "lossless")
        self.arrays = ArrayRecord({name: Array(np.ones(shape, np.float32)) for name, shape in SHAPES.items()})

    def go(self) -> Message:
        self.number += 1
        replies = one_round(self.grid, self.arrays, self.number)
        first, second, third = sorted(replies, key=lambda reply: reply.metadata.src_node_id)
        assert not first.has_error()
        assert not third.has_error()
        assert not second.has_error() or "cannot be read" not in second.error.reason
        average, _ = FedAvg().aggregate_train(self.number, replies)
        assert list(average) == list(SHAPES)
        assert all(np.isfinite(array.numpy()).all() for array in average.values())
        self.arrays = average
        return second


def schema_of(tensors: dict[str, torch.Tensor]) -> bytes:
    return dumps({name: encode(Raw(), x) for name, x in tensors.items()}, schema=True)


def zeros(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(shape) for name, shape in NAMED.items()} | changed


FIRST = next(iter(NAMED))
PACKAGES: dict[str, Callable[[Package], Package | bytes]] = {
    "positions out of range": lambda p: replace(p, verbatim=frozenset([3])),
    "far out of range": lambda p: replace(p, alone=frozenset([2**41])),
    "exact ones out of range": lambda p: replace(p, exact=frozenset([7]), flags=0),
    "others that are not there": lambda p: replace(p, others=((0, "arrays\x00x"),)),
    "another target": lambda p: replace(p, target=bytes(32)),
    "a base that is not held": lambda p: replace(p, base=b"x" * 16),
    "no frame, and not held": lambda p: replace(p, target=b"y" * 32, frame=b""),
    "another schema": lambda p: replace(p, base=NOTHING, frame=schema_of({"arrays\x00x": torch.zeros(3)})),
    "an uplink that nobody knows": lambda p: replace(p, instructions=replace(p.instructions, uplink="evil()")),
    "an uplink that nests": lambda p: replace(p, instructions=replace(p.instructions, uplink="TopK(0.5, " * 3000)),
    "a frame that claims 2^40 bytes": lambda p: replace(
        p, base=NOTHING, frame=schema_of({"arrays\x00x": torch.zeros(0, 5)}).replace(bytes(8), b"\xff" * 8, 1)
    ),
    "random bytes": lambda p: b"\x00" * 100,
    "nothing": lambda p: b"",
}


def test_a_hostile_package_is_an_error_of_the_client_and_forgotten() -> None:
    rounds = Rounds()
    rounds.go()
    for what, change in PACKAGES.items():
        rounds.between.down = change
        assert rounds.go().has_error(), what
        rounds.between.down = lambda package: package
        assert not rounds.go().has_error(), what


def test_keep_lists_of_what_is_not_held_cost_nothing() -> None:
    rounds = Rounds()
    rounds.between.down = lambda p: replace(p, keep=tuple(bytes([n]) * 16 for n in range(200)))
    for _ in range(3):
        assert not rounds.go().has_error()
    assert len(state.load(rounds.local.context(2)).references) == 1


REPLIES: dict[str, Callable[[Reply], Reply | bytes]] = {
    "a position that does not exist": lambda r: replace(r, verbatim=frozenset([3])),
    "a difference to zeros that does not exist": lambda r: replace(r, alone=frozenset([2**41])),
    "a scale of NaN": lambda r: replace(r, scale=float("nan")),
    "a negative scale": lambda r: replace(r, scale=-1.0),
    "an NMSE of NaN": lambda r: replace(r, nmse=float("nan")),
    "a record that is another's": lambda r: replace(r, record="metrics", frame=renamed("metrics")),
    "another record": lambda r: replace(r, record="params", frame=renamed("params")),
    "a record with a separator": lambda r: replace(r, record="a\x00b", frame=renamed("a\x00b")),
    "a schema of other names": lambda r: replace(r, frame=schema_of({"x": torch.zeros(3)}), verbatim=frozenset([0])),
    "a name of no record": lambda r: replace(
        r, frame=schema_of({FIRST.split("\x00")[1]: torch.zeros(3)}), verbatim=frozenset([0])
    ),
    "one more": lambda r: replace(
        r, frame=schema_of(zeros(**{"arrays\x00more": torch.zeros(3)})), verbatim=frozenset(range(4))
    ),
    "one less": lambda r: replace(r, frame=schema_of(dict(list(zeros().items())[1:]))),
    "other shapes": lambda r: replace(r, frame=schema_of(zeros(**{FIRST: torch.zeros(5)})), verbatim=frozenset([0])),
    "integers": lambda r: replace(
        r, frame=schema_of(zeros(**{FIRST: torch.zeros(24, 16, dtype=torch.int64)})), verbatim=frozenset([0])
    ),
    "NaN": lambda r: replace(r, frame=schema_of(zeros(**{FIRST: torch.full((24, 16), torch.nan)}))),
    "NaN as it is": lambda r: replace(
        r, frame=schema_of(zeros(**{FIRST: torch.full((24, 16), torch.nan)})), verbatim=frozenset([0])
    ),
    "1e308 in float64": lambda r: replace(
        r, frame=schema_of(zeros(**{FIRST: torch.full((24, 16), 1e308, dtype=torch.float64)})), verbatim=frozenset([0])
    ),
    "no tensors": lambda r: replace(r, frame=schema_of({})),
    "much memory": lambda r: replace(r, frame=bomb((1 << 14, 1 << 14)), verbatim=frozenset([0])),
    "more memory": lambda r: replace(r, frame=bomb((1 << 40,)), verbatim=frozenset([0])),
    "sides that overflow": lambda r: replace(r, frame=bomb((0, 2**63)), verbatim=frozenset([0])),
    "no frame": lambda r: replace(r, frame=b""),
    "flags that nobody knows": lambda r: replace(r, flags=64),
    "the package back": lambda r: Package(r.session, r.sequence, 1, bytes(32), Instructions("none", 1)).dumps(),
}


def renamed(record: str) -> bytes:
    return dumps({name.replace("arrays", record, 1): encode(Raw(), x) for name, x in zeros().items()})


def bomb(shape: tuple[int, ...]) -> bytes:
    """A frame of few bytes that says that it decodes to many."""
    from thinwire import Huffman, Step

    small = encode(Step(nmse=0.5, symbols=Huffman()), torch.zeros(64, 64))
    return dumps(
        {FIRST: Encoded(small.codec, Spec(shape, torch.float32), small.parts, small.seed, small.size)}, schema=True
    )


def test_a_hostile_reply_is_that_clients_failure() -> None:
    rounds = Rounds()
    rounds.go()
    for what, change in REPLIES.items():
        rounds.between.up = change
        second = rounds.go()
        assert second.has_error(), what
        assert second.metadata.src_node_id == 2, what
        rounds.between.up = lambda reply: reply
        assert not rounds.go().has_error(), what


def test_odd_but_honest_replies_pass() -> None:
    rounds = Rounds()
    rounds.go()
    before = {name: array.numpy() for name, array in rounds.arrays.items()}
    rounds.between.up = lambda r: replace(r, scale=0.0)
    second = rounds.go()
    assert not second.has_error()
    rounds.between.up = lambda r: replace(r, frame=schema_of(zeros()), verbatim=frozenset())
    assert not rounds.go().has_error()
    assert before.keys() == SHAPES.keys()


def test_random_damage_of_replies_and_packages_stops_nothing() -> None:
    """Cuts and flips anywhere: refused on either side, or of no meaning."""
    rng = np.random.default_rng(5)

    def damaged(body: Package | Reply) -> bytes:
        raw = bytearray(body.dumps())
        if rng.random() < 0.3:
            return bytes(raw[: rng.integers(len(raw))])
        for _ in range(rng.integers(1, 4)):
            raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
        return bytes(raw)

    rounds = Rounds("auto")
    rounds.go()
    for number in range(24):
        rounds.between.up = damaged if number % 2 else lambda reply: reply
        rounds.between.down = lambda package: package if number % 2 else damaged(package)  # noqa: B023
        assert rounds.go().has_error()


def test_sequences_grow(client_app) -> None:
    """Messages are told apart for ever: a reply of an old round in answer to a new message is refused."""
    rounds, seen = Rounds(), []
    rounds.between.up = lambda r: seen.append(r) or r
    rounds.go()
    rounds.go()
    assert all(a.sequence < b.sequence for a, b in pairwise(seen))
    rounds.between.up = lambda r: seen[0]
    assert "in answer to message" in rounds.go().error.reason
