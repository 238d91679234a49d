"""Each way to put thinwire in wrongly, and each failure of a client's own, is said as what it is."""

from __future__ import annotations

import copy
import logging

import pytest
from conftest import evaluate, train
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping, FedAvg
from rounds import client, one_round

from thinwire.flower import (
    CompressedGrid,
    LocalGrid,
    compress_client,
    compress_server,
    compression_mod,
    records,
    run_local,
)
from thinwire.flower.protocol import VERSION


def out_of_memory(message: Message, context: Context) -> Message:
    raise MemoryError("the model does not fit")


def test_a_client_whose_own_code_raises_stays_compressed_and_its_error_is_logged(initial_arrays, caplog) -> None:
    behave = [out_of_memory]
    grid = CompressedGrid(LocalGrid(compress_client(client(lambda m, c: behave[0](m, c))), 2))
    with caplog.at_level(logging.WARNING, logger="thinwire"):
        for round_ in (1, 2, 3):
            assert all("the model does not fit" in r.error.reason for r in one_round(grid, initial_arrays, round_))
    assert "the app raised MemoryError: the model does not fit" in caplog.text
    assert "without" not in caplog.text
    behave[0] = train
    assert not any(reply.has_error() for reply in one_round(grid, initial_arrays, 4))
    assert grid.ledger[-1].kind == "update"
    assert not any(node.plain for node in grid.nodes.by_id.values())


def test_an_error_of_an_unwrapped_client_that_fails_on_dense_arrays_too_is_its_own(initial_arrays, caplog) -> None:
    grid = CompressedGrid(LocalGrid(client(out_of_memory), 1))
    with caplog.at_level(logging.WARNING, logger="thinwire"):
        (reply,) = one_round(grid, initial_arrays)
    assert "does not fit" in reply.error.reason
    assert not grid.nodes[1].plain


def test_a_mod_in_front_of_ours_is_named(initial_arrays, caplog) -> None:
    app = ClientApp(mods=[fixedclipping_mod, compression_mod])
    app.train()(train)
    grid = CompressedGrid(LocalGrid(app, 2))
    strategy = DifferentialPrivacyClientSideFixedClipping(FedAvg(fraction_evaluate=0.0), 0.0, 100.0, 2)
    with caplog.at_level(logging.WARNING, logger="thinwire"):
        result = strategy.start(grid, initial_arrays, num_rounds=2)
    assert "another mod in front of thinwire's" in caplog.text
    assert "compression_mod first" in caplog.text
    assert len(result.train_metrics_clientapp) == 2  # the round goes on, dense


def test_functions_may_be_registered_after_wrapping(initial_arrays) -> None:
    app = compress_client(ClientApp())
    app.train()(train)
    app.evaluate()(evaluate)
    server, ran = compress_server(ServerApp()), []

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        ran.append(FedAvg().start(grid, initial_arrays, num_rounds=1))

    run_local(server, app, 2)
    assert ran[0].train_metrics_clientapp


def test_wrapping_twice_or_the_wrong_thing_is_refused() -> None:
    app, server = compress_client(ClientApp()), compress_server(ServerApp())
    with pytest.raises(ValueError, match="compressed already"):
        compress_client(app)
    with pytest.raises(ValueError, match="compressed already"):
        compress_server(server)
    with pytest.raises(TypeError, match="ClientApp goes to compress_client"):
        compress_server(ClientApp())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="ServerApp goes to compress_server"):
        compress_client(ServerApp())  # type: ignore[arg-type]
    grid = CompressedGrid(LocalGrid(ClientApp(), 1))
    with pytest.raises(ValueError, match="compresses already"):
        CompressedGrid(grid)


def test_another_version_at_the_other_end_is_said_and_the_round_goes_on(initial_arrays, caplog) -> None:
    """A node of another version sees our version in the package, as ours would see that of the other."""
    ours = compress_client(client(train))

    class Other(ClientApp):
        def __call__(self, message: Message, context: Context) -> Message:
            data = records.carried(message.content, records.DOWN)
            if data is not None:
                changed = data[:4] + bytes([VERSION + 1]) + data[5:]
                message.content = records.with_data(message.content, changed, records.DOWN, {})
            return ours(message, context)

    grid = CompressedGrid(LocalGrid(Other(), 1))
    with caplog.at_level(logging.WARNING, logger="thinwire"):
        for round_ in (1, 2):
            assert not any(reply.has_error() for reply in one_round(grid, initial_arrays, round_))
    assert caplog.text.count("runs another version of thinwire") == 1
    assert f"version {VERSION + 1}" in caplog.text
    assert "install the same version" in caplog.text


def test_a_run_in_which_every_client_failed_ends_with_an_error(initial_arrays) -> None:
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        FedAvg().start(grid, initial_arrays, num_rounds=2)

    with pytest.raises(RuntimeError, match=r"every client failed in every round.*does not fit"):
        run_local(compress_server(server), compress_client(client(out_of_memory)), 2)


def test_a_ledger_that_cannot_be_written_is_an_error_before_the_training(initial_arrays) -> None:
    server, ran = ServerApp(), []
    server.main()(lambda grid, context: ran.append(grid))
    with pytest.raises(OSError, match="nowhere"):
        run_local(compress_server(server, ledger="/nowhere/at/all/ledger.json"), ClientApp(), 1)
    assert not ran


def test_a_compressed_grid_can_be_copied() -> None:
    grid = CompressedGrid(LocalGrid(ClientApp(), 1))
    assert copy.copy(grid).get_node_ids() == [1]


def test_rounds_are_counted_by_what_messages_say_or_by_who_trains_again(initial_arrays) -> None:
    app = ClientApp()
    app.train("step")(train)
    grid = CompressedGrid(LocalGrid(compress_client(app), 2))
    for _ in range(3):
        for node in (1, 2):
            content = records.RecordDict({"arrays": initial_arrays})
            list(grid.send_and_receive([Message(content, node, "train.step")]))
    assert grid._rounds.number == 3
    assert [t.round for t in grid.ledger if t.direction == "up"] == [1, 1, 2, 2, 3, 3]


def test_a_line_a_round_and_a_summary(initial_arrays, caplog) -> None:
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        FedAvg().start(grid, initial_arrays, num_rounds=2)

    app = client(train)
    app.evaluate()(evaluate)
    with caplog.at_level(logging.INFO, logger="thinwire"):
        run_local(compress_server(server), compress_client(app), 2)
    lines = [record.message for record in caplog.records if record.message.startswith("thinwire")]
    assert [line.split(":")[0] for line in lines] == ["thinwire round 1", "thinwire round 2", "thinwire, the whole run"]
    assert all("fewer than dense" in line and "NMSE" in line for line in lines)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="thinwire"):
        run_local(compress_server(server), app, 2)
    assert "nothing of this run was compressed" in caplog.text


def test_bytes_in_configs_are_in_the_ledger_as_not_compressed(caplog) -> None:
    """Boosted trees and masked updates travel so: no array, and nothing of it is compressed."""

    def behave(message: Message, context: Context) -> Message:
        model = ConfigRecord({"model": b"tree" * 500, "parts": [b"a" * 300, b"b" * 300], "key": b"nonce", "lr": 0.1})
        return Message(RecordDict({"model": model, "metrics": MetricRecord({"n": 1})}), reply_to=message)

    grid = CompressedGrid(LocalGrid(compress_client(client(behave)), 2))
    content = RecordDict({"config": ConfigRecord({"server-round": 1, "model": b"trees" * 100})})
    with caplog.at_level("INFO", "thinwire"):
        list(grid.send_and_receive([Message(content, node, "train") for node in (1, 2)]))
        grid.finish()
    sizes = [(t.direction, t.kind, t.record, t.payload_bytes, t.dense_bytes, t.not_compressed) for t in grid.ledger]
    assert (
        sizes == [("down", "opaque", "config", 500, 500, 500)] * 2 + [("up", "opaque", "model", 2605, 2605, 2605)] * 2
    )
    assert "nothing of this run was compressed" in caplog.text
