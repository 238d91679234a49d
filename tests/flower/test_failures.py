"""What goes wrong on one client stays that client's failure: bad answers, hostile bytes, no thinwire, lost state."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import train
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import (
    FedAvg,
)
from rounds import NAMED, client, one_round

from thinwire.flower import CompressedGrid, LocalGrid, compress_client, records
from thinwire.flower.protocol import Outcome, Reply


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
    "infinite in the model's dtype": (lambda a: a.update({"out.weight": Array(np.full((4, 24), 1e300))}), "float64"),
    "numbers of another kind": (lambda a: a.update({"out.weight": Array(np.ones((4, 24), np.int64))}), "other arrays"),
    "text": (lambda a: a.update({"out.weight": Array(np.full((4, 24), "a"))}), "expected numbers"),
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
                data = records.carried(reply.content, records.UP)
                reply.content["arrays"] = records.carry(change(data), records.UP)
            return reply

    return Hostile()


def infinite(data: bytes) -> bytes:
    reply = Reply.loads(data)
    from thinwire import Raw, dumps, encode

    bad = {n: encode(Raw(), torch.full(s, float("inf"))) for n, s in NAMED.items()}
    return replace(reply, frame=dumps(bad)).dumps()


ATTACKS = {
    "random bytes": lambda data: b"\x00" * 100,
    "cut short": lambda data: data[:-5],
    "a flipped bit": lambda data: data[:60] + bytes([data[60] ^ 4]) + data[61:],
    "another message": lambda data: replace(Reply.loads(data), sequence=99).dumps(),
    "another server": lambda data: replace(Reply.loads(data), session=1).dumps(),
    "a factor above 1": lambda data: replace(Reply.loads(data), scale=2.0).dumps(),
    "values of no tensor": lambda data: replace(Reply.loads(data), others=((7, "arrays\x00x"),)).dumps(),
    "another record": lambda data: replace(Reply.loads(data), record="elsewhere").dumps(),
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
    fates = [list(grid.nodes[node].fates.values())[-1] for node in (1, 2, 3)]
    assert [fate.outcome for fate in fates] == [Outcome.TAKEN, Outcome.LOST, Outcome.TAKEN]
    assert fates[1].seconds > 0


def usual(message: Message, context: Context) -> Message:
    """Read the model as Flower's examples do, so that an unknown serialization is named in the error."""
    message.content["arrays"].to_numpy_ndarrays()
    return train(message, context)


@pytest.mark.parametrize("behave", [usual, train])
def test_clients_without_the_mod_lose_no_round_and_are_named(behave, initial_arrays, caplog) -> None:
    grid = CompressedGrid(LocalGrid(client(behave), 3))
    with caplog.at_level(logging.WARNING, logger="thinwire"):
        for round_ in (1, 2):
            assert not any(reply.has_error() for reply in one_round(grid, initial_arrays, round_))
    assert caplog.text.count("runs without thinwire") == 3
    assert "compress_client" in caplog.text
    assert all(grid.nodes[node].plain for node in (1, 2, 3))


def test_dense_answers_are_checked_too(initial_arrays) -> None:
    bad = spoiled(lambda a: a.update({"out.weight": Array(np.full((4, 24), np.inf, np.float32))}))
    grid = CompressedGrid(LocalGrid(bad, 3))
    for round_ in (1, 2):
        assert [reply.has_error() for reply in one_round(grid, initial_arrays, round_)] == [False, True, False]


def test_a_mixed_fleet_works(initial_arrays) -> None:
    ours, stock = compress_client(client(usual)), client(usual)

    class Mixed(ClientApp):
        def __call__(self, message: Message, context: Context) -> Message:
            return (ours if context.node_config["partition-id"] else stock)(message, context)

    grid = CompressedGrid(LocalGrid(Mixed(), 3))
    for round_ in (1, 2):
        assert not any(reply.has_error() for reply in one_round(grid, initial_arrays, round_))
    assert [t.kind for t in grid.ledger if t.node_id == 1] == ["whole", "refused", "dense", "dense", "dense", "dense"]


def test_a_node_that_lost_its_state_is_brought_back_in_the_same_round(client_app, initial_arrays) -> None:
    local = LocalGrid(compress_client(client_app), 2)
    grid = CompressedGrid(local)
    one_round(grid, initial_arrays)
    fresh = LocalGrid(compress_client(client_app), 2)
    local._contexts[1] = fresh._contexts[1]
    assert not any(reply.has_error() for reply in one_round(grid, initial_arrays, 2))
    assert [t.kind for t in grid.ledger if t.node_id == 1 and t.direction == "down"] == ["whole", "held", "whole"]


def test_a_hostile_server_cannot_make_a_client_allocate(client_app, initial_arrays) -> None:
    from thinwire.wire import Limits

    grid = CompressedGrid(LocalGrid(compress_client(client_app, Limits(decoded_bytes=100)), 1))
    (reply,) = one_round(grid, initial_arrays)
    assert "100 bytes" in reply.error.reason


def test_an_error_of_a_client_is_kept_short_and_shown_without_control_characters(initial_arrays, caplog) -> None:
    def behave(message: Message, context: Context) -> Message:
        raise RuntimeError("\x1b[31mred\u202e\n" + "long " * 10_000)

    grid = CompressedGrid(LocalGrid(compress_client(client(behave)), 1))
    (reply,) = one_round(grid, initial_arrays)
    assert reply.has_error()
    (record,) = [record for record in caplog.records if "node 1 in round 1" in record.getMessage()]
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 1200
    assert all(len(item.reason) < 1100 for item in grid.ledger)
