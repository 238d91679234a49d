"""Compression inside real Flower runs: strategies unchanged, bytes counted, contents kept."""

from __future__ import annotations

import numpy as np
import pytest
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
from rounds import client, one_round

from thinwire.flower import CompressedGrid, LocalGrid, compress_client, compress_server, records

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


def test_a_model_already_held_is_not_sent_again(run_strategy, client_app) -> None:
    grid, _ = run_strategy(FedAvg(), 3, 3, compress_client(client_app), compress_server)
    sent = {(t.round, t.message_type): t.engine_bytes for t in grid.traffic if t.direction == "down"}
    assert sent[(2, "train")] < sent[(2, "evaluate")] - 200  # evaluate(1) brought the model that train(2) needs


def test_a_client_with_the_mod_serves_a_stock_server(run_strategy, client_app) -> None:
    _, stock = run_strategy(FedAvg(), 3, 2)
    _, ours = run_strategy(FedAvg(), 3, 2, compress_client(client_app))
    assert all(np.array_equal(stock.arrays[k].numpy(), ours.arrays[k].numpy()) for k in stock.arrays)


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
            sizes.extend(len(records.carried(m.content, records.DOWN)) for m in messages)
            return super().push_messages(messages)

    grid = CompressedGrid(Weighed(compress_client(client_app), 2))
    one_round(grid, initial_arrays)
    assert [t.payload_bytes for t in grid.ledger if t.direction == "down"] == sizes


def test_each_model_is_encoded_once_not_per_client(client_app, initial_arrays, monkeypatch) -> None:
    from thinwire.flower import references

    count = []
    encode = references.References._made
    monkeypatch.setattr(references.References, "_made", lambda *args: count.append(1) or encode(*args))
    grid = CompressedGrid(LocalGrid(compress_client(client_app), 8))
    FedAvg().start(grid, initial_arrays, num_rounds=3)
    assert len(count) == 4  # the first model, and one after each round


def test_unreadable_descriptions_are_refused_at_once(client_app) -> None:
    from flwr.serverapp import ServerApp

    with pytest.raises(ValueError, match="Did you mean 'Uniform'"):
        compress_server(ServerApp(), uplink="Unifrom(8)")
    with pytest.raises(ValueError, match="density"):
        compress_server(ServerApp(), uplink="TopK(2)")
