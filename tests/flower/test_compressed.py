"""Compression inside real Flower runs: strategies, references, residuals and failures."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import evaluate, train
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedYogi,
    Krum,
)

from thinwire.flower import CompressedGrid, LocalGrid, carrier, compress_client, compress_server, state
from thinwire.flower.package import Reply
from thinwire.wire import decode_message, loads

STRATEGIES = {
    "FedAvg": FedAvg,
    "FedAvgM": lambda: FedAvgM(server_momentum=0.5),
    "FedAdam": FedAdam,
    "FedYogi": FedYogi,
    "FedMedian": FedMedian,
    "Krum": Krum,
    "FedProx": lambda: FedProx(proximal_mu=0.1),
    "DP, server side": lambda: DifferentialPrivacyServerSideFixedClipping(FedAvg(), 0.0, 100.0, 5),
    "DP, client side": lambda: DifferentialPrivacyClientSideFixedClipping(FedAvg(), 0.0, 100.0, 5),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_run_unchanged(name: str, run_strategy, client_app: ClientApp) -> None:
    app = ClientApp(mods=[fixedclipping_mod]) if name == "DP, client side" else client_app
    if app is not client_app:
        app.train()(train)
        app.evaluate()(evaluate)
    _, stock = run_strategy(STRATEGIES[name](), nodes=5, rounds=3, app=app)
    _, ours = run_strategy(
        STRATEGIES[name](), 5, 3, compress_client(app), lambda s: compress_server(s, "Step(nmse=0.01)")
    )
    assert list(ours.arrays) == list(stock.arrays)
    for key in stock.arrays:
        expected, got = stock.arrays[key].numpy(), ours.arrays[key].numpy()
        assert np.abs(got - expected).max() < 0.2 * np.abs(expected).max() + 1e-3


class Watched(CompressedGrid):
    """After every send: the model that each answering node holds, by its own state, beside what the server thinks."""

    def __init__(self, grid: LocalGrid, *args, **kwargs) -> None:
        super().__init__(grid, *args, **kwargs)
        self.local, self.checked = grid, 0

    def send_and_receive(self, messages, *, timeout=None):
        replies = list(super().send_and_receive(messages, timeout=timeout))
        for reply in replies:
            node = reply.metadata.src_node_id
            if reply.has_error():
                continue
            shelf = state.load(self.local.context(node)).shelf
            believed = self.nodes[node].held
            assert shelf.current.id == believed.current
            assert believed.keyframe is None or shelf.keyframe.id == believed.keyframe
            self.checked += 1
        return replies


@pytest.mark.parametrize(("fraction", "lossy"), [(1.0, False), (0.3, False), (0.3, True)])
def test_references_stay_identical(fraction, lossy, client_app, initial_arrays) -> None:
    rng = np.random.default_rng(3)

    def drop(message: Message) -> bool:
        return lossy and rng.random() < 0.3

    grid = LocalGrid(compress_client(client_app), 10, drop=drop)
    watched = Watched(grid, downlink="ErrorBound(nmse=0.1)", keyframe_every=3)
    FedAvg(fraction_train=fraction, fraction_evaluate=0.3).start(watched, initial_arrays, num_rounds=12, timeout=1)
    assert watched.checked >= (12 if lossy else 30)


def test_a_model_already_held_is_not_sent_again(run_strategy, client_app) -> None:
    grid, _ = run_strategy(FedAvg(), 3, 3, compress_client(client_app), compress_server)
    sent = {(t.round, t.message_type): t.engine_bytes for t in grid.traffic if t.direction == "down"}
    assert sent[(2, "train")] < sent[(2, "evaluate")] - 200  # evaluate(1) brought the model that train(2) needs


def one_round(grid, arrays: ArrayRecord, round_: int = 1) -> list[Message]:
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": round_})})
    return list(grid.send_and_receive([Message(content, node, "train") for node in grid.get_node_ids()]))


def client(behave: Callable[[Message, Context], Message]) -> ClientApp:
    app = ClientApp()
    app.train()(behave)
    return app


def spoiled(change: Callable[[dict], None], at: int = 1):
    """A client whose partition ``at`` changes its answer."""

    def behave(message: Message, context: Context) -> Message:
        reply = train(message, context)
        if context.node_config["partition-id"] == at:
            arrays = dict(reply.content["arrays"].items())
            change(arrays)
            reply.content["arrays"] = ArrayRecord(arrays)
        return reply

    return client(behave)


BAD_ANSWERS = {
    "NaN": (lambda a: a.update({"out.weight": Array(np.full((4, 24), np.nan, np.float32))}), "NaN"),
    "another shape": (lambda a: a.update({"out.weight": Array(np.zeros((4, 25), np.float32))}), "other arrays"),
    "a missing array": (lambda a: a.pop("out.weight"), "other arrays"),
    "an extra array": (lambda a: a.update({"more": Array(np.zeros(3, np.float32))}), "other arrays"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_bad_answer_is_that_clients_failure(name: str, initial_arrays) -> None:
    change, reason = BAD_ANSWERS[name]
    grid = CompressedGrid(LocalGrid(compress_client(spoiled(change)), 3))
    replies = one_round(grid, initial_arrays)
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert reason in replies[1].error.reason
    assert [t.kind for t in grid.ledger if t.direction == "up"] == ["update", "refused", "update"]


def tampering(change: Callable[[bytes], bytes]):
    """A client that sends ``change`` of the bytes that an honest one would send: what an attacker can do."""
    honest = compress_client(client(train))

    class Hostile(ClientApp):
        def __call__(self, message: Message, context: Context) -> Message:
            reply = honest(message, context)
            if context.node_config["partition-id"] == 1:
                data = carrier.carried_anywhere(reply.content, carrier.UP)[1]
                reply.content["arrays"] = carrier.carry(change(data), carrier.UP)
            return reply

    return Hostile()


def infinite(data: bytes) -> bytes:
    reply = Reply.loads(data)
    from thinwire import Raw, dumps, encode

    bad = {n: encode(Raw(), torch.full(s, float("inf"))) for n, s in NAMED.items()}
    return Reply(dumps(bad), reply.round, 0, 0, 0).dumps()


NAMED = {
    carrier.full_name("arrays", n): s
    for n, s in {"hidden.weight": (24, 16), "hidden.bias": (24,), "out.weight": (4, 24)}.items()
}

ATTACKS = {
    "random bytes": lambda data: b"\x00" * 100,
    "cut short": lambda data: data[:-5],
    "a flipped bit": lambda data: data[:60] + bytes([data[60] ^ 4]) + data[61:],
    "another round": lambda data: Reply(Reply.loads(data).frame, 99, 0, 0, 0).dumps(),
    "infinite values": infinite,
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_answer_is_refused_and_the_round_goes_on(name: str, initial_arrays) -> None:
    grid = CompressedGrid(LocalGrid(tampering(ATTACKS[name]), 3))
    replies = one_round(grid, initial_arrays)
    assert [reply.has_error() for reply in replies] == [False, True, False]
    result = FedAvg().aggregate_train(1, replies)
    assert all(np.isfinite(array.numpy()).all() for array in result[0].values())


def usual(message: Message, context: Context) -> Message:
    """Read the model as Flower's examples do, so that an unknown serialization is named in the error."""
    message.content["arrays"].to_numpy_ndarrays()
    return train(message, context)


@pytest.mark.parametrize(("behave", "lost_rounds"), [(usual, 1), (train, 2)])
def test_clients_without_the_mod_are_detected_and_said(behave, lost_rounds, initial_arrays, caplog) -> None:
    grid = CompressedGrid(LocalGrid(client(behave), 3))
    with caplog.at_level(logging.WARNING, logger="thinwire"):
        for round_ in range(1, lost_rounds + 1):
            assert all(reply.has_error() for reply in one_round(grid, initial_arrays, round_))
    assert caplog.text.count("runs without thinwire") == 3
    assert "compress_client" in caplog.text
    assert not any(reply.has_error() for reply in one_round(grid, initial_arrays, 9))


def test_dense_answers_are_checked_too(initial_arrays) -> None:
    bad = spoiled(lambda a: a.update({"out.weight": Array(np.full((4, 24), np.inf, np.float32))}))
    grid = CompressedGrid(LocalGrid(bad, 3))
    for round_ in (1, 2):
        one_round(grid, initial_arrays, round_)
    assert [reply.has_error() for reply in one_round(grid, initial_arrays, 3)] == [False, True, False]


def test_a_mixed_fleet_works(initial_arrays) -> None:
    ours, stock = compress_client(client(usual)), client(usual)

    class Mixed(ClientApp):
        def __call__(self, message: Message, context: Context) -> Message:
            return (ours if context.node_config["partition-id"] else stock)(message, context)

    grid = CompressedGrid(LocalGrid(Mixed(), 3))
    assert [reply.has_error() for reply in one_round(grid, initial_arrays)] == [True, False, False]
    assert not any(reply.has_error() for reply in one_round(grid, initial_arrays, 2))
    assert [t.kind for t in grid.ledger if t.node_id == 1] == ["delta", "refused", "dense", "dense"]


def test_a_client_with_the_mod_serves_a_stock_server(run_strategy, client_app) -> None:
    _, stock = run_strategy(FedAvg(), 3, 2)
    _, ours = run_strategy(FedAvg(), 3, 2, compress_client(client_app))
    assert all(np.array_equal(stock.arrays[k].numpy(), ours.arrays[k].numpy()) for k in stock.arrays)


def test_a_node_that_lost_its_state_is_brought_back(client_app, initial_arrays) -> None:
    local = LocalGrid(compress_client(client_app), 2)
    grid = CompressedGrid(local)
    one_round(grid, initial_arrays)
    fresh = LocalGrid(compress_client(client_app), 2)
    local._contexts[1] = fresh._contexts[1]
    replies = one_round(grid, initial_arrays, 2)
    assert [reply.has_error() for reply in replies] == [True, False]
    assert not any(reply.has_error() for reply in one_round(grid, initial_arrays, 3))


def test_residuals_count_only_once_the_server_accepted(initial_arrays) -> None:
    """Per client: everything it ever wanted to send in accepted rounds == what the server got + the residual."""
    lost = {2, 5}
    seen: list[dict] = []

    def drop(message: Message) -> bool:
        return message.metadata.reply_to_message_id != "" and round_ in lost

    grid = CompressedGrid(
        Recording(LocalGrid(compress_client(client(train)), 1, drop=drop), seen), "Fixed(Step(nmse=0.4), below=200)"
    )
    arrays = initial_arrays
    for round_ in range(1, 8):
        one_round(grid, arrays, round_)
        now = state.load(grid._grid.inner.context(1))
        assert now.pending_round == round_
    settled = now.settled(accepted=7).committed
    assert settled.keys() == {"residual/" + carrier.full_name("arrays", "hidden.weight")}
    total = sum(decoded["hidden.weight"] for decoded in seen)
    wanted = sum(given["hidden.weight"] for given in wanted_updates(lost))
    name = "residual/" + carrier.full_name("arrays", "hidden.weight")
    assert torch.allclose(total + settled[name], wanted, atol=1e-4)


class Recording:
    """Passes everything on and keeps the decoded updates that arrived."""

    def __init__(self, inner: LocalGrid, seen: list[dict]) -> None:
        self.inner, self.seen = inner, seen

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def send_and_receive(self, messages, *, timeout=None):
        replies = self.inner.send_and_receive(messages, timeout=timeout)
        for reply in replies:
            frame = Reply.loads(carrier.carried_anywhere(reply.content, carrier.UP)[1]).frame
            from thinwire import Spec

            decoded = decode_message(loads(frame, {n: Spec(s, torch.float32) for n, s in NAMED.items()}))
            self.seen.append({carrier.short(n): x for n, x in decoded.items()})
        return replies


def wanted_updates(lost: set[int]) -> list[dict]:
    """The model never moves, so every round's update is half of the way from what the client was sent to its target."""
    from conftest import target

    goal = torch.from_numpy(target(0)["hidden.weight"])
    return [{"hidden.weight": goal / 2} for round_ in range(1, 8) if round_ not in lost]


def test_push_and_pull_work_like_send_and_receive(client_app, initial_arrays) -> None:
    grid = CompressedGrid(LocalGrid(compress_client(client_app), 2))
    content = RecordDict({"arrays": initial_arrays, "config": ConfigRecord({"server-round": 1})})
    ids = list(grid.push_messages([Message(content, node, "train") for node in grid.get_node_ids()]))
    replies = list(grid.pull_messages(ids))
    assert [list(reply.content["arrays"]) for reply in replies] == [list(initial_arrays)] * 2
    assert not grid._waiting


def test_the_strategys_own_message_is_not_changed(client_app, initial_arrays) -> None:
    grid = CompressedGrid(LocalGrid(compress_client(client_app), 2))
    content = RecordDict({"arrays": initial_arrays, "config": ConfigRecord({"server-round": 1})})
    before = {name: array.data for name, array in initial_arrays.items()}
    list(grid.send_and_receive([Message(content, node, "train") for node in grid.get_node_ids()]))
    assert {name: array.data for name, array in content["arrays"].items()} == before


def test_integers_float64_and_odd_names_survive(initial_arrays) -> None:
    shapes = {
        "a/b\u00e9": np.arange(6, dtype=np.int64),
        "x": np.ones((40, 40), np.float64),
        "flag": np.array([True, False]),
    }

    def behave(message: Message, context: Context) -> Message:
        arrays = {k: v.numpy() for k, v in message.content["arrays"].items()}
        assert {k: v.dtype for k, v in arrays.items()} == {k: v.dtype for k, v in shapes.items()}
        arrays = {"a/b\u00e9": arrays["a/b\u00e9"] + 7, "x": arrays["x"] * 2, "flag": ~arrays["flag"]}
        out = ArrayRecord({k: Array(v) for k, v in arrays.items()})
        return Message(RecordDict({"arrays": out, "m": MetricRecord({"num-examples": 1})}), reply_to=message)

    grid = CompressedGrid(LocalGrid(compress_client(client(behave)), 1), "Step(nmse=0.001)")
    (reply,) = one_round(grid, ArrayRecord({k: Array(v) for k, v in shapes.items()}))
    got = {k: v.numpy() for k, v in reply.content["arrays"].items()}
    assert np.array_equal(got["a/b\u00e9"], np.arange(6) + 7)
    assert np.array_equal(got["flag"], [False, True])
    assert got["x"].dtype == np.float64
    assert np.allclose(got["x"], 2, atol=0.4)


def test_messages_without_arrays_pass_through(client_app) -> None:
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return Message(RecordDict({"m": MetricRecord({"answer": 42})}), reply_to=message)

    grid = CompressedGrid(LocalGrid(compress_client(app), 1))
    (reply,) = grid.send_and_receive([Message(RecordDict({"c": ConfigRecord({"q": 1})}), 1, "query")])
    assert reply.content["m"]["answer"] == 42
    assert grid.ledger == []


def test_bytes_are_those_of_the_frames(client_app, initial_arrays) -> None:
    sizes: list[int] = []

    class Weighed(LocalGrid):
        def push_messages(self, messages):
            messages = list(messages)
            sizes.extend(len(carrier.carried_anywhere(m.content, carrier.DOWN)[1]) for m in messages)
            return super().push_messages(messages)

    grid = CompressedGrid(Weighed(compress_client(client_app), 2))
    one_round(grid, initial_arrays)
    assert [t.payload_bytes for t in grid.ledger if t.direction == "down"] == sizes


def test_each_model_is_encoded_once_not_per_client(client_app, initial_arrays, monkeypatch) -> None:
    from thinwire.flower import references

    count = []
    encode = references.Publisher._delta
    monkeypatch.setattr(references.Publisher, "_delta", lambda *args: count.append(1) or encode(*args))
    grid = CompressedGrid(LocalGrid(compress_client(client_app), 8))
    FedAvg().start(grid, initial_arrays, num_rounds=3)
    assert len(count) == 4  # the first model, and one after each round


def test_unreadable_descriptions_are_refused_at_once(client_app) -> None:
    from flwr.serverapp import ServerApp

    with pytest.raises(ValueError, match="Did you mean 'Uniform'"):
        compress_server(ServerApp(), uplink="Unifrom(8)")
    with pytest.raises(ValueError, match="density"):
        compress_server(ServerApp(), uplink="TopK(2)")


def test_a_hostile_server_cannot_make_a_client_allocate(client_app, initial_arrays) -> None:
    from thinwire.wire import Limits

    grid = CompressedGrid(LocalGrid(compress_client(client_app, Limits(decoded_bytes=100)), 1))
    (reply,) = one_round(grid, initial_arrays)
    assert "100 bytes" in reply.error.reason
