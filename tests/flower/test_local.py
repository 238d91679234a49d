"""LocalGrid is a true Flower engine: real strategies, true bytes, nothing shared, nothing hidden."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedMedian, FedTrimmedAvg, FedYogi, Krum

from thinwire.flower.local import LocalGrid, quiet_flwr


def trains(grid: LocalGrid, content: RecordDict) -> list[Message]:
    return [Message(content, node_id, "train") for node_id in grid.get_node_ids()]


def nested(item) -> dict[str, bytes]:
    """All objects of a message by flwr's own methods, walked by this test."""
    found = {item.object_id: item.deflate()}
    for child in (item.children or {}).values():
        found |= nested(child)
    return found


def is_reply(message: Message) -> bool:
    return message.metadata.reply_to_message_id != ""


@pytest.fixture
def content(initial_arrays: ArrayRecord) -> RecordDict:
    return RecordDict({"arrays": initial_arrays, "config": ConfigRecord({"server-round": 7})})


@pytest.mark.parametrize("strategy", [FedAvg, FedAdam, FedAvgM, FedMedian, FedTrimmedAvg, FedYogi, Krum])
def test_real_strategies_learn(strategy, run_strategy) -> None:
    grid, result = run_strategy(strategy(), nodes=5, rounds=3)
    distances = [metrics["distance"] for _, metrics in sorted(result.evaluate_metrics_clientapp.items())]
    assert distances[-1] < distances[0]
    assert len(grid.traffic) == 2 * 2 * 5 * 3  # down and up, train and evaluate, nodes, rounds


def test_bytes_are_those_of_all_serialized_objects(client_app: ClientApp, content: RecordDict) -> None:
    grid = LocalGrid(client_app, 2)
    messages = trains(grid, content)
    replies = grid.send_and_receive(messages)
    for message, moved in zip(messages + replies, sorted(grid.traffic, key=lambda t: t.direction), strict=True):
        objects = nested(message)
        assert (moved.engine_bytes, moved.objects) == (sum(map(len, objects.values())), len(objects))


def test_traffic_says_what_moved(client_app: ClientApp, content: RecordDict) -> None:
    grid = LocalGrid(client_app, 1)
    grid.send_and_receive(trains(grid, content))
    down, up = grid.traffic
    assert (down.direction, up.direction) == ("down", "up")
    assert {(t.message_type, t.node_id, t.round) for t in (down, up)} == {("train", 1, 7)}
    dense_bytes = sum(array.numpy().nbytes for array in content["arrays"].values())
    assert dense_bytes < min(down.engine_bytes, up.engine_bytes) < 2 * dense_bytes + 4096


def test_without_server_round_sends_are_counted(client_app: ClientApp, initial_arrays: ArrayRecord) -> None:
    grid, content = LocalGrid(client_app, 1), RecordDict({"arrays": initial_arrays})
    grid.send_and_receive(trains(grid, content))
    grid.send_and_receive([])
    grid.send_and_receive(trains(grid, content))
    assert [moved.round for moved in grid.traffic] == [1, 1, 2, 2]


def test_state_survives_and_is_each_nodes_own(client_app: ClientApp, content: RecordDict) -> None:
    grid = LocalGrid(client_app, 2)
    for _ in range(3):
        grid.send_and_receive(trains(grid, content)[:1])
    grid.context(1).state.clear()  # a copy: the node does not notice
    assert grid.context(1).state["seen"]["count"] == 3
    assert "seen" not in grid.context(2).state


def test_config_reaches_the_client(client_app: ClientApp) -> None:
    grid = LocalGrid(client_app, [{"site": "north"}, {"site": "south"}], {"lr": 0.5, "fast": True})
    assert [grid.context(node).node_config["site"] for node in grid.get_node_ids()] == ["north", "south"]
    assert grid.context(2).run_config == {"lr": 0.5, "fast": True}
    assert LocalGrid(client_app, 2).context(2).node_config == {"partition-id": 1, "num-partitions": 2}


def failing_app(fault: str = "raise") -> ClientApp:
    """Counts in its state, then fails on node 2."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        count = context.state.setdefault("seen", MetricRecord({"count": 0}))
        count["count"] += 1
        if context.node_id == 2 and fault == "raise":
            raise OSError("the scanner is on fire")
        if context.node_id == 2 and fault == "state":
            context.state["big"] = ConfigRecord({"number": 2**80})
        if context.node_id == 2 and fault == "nothing":
            return None
        return Message(RecordDict(), reply_to=message)

    return app


def test_a_client_that_raises_answers_with_an_error_and_keeps_its_old_state(content: RecordDict) -> None:
    grid = LocalGrid(failing_app(), 3)
    replies = grid.send_and_receive(trains(grid, content))
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert "the scanner is on fire" in replies[1].error.reason
    assert [len(grid.context(node).state) for node in (1, 2, 3)] == [1, 0, 1]


def test_a_client_that_returns_nothing_is_an_error(content: RecordDict) -> None:
    grid = LocalGrid(failing_app("nothing"), 2)
    assert "NoneType" in grid.send_and_receive(trains(grid, content))[1].error.reason


def test_a_state_that_cannot_be_serialized_fails_here(content: RecordDict) -> None:
    grid = LocalGrid(failing_app("state"), 2)
    with pytest.raises(TypeError, match=r"context of node 2 .*context\.state"):
        grid.send_and_receive(trains(grid, content))


def test_a_lost_message_never_reaches_the_client(client_app: ClientApp, content: RecordDict) -> None:
    grid = LocalGrid(client_app, 3, drop=lambda m: not is_reply(m) and m.metadata.dst_node_id == 2)
    replies = grid.send_and_receive(trains(grid, content))
    assert [reply.metadata.src_node_id for reply in replies] == [1, 3]
    assert "seen" not in grid.context(2).state
    assert [moved.direction for moved in grid.traffic if moved.node_id == 2] == ["down"]


def test_a_lost_reply_is_lost_after_the_client_has_run(client_app: ClientApp, content: RecordDict) -> None:
    grid = LocalGrid(client_app, 3, drop=lambda m: is_reply(m) and m.metadata.src_node_id == 2)
    replies = grid.send_and_receive(trains(grid, content))
    assert [reply.metadata.src_node_id for reply in replies] == [1, 3]
    assert grid.context(2).state["seen"]["count"] == 1
    assert [moved.direction for moved in grid.traffic if moved.node_id == 2] == ["down", "up"]


def test_replies_come_in_the_order_sent(client_app: ClientApp, content: RecordDict) -> None:
    grid = LocalGrid(client_app, 5)
    order = [4, 1, 5, 3, 2]
    messages = [Message(content, node_id, "train") for node_id in order]
    ids = grid.push_messages(messages)
    assert ids == [message.metadata.message_id for message in messages]
    replies = grid.pull_messages(ids)
    assert [reply.metadata.src_node_id for reply in replies] == order
    assert [reply.metadata.reply_to_message_id for reply in replies] == ids
    assert grid.pull_messages(ids) == []


def test_a_client_cannot_reach_into_the_servers_message(content: RecordDict) -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        message.content["config"]["server-round"] = 99
        message.content["arrays"].clear()
        return Message(message.content, reply_to=message)

    grid = LocalGrid(app, 2)
    replies = grid.send_and_receive(trains(grid, content))
    assert content["config"]["server-round"] == 7
    assert [len(reply.content["arrays"]) for reply in replies] == [0, 0]
    assert len(content["arrays"]) == 3


def test_equal_seeds_give_equal_bits(run_strategy) -> None:
    runs = [run_strategy(FedAvg(fraction_train=0.5), nodes=8, rounds=3, seed=seed) for seed in (5, 5, 6)]
    bits = [[array.data for array in result.arrays.values()] for _, result in runs]
    assert bits[0] == bits[1] != bits[2]
    assert runs[0][0].traffic == runs[1][0].traffic


def test_the_callers_random_and_log_level_are_left_alone(run_strategy) -> None:
    before, flwr_logger = random.getstate(), logging.getLogger("flwr")
    run_strategy(FedAvg(), nodes=2, rounds=1)
    assert random.getstate() == before
    level = flwr_logger.level
    with quiet_flwr(logging.CRITICAL):
        assert not flwr_logger.isEnabledFor(logging.ERROR)
    assert flwr_logger.level == level


def test_what_cannot_be_addressed_is_refused(client_app: ClientApp, content: RecordDict) -> None:
    with pytest.raises(ValueError, match="at least one node"):
        LocalGrid(client_app, 0)
    with pytest.raises(ValueError, match=r"no node 9.*1 to 2"):
        LocalGrid(client_app, 2).send_and_receive([Message(content, 9, "train")])
    with pytest.raises(TypeError, match="context of node 1"):
        LocalGrid(client_app, 1, {"lr": [1, 2]})


def test_the_run_is_a_flwr_run(client_app: ClientApp) -> None:
    grid = LocalGrid(client_app, 1)
    grid.set_run(grid.run)
    assert grid.run.run_id == 1
    if hasattr(grid, "get_nodes"):  # since flwr 1.38
        assert [node.node_id for node in grid.get_nodes()] == [1]
    assert grid.create_message(RecordDict(), "query", 1, "group").metadata.group_id == "group"
    with pytest.raises(TypeError, match="Run"):
        grid.set_run(1)


def test_arrays_arrive_bit_for_bit(content: RecordDict) -> None:
    app = ClientApp()
    app.train()(lambda message, context: Message(message.content, reply_to=message))
    weird = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
    grid = LocalGrid(app, 1)
    (reply,) = grid.send_and_receive(trains(grid, RecordDict({"arrays": ArrayRecord({"weird": Array(weird)})})))
    assert reply.content["arrays"]["weird"].numpy().tobytes() == weird.tobytes()
