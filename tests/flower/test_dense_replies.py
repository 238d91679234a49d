"""Ordinary arrays from a hostile or odd peer: a reply that no strategy could average is that client's failure alone."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from random import Random

import numpy as np
import pytest
from conftest import SHAPES, train
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, FedMedian
from rounds import client, one_round

from thinwire.errors import WireError
from thinwire.flower import CompressedGrid, LocalGrid, compress_client, records
from thinwire.testing.npy import DESCRS, TEXTS, head, hostile_npy, npy
from thinwire.testing.npy import SHAPES as CLAIMS

EVIL = 2
SHAPE = SHAPES["out.weight"]
GOOD = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
BODY = GOOD.tobytes()


class Fleet:
    """Three nodes without thinwire, of which the second answers what ``behave`` makes of an honest reply."""

    def __init__(self, nodes: int = 3) -> None:
        self.behave: Callable[[RecordDict], None] = lambda content: None

        def answer(message: Message, context: Context) -> Message:
            reply = train(message, context)
            if context.node_id == EVIL:
                self.behave(reply.content)
            return reply

        self.local = LocalGrid(client(answer), nodes)
        self.grid = CompressedGrid(self.local)
        for node in self.local.get_node_ids():
            self.grid.nodes[node].plain = True
        self.start = ArrayRecord({name: Array(np.zeros(shape, np.float32)) for name, shape in SHAPES.items()})

    def ask(self, behave: Callable[[RecordDict], None]) -> list[Message]:
        self.behave = behave
        return one_round(self.grid, self.start)


def instead(array: Array, key: str = "out.weight") -> Callable[[RecordDict], None]:
    def behave(content: RecordDict) -> None:
        content["arrays"][key] = array

    return behave


def raw(data: bytes, dtype: str = "float32", shape: tuple[int, ...] = SHAPE, stype: str = "numpy.ndarray") -> Array:
    return Array(dtype, shape, stype, data)


def check(replies: list[Message], what: object = None) -> Message:
    """The law: honest replies pass, and the other is an error or averages like any other. Returns that one."""
    first, evil, last = replies
    assert not any(reply.has_error() for reply in (first, last)), what
    assert not evil.has_error() or "reply cannot be read" not in evil.error.reason, (what, evil.error.reason)
    contents = [[] if reply.has_error() else copied(reply) for reply in replies]
    for strategy in (FedAvg(), FedMedian()):
        arrays, _ = strategy.aggregate_train(1, replies)
        assert list(arrays) == list(SHAPES), what
        assert all(np.isfinite(array.numpy()).all() for array in arrays.values()), what
        for reply, content in zip(replies, contents, strict=True):
            for name, arrays in content:
                reply.content[name] = ArrayRecord(dict(arrays))  # strategies empty what they have read
    return evil


def copied(reply: Message) -> list[tuple[str, dict[str, Array]]]:
    return [(name, dict(record.items())) for name, record in reply.content.array_records.items()]


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet()


def read(array: Array) -> np.ndarray | None:
    """What the strategy gets of an array, or None where it is refused; with numpy's own parser, as strategies do."""
    try:
        arrays = records.read_untrusted({"arrays\x00x": array})
    except WireError:
        return None
    tensors = [x.numpy() for x in arrays.tensors.values()]
    if array.stype != "numpy.ndarray":
        return None
    got = next(iter(arrays.fresh.values()), array).numpy()
    assert all(np.array_equal(got, x, equal_nan=True) and got.dtype == x.dtype for x in tensors)
    return got


def test_headers_that_lie_or_break_parsers() -> None:
    """A WireError, or an array that numpy reads from what the strategy gets."""
    spelled, taken = repr(SHAPE), 0
    for text in [*(head(descr, spelled) for descr in DESCRS), *(head("'<f4'", claim) for claim in CLAIMS), *TEXTS]:
        for version in (b"\1\0", b"\2\0", b"\3\0", b"\7\0"):
            got = read(raw(npy(text, BODY, version)))
            assert got is None or got.nbytes == len(BODY), (text[:80], version)
            assert got is None or version != b"\7\0"
            taken += got is not None
    assert taken >= 3 * 5  # '<f4', '>f4', '|V4', '<U1' and a structure are honest, in three versions
    for text in (
        head("'<f4'", "(1000000000000,)"),
        head("('<f4', (2,))", "(48,)"),
        head("'|V0'", "(1000000000000,)"),
        TEXTS[6],
    ):
        assert read(raw(npy(text, BODY))) is None


def test_lies_of_every_kind_go_through_a_round(fleet: Fleet) -> None:
    texts = [
        head("'<f4'", "(1000000000000,)"),
        head("'<f4'", "(-1,)"),
        head("('<f4', (2,))", "(48,)"),
        head("'|O'", repr(SHAPE)),
    ]
    for text in [*texts, *TEXTS[4:9]]:
        assert check(fleet.ask(instead(raw(npy(text, BODY)))), text[:80]).has_error()


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        (BODY, True),
        (BODY[:-1], False),
        (BODY + b"\0", False),
        (b"", False),
        (BODY * 2, False),
        (b"\xff" * len(BODY), False),
    ],
)
def test_bodies(fleet: Fleet, body: bytes, taken: bool) -> None:
    evil = check(fleet.ask(instead(raw(npy(head("'<f4'", repr(SHAPE)), body)))))
    assert evil.has_error() is not taken


def test_odd_forms_of_right_arrays_reach_the_strategy_with_their_values(fleet: Fleet) -> None:
    odd = {
        "big-endian": raw(npy(head("'>f4'", repr(SHAPE)), GOOD.astype(">f4").tobytes()), ">f4"),
        "fortran": raw(npy(head("'<f4'", repr(SHAPE), "True"), GOOD.tobytes("F"))),
        "not padded": raw(npy(head("'<f4'", repr(SHAPE)), BODY)),
        "a comment that is no UTF-8": raw(npy(head("'<f4'", repr(SHAPE)).strip() + " # \xff\n", BODY, b"\3\0")),
        "keys in another order": raw(npy(f"{{'shape':{SHAPE},'fortran_order':False,'descr':'<f4'}}", BODY)),
        "a false dtype": raw(Array(GOOD).data, "int64"),
        "a false shape": raw(Array(GOOD).data, "float32", (10**12, 3)),
        "no label": raw(Array(GOOD).data, "", ()),
        "float64": Array(GOOD.astype(np.float64)),
        "float16": Array(GOOD.astype(np.float16)),
        "longdouble": Array(GOOD.astype(np.longdouble)),
    }
    for what, array in odd.items():
        evil = check(fleet.ask(instead(array)), what)
        assert not evil.has_error(), (what, evil.error.reason)
        got = evil.content["arrays"]["out.weight"]
        assert np.array_equal(got.numpy(), GOOD), what
        assert got.dtype in ("", str(got.numpy().dtype)), what
        assert got.shape in ((), SHAPE), what


REFUSED = {
    "text": (Array(np.full(SHAPE, "a")), "expected numbers"),
    "dates": (Array(np.zeros(SHAPE, "M8[s]")), "expected numbers"),
    "durations": (Array(np.zeros(SHAPE, "m8[s]")), "expected numbers"),
    "a structure": (Array(np.zeros(SHAPE, [("a", "<f4")])), "expected numbers"),
    "void": (Array(np.zeros(SHAPE, "V4")), "expected numbers"),
    "another serialization": (raw(BODY, stype="pickle"), "serialized as 'pickle'"),
    "our own, up": (raw(BODY, stype=records.UP), "serialized as"),
    "our own, down": (raw(BODY, stype=records.DOWN), "serialized as"),
    "our own state": (raw(BODY, stype=records.STATE), "serialized as"),
    "integers": (Array(np.ones(SHAPE, np.int64)), "other arrays"),
    "complex": (Array(GOOD.astype(np.complex64)), "other arrays"),
    "another shape": (Array(GOOD.reshape(24, 4)), "other arrays"),
    "a vector": (Array(GOOD.reshape(-1)), "other arrays"),
    "a number": (Array(np.array(3, np.float32)), "other arrays"),
    "nothing": (Array(np.zeros((0, 24), np.float32)), "other arrays"),
    "NaN": (Array(np.full(SHAPE, np.nan, np.float32)), "NaN or infinity"),
    "1e308 in float64": (Array(np.full(SHAPE, 1e308)), "the model's torch.float32"),
    "1e4000 in long double": (Array(np.full(SHAPE, np.longdouble("1e4000"))), "NaN or infinity"),
    "NaN in complex": (Array(np.full(SHAPE, np.nan, np.complex64)), "NaN or infinity"),
    "a zip": (raw(b"PK\3\4" + BODY), "numpy's format"),
    "a pickle": (raw(b"\x80\4]q\0."), "numpy's format"),
    "no bytes": (raw(b""), "numpy's format"),
}


def test_what_no_strategy_averages_is_refused_with_a_reason(fleet: Fleet) -> None:
    for what, (array, reason) in REFUSED.items():
        evil = check(fleet.ask(instead(array)), what)
        assert evil.has_error(), what
        assert reason in evil.error.reason, (what, evil.error.reason)


def test_a_lone_client_is_refused_where_no_strategy_could_go_on() -> None:
    for what in (
        "text",
        "dates",
        "a structure",
        "void",
        "another serialization",
        "our own state",
        "NaN",
        "a zip",
        "NaN in complex",
    ):
        alone = Fleet(2)
        alone.behave = instead(REFUSED[what][0])
        content = RecordDict({"arrays": alone.start, "config": ConfigRecord({"server-round": 1})})
        (reply,) = alone.grid.send_and_receive([Message(content, EVIL, "train")])
        assert reply.has_error(), what
        (later,) = alone.grid.pull_messages(alone.grid.push_messages([Message(content, EVIL, "train")]))
        assert later.has_error(), what


def test_records_that_are_missing_added_renamed_or_empty(fleet: Fleet) -> None:
    def remove(content: RecordDict) -> None:
        del content["arrays"]

    def empty(content: RecordDict) -> None:
        content["arrays"] = ArrayRecord({})

    def rename(content: RecordDict) -> None:
        content["params"] = content.pop("arrays")

    def twice(content: RecordDict) -> None:
        content["params"] = content["arrays"]

    def extra(content: RecordDict) -> None:
        content["arrays"]["more"] = Array(np.zeros(3, np.float32))

    def moved(content: RecordDict) -> None:
        content["params"] = ArrayRecord({"out.weight": content["arrays"].pop("out.weight")})

    for change in (remove, empty, rename, twice, extra, moved):
        evil = check(fleet.ask(change), change.__name__)
        assert evil.has_error(), change.__name__


def test_another_order_is_put_right(fleet: Fleet) -> None:
    """Some strategies go by places, not names."""

    def backwards(content: RecordDict) -> None:
        content["arrays"] = ArrayRecord(dict(reversed(list(content["arrays"].items()))))

    evil = check(fleet.ask(backwards))
    assert list(evil.content["arrays"]) == list(SHAPES)


def test_memory_follows_the_bytes_of_the_reply(fleet: Fleet) -> None:
    claims = [
        head("'<f4'", "(1000000000000,)"),
        head("('<f4', (1000000000,))", "(0,)"),
        head("'|V0'", "(1000000000000,)"),
    ]
    arrays = [raw(npy(text, BODY)) for text in claims] + [
        raw(npy("(" * 60000, BODY)),
        Array(np.zeros((1 << 20,), ">f8")),
    ]
    for array in arrays:
        content = records.arrays_of(RecordDict({"arrays": ArrayRecord({"out.weight": array})}))
        tracemalloc.start()
        with suppress(WireError):
            records.read_untrusted(content)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6 * len(array.data) + (1 << 20)


def test_an_app_without_thinwire_that_echoes_what_it_is_sent_is_named(caplog) -> None:
    def echo(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)

    grid = CompressedGrid(LocalGrid(client(echo), 2))
    start = ArrayRecord({name: Array(np.ones(shape, np.float32)) for name, shape in SHAPES.items()})
    for reply in one_round(grid, start):
        assert np.array_equal(reply.content["arrays"]["out.weight"].numpy(), np.ones(SHAPE, np.float32))
    assert caplog.text.count("runs without thinwire") == 2


def test_what_travels_beside_a_compressed_update_is_checked_like_the_rest() -> None:
    """Arrays that no frame carries: garbage, NaN and other kinds among them are that client's failure."""
    z = np.array([1 + 2j, 3j], np.complex64)

    def honest(message: Message, context: Context) -> Message:
        arrays = ArrayRecord({"w": Array(message.content["arrays"]["w"].numpy() + 1), "z": Array(z)})
        return Message(RecordDict({"arrays": arrays, "m": MetricRecord({"num-examples": 1})}), reply_to=message)

    app = compress_client(client(honest))
    beside: list[Array] = []

    class Hostile(ClientApp):
        def __call__(self, message: Message, context: Context) -> Message:
            reply = app(message, context)
            if context.node_id == EVIL and beside:
                reply.content["arrays"]["z"] = beside[0]
            return reply

    grid = CompressedGrid(LocalGrid(Hostile(), 3))
    start = ArrayRecord({"w": Array(np.zeros((40, 50), np.float32)), "z": Array(z)})
    garbage = Array("complex64", (2,), "numpy.ndarray", b"garbage")
    cases = [
        garbage,
        Array(z * np.nan),
        Array(np.zeros(2, np.float32)),
        Array(np.zeros(3, np.complex64)),
        raw(b"", stype="x"),
    ]
    for number, array in enumerate([None, *cases], 1):
        beside[:] = [] if array is None else [array]
        replies = one_round(grid, start, number)
        assert [reply.has_error() for reply in replies] == [False, array is not None, False], number
        aggregated, _ = FedAvg().aggregate_train(1, replies)
        assert np.allclose(aggregated["z"].numpy(), z)


def test_dense_and_compressed_replies_to_one_message_agree() -> None:
    """What travels beside our frames (9 dimensions) is to a strategy what a client without thinwire sends."""
    shape = (1, 2, 1, 2, 1, 1, 1, 1, 2)

    def add(message: Message, context: Context) -> Message:
        arrays = message.content["arrays"]
        if "w" not in arrays:
            raise KeyError("w")
        out = ArrayRecord({name: Array(arrays[name].numpy() + 1) for name in arrays})
        return Message(RecordDict({"arrays": out, "m": MetricRecord({"num-examples": 1})}), reply_to=message)

    ours, stock = compress_client(client(add)), client(add)

    class Mixed(ClientApp):
        def __call__(self, message: Message, context: Context) -> Message:
            return (stock if context.node_id == EVIL else ours)(message, context)

    for nodes in (2, 3):
        grid = CompressedGrid(LocalGrid(Mixed(), nodes))
        start = ArrayRecord({"w": Array(np.zeros((40, 50), np.float32)), "deep": Array(np.zeros(shape, np.float32))})
        for number in (1, 2):
            replies = one_round(grid, start, number)
            assert not [reply.error.reason for reply in replies if reply.has_error()]


def test_a_reply_in_anothers_name_takes_nothing_from_it(initial_arrays) -> None:
    """A node that answers the message of another fails by itself."""
    seen: dict[int, Message] = {}

    def train_and_tell(message: Message, context: Context) -> Message:
        seen[context.node_id] = message
        reply = train(message, context)
        if context.node_id == EVIL:
            reply.metadata.__dict__["_reply_to_message_id"] = seen[1].metadata.message_id
        return reply

    grid = CompressedGrid(LocalGrid(compress_client(client(train_and_tell)), 3))
    replies = one_round(grid, initial_arrays)
    assert {reply.metadata.src_node_id for reply in replies if not reply.has_error()} == {1, 3}


def test_random_lies() -> None:
    rng, taken = Random(7), 0
    for _ in range(3000):
        x = rng.choice((np.zeros((3, 5), np.float32), np.ones((3, 5), np.int64), np.ones(4, ">f8")))
        taken += (
            read(raw(hostile_npy(rng, x), rng.choice(("float32", "", "int64")), rng.choice((x.shape, (), (7,)))))
            is not None
        )
    assert 150 < taken < 1500


def test_integers_of_another_number_are_refused_but_bytes_may_grow() -> None:
    """Tree ensembles are bytes, of as many as each client has trees; counters and masks are not."""
    lengths = {1: 4, EVIL: 6, 3: 4}

    def answer(message: Message, context: Context) -> Message:
        length = lengths[context.node_id]
        arrays = ArrayRecord(
            {name: Array(np.ones(length, array.dtype)) for name, array in message.content["arrays"].items()}
        )
        return Message(RecordDict({"arrays": arrays, "m": MetricRecord({"num-examples": 1})}), reply_to=message)

    for dtype, given, refused in (
        ("int64", 4, True),
        ("int8", 4, True),
        ("uint8", 4, True),  # most answer with as many as they were sent: a mask
        ("uint8", 9, False),
        ("uint8", 0, False),
    ):
        for plain, app in ((True, client(answer)), (False, compress_client(client(answer)))):
            grid = CompressedGrid(LocalGrid(app, 3))
            for node in lengths:
                grid.nodes[node].plain = plain
            replies = one_round(grid, ArrayRecord({"x": Array(np.zeros(given, dtype))}))
            assert {r.metadata.src_node_id for r in replies if r.has_error()} == ({EVIL} if refused else set()), (
                dtype,
                given,
            )
