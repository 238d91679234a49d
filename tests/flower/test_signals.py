"""What a client's policy is told: losses, importance, what earlier rounds cost. Whatever gets lost or lies."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from conftest import train
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from rounds import client, one_round

import thinwire as tw
from thinwire.codec import Spec
from thinwire.flower import CompressedGrid, LocalGrid, compress_client, state
from thinwire.flower.round_timings import KEPT, LATE
from thinwire.policy import Plan, Signals
from thinwire.policy.importance import importances
from thinwire.registry import register

HEARD: list[Signals] = []


@register
@dataclass(frozen=True)
class Listening:
    """Sends everything, and writes down what it was told."""

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        if specs:
            HEARD.append(signals)
        return dict.fromkeys(specs, tw.Raw())


@register
@dataclass(frozen=True)
class ListeningPlateau(tw.Plateau):
    """A Plateau that writes down the level of every plan."""

    def plan(self, specs: Mapping[str, Spec], signals: Signals) -> Plan:
        if specs:
            LEVELS.append((signals.round, self.level(signals).levels))
        return super().plan(specs, signals)


LEVELS: list[tuple[int, int]] = []


@pytest.fixture(autouse=True)
def _silence() -> None:
    HEARD.clear()
    LEVELS.clear()


def reporting(metrics: Callable[[int], dict]) -> ClientApp:
    """Clients whose metrics are what ``metrics(partition)`` says."""

    def behave(message: Message, context: Context) -> Message:
        reply = train(message, context)
        reply.content["metrics"] = MetricRecord(metrics(int(context.node_config["partition-id"])))
        return reply

    return client(behave)


def heard(app: ClientApp, arrays: ArrayRecord, rounds: int, nodes: int = 3, **options) -> list[list[Signals]]:
    """Return what the clients were told, round by round."""
    grid = CompressedGrid(LocalGrid(compress_client(app), nodes, **options), "Listening()", "none", rounds)
    for round_ in range(1, rounds + 1):
        one_round(grid, arrays, round_)
    return [[told for told in HEARD if told.round == round_] for round_ in range(1, rounds + 1)]


@pytest.mark.parametrize("name", ["loss", "train_loss", "train-loss"])
def test_clients_are_told_the_mean_loss_of_the_round_before(name: str, initial_arrays) -> None:
    app = reporting(lambda partition: {"num-examples": 10 * (partition + 1), name: float(partition)})
    first, *later = heard(app, initial_arrays, 3)
    assert [told.loss for told in first] == [None] * 3
    assert [[told.loss for told in told_of] for told_of in later] == [[pytest.approx(80 / 60)] * 3] * 2


def test_without_a_loss_nothing_is_told(initial_arrays) -> None:
    assert {told.loss for told_of in heard(client(train), initial_arrays, 3) for told in told_of} == {None}


ABSURD = {
    "NaN": {"num-examples": 3, "loss": float("nan")},
    "infinite": {"num-examples": 3, "loss": float("-inf")},
    "huge": {"num-examples": 3, "loss": 1.7e308},
    "a list": {"num-examples": 3, "loss": [1e9, 1e9]},
    "NaN samples": {"num-examples": float("nan"), "loss": 2.0},
    "infinite samples": {"num-examples": float("inf"), "loss": 2.0},
    "negative samples": {"num-examples": -(2**40), "loss": 2.0},
    "no samples": {"num-examples": 0, "loss": 2.0},
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_metrics_are_not_believed(name: str, initial_arrays) -> None:
    app = reporting(lambda partition: {"num-examples": 3, "loss": 2.0} if partition else ABSURD[name])
    for told in heard(app, initial_arrays, 3)[2]:
        assert told.loss == pytest.approx(2.0)
        assert told.importance in (None, pytest.approx(1.0))


def test_one_client_that_lies_does_not_decide_for_all(initial_arrays) -> None:
    app = reporting(lambda partition: {"num-examples": 10, "loss": 1e30 if partition == 0 else 1.0})
    assert heard(app, initial_arrays, 2, nodes=5)[1][0].loss == pytest.approx((4 + 11) / 5)


def test_importance_follows_the_data_of_the_rounds_clients(initial_arrays) -> None:
    sizes = [10, 20, 40, 80]
    app = reporting(lambda partition: {"num-examples": sizes[partition]})
    first, second = heard(app, initial_arrays, 2, nodes=4)
    assert [told.importance for told in first] == [None] * 4
    assert [told.importance for told in second] == pytest.approx(importances(sizes), rel=1e-6)


@pytest.mark.parametrize("lossy", [False, True])
def test_who_missed_rounds_goes_by_all_losses(lossy: bool, initial_arrays) -> None:
    """Every client's level is that of one recursion over the losses of all rounds, sampled and unlucky as it may be."""
    random.seed(3)  # what FedAvg samples clients with
    rng = np.random.default_rng(3)
    losses = iter(np.round(1 + 0.2 * np.random.default_rng(4).normal(size=1000), 3))

    def drop(message: Message) -> bool:
        return lossy and rng.random() < 0.3

    app = reporting(lambda partition: {"num-examples": partition + 1, "loss": float(next(losses))})
    grid = CompressedGrid(
        LocalGrid(compress_client(app), 10, drop=drop), "Compressor(ListeningPlateau(patience=2), NoFeedback())"
    )
    FedAvg(fraction_train=0.3, fraction_evaluate=0.3).start(grid, initial_arrays, num_rounds=25, timeout=1)
    policy, kept, expected = tw.Plateau(patience=2), {}, {}
    for round_, loss in enumerate([None, *grid.nodes.losses], 1):
        signals = Signals(round_, loss=loss, kept=kept)
        expected[round_], kept = policy.level(signals).levels, policy.keep(signals)
    assert expected[25] >= 16
    assert len(LEVELS) > 25
    assert [(round_, expected[round_]) for round_, _ in LEVELS] == LEVELS


def test_a_node_that_lost_its_state_is_told_all_losses_again(client_app, initial_arrays) -> None:
    app = reporting(lambda partition: {"num-examples": 1, "loss": 1.0})
    local = LocalGrid(compress_client(app), 2)
    grid = CompressedGrid(local, "Compressor(ListeningPlateau(patience=1), NoFeedback())")
    for round_ in range(1, 5):
        one_round(grid, initial_arrays, round_)
    fresh = LocalGrid(compress_client(app), 2)
    local._contexts[1] = fresh._contexts[1]
    for round_ in (5, 6):
        one_round(grid, initial_arrays, round_)
    assert {levels for round_, levels in LEVELS if round_ == 6} == {16}
    assert sum(round_ == 6 for round_, _ in LEVELS) == 2


def slow(message: Message, context: Context) -> Message:
    time.sleep(0.05)
    return train(message, context)


def test_turns_say_what_rounds_cost_also_those_whose_reply_was_lost(initial_arrays) -> None:
    lost = {3}

    def drop(message: Message) -> bool:
        return bool(message.metadata.reply_to_message_id) and round_ in lost

    grid = CompressedGrid(LocalGrid(compress_client(client(slow)), 2, drop=drop), "Listening()", "none")
    for round_ in range(1, 6):
        one_round(grid, initial_arrays, round_)
    assert [len(told.turns) for told in HEARD[::2]] == [0, 1, 2, 3, 4]
    up = [t.payload_bytes for t in grid.ledger if (t.direction, t.node_id) == ("up", 1)]
    down = [t.payload_bytes for t in grid.ledger if (t.direction, t.node_id) == ("down", 1)]
    turns = HEARD[-2].turns
    assert [turn.sent_bytes for turn in turns] == [*up[:2], up[0], up[2]]
    assert [turn.received_bytes for turn in turns] == down[:4]
    for turn, factor in zip(turns, (1, 1, LATE, 1), strict=True):
        assert turn.compute_s >= 0.05
        assert 0 < turn.codec_s < 1
        assert 0 < turn.send_s + turn.receive_s < 0.5  # not the other client's 0.05 s, nor its own
        assert turn.send_s / turn.receive_s == pytest.approx(factor * turn.sent_bytes / turn.received_bytes)


def test_a_message_that_never_arrived_takes_no_turn_and_leaves_that_before(initial_arrays) -> None:
    def drop(message: Message) -> bool:
        return not message.metadata.reply_to_message_id and round_ == 2

    grid = CompressedGrid(LocalGrid(compress_client(client(train)), 1, drop=drop), "Listening()", "none")
    for round_ in range(1, 5):
        one_round(grid, initial_arrays, round_)
    assert [(told.round, len(told.turns)) for told in HEARD] == [(1, 0), (3, 1), (4, 2)]


def test_only_the_newest_turns_are_kept(initial_arrays) -> None:
    told = heard(client(train), initial_arrays, KEPT + 4, nodes=1)
    assert [len(signals.turns) for (signals,) in told] == [*range(KEPT), KEPT, KEPT, KEPT, KEPT]


def test_turns_survive_in_flowers_own_state(initial_arrays) -> None:
    local = LocalGrid(compress_client(client(train)), 1)
    grid = CompressedGrid(local, "Listening()", "none")
    one_round(grid, initial_arrays, 1)
    one_round(grid, initial_arrays, 2)
    kept = state.load(local.context(1))
    assert kept.turns == HEARD[-1].turns
    assert kept.pending_turn is not None
    assert kept.pending_turn.compute_s > 0


def test_a_node_may_state_its_link(initial_arrays) -> None:
    links = [
        {"partition-id": 0, "bandwidth-bps": 2e6, "latency-s": 0.03},
        {"partition-id": 1, "bandwidth-bps": "fast", "latency-s": -1},
    ]
    grid = CompressedGrid(LocalGrid(compress_client(client(train)), links), "Listening()")
    for round_ in (1, 2):
        one_round(grid, initial_arrays, round_)
    assert [(told.bandwidth_bps, told.latency_s) for told in HEARD] == [(2e6, 0.03), (None, None)] * 2


def test_a_downlink_is_told_losses_too_and_remembers(initial_arrays) -> None:
    app = reporting(lambda partition: {"num-examples": 1, "loss": 0.25})
    grid = CompressedGrid(LocalGrid(compress_client(app), 1), "none", "ListeningPlateau(patience=1)")
    alone = {"fraction_evaluate": 0.0, "min_train_nodes": 1, "min_available_nodes": 1}
    FedAvg(**alone).start(grid, initial_arrays, num_rounds=6)
    # A model of small tensors alone is lossless, which is planned twice.
    assert list(dict.fromkeys(LEVELS)) == [(1, 1), (2, 1), (3, 2), (4, 4), (5, 8), (6, 16)]


def stepping(message: Message, context: Context) -> Message:
    w = message.content["arrays"]["w"].numpy()
    step = np.random.default_rng(int(context.node_id)).normal(size=w.shape).astype(np.float32)
    return Message(RecordDict({"arrays": ArrayRecord({"w": Array(w + step)})}), reply_to=message)


@pytest.mark.parametrize("together", [True, False])
def test_auto_leaves_out_less_where_clients_send_few_messages(together: bool) -> None:
    """Ten rounds in which a fifth of the clients trains are two messages of each, also where they go out one by one."""
    arrays = ArrayRecord({"w": Array(np.ones((60, 60), np.float32))})
    grid = CompressedGrid(LocalGrid(compress_client(client(stepping)), 10), rounds=10, share=0.3)
    asked, errors = [], []
    for round_ in (1, 2):
        content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": round_})})
        messages = [Message(content, 2 * round_ + i, "train") for i in (1, 2)]
        for group in [messages] if together else [[message] for message in messages]:
            assert not any(reply.has_error() for reply in grid.send_and_receive(group))
        asked.append(grid._downlink._told.messages)
        errors.append(max(t.nmse for t in grid.ledger if t.kind == "update"))
    assert asked == pytest.approx([2.0 if together else 3.0, 2.0])
    assert max(errors) < 0.05
    long = CompressedGrid(LocalGrid(compress_client(client(stepping)), 10), rounds=100)
    one_round(long, arrays)
    assert min(t.nmse for t in long.ledger if t.kind == "update") > 0.15
