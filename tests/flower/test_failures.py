"""What goes wrong on one client stays that client's failure: bad answers, hostile bytes, no thinwire, lost state."""

from __future__ import annotations

import logging
from collections.abc import Callable

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

from thinwire.flower import CompressedGrid, LocalGrid, carrier, compress_client
from thinwire.flower.package import Reply


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
    assert [grid.nodes[node].missed for node in (1, 2, 3)] == [-1, 1, -1]
    assert grid.nodes[2].missed_s > 0


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


def test_a_node_that_lost_its_state_is_brought_back(client_app, initial_arrays) -> None:
    local = LocalGrid(compress_client(client_app), 2)
    grid = CompressedGrid(local)
    one_round(grid, initial_arrays)
    fresh = LocalGrid(compress_client(client_app), 2)
    local._contexts[1] = fresh._contexts[1]
    replies = one_round(grid, initial_arrays, 2)
    assert [reply.has_error() for reply in replies] == [True, False]
    assert not any(reply.has_error() for reply in one_round(grid, initial_arrays, 3))


def test_a_hostile_server_cannot_make_a_client_allocate(client_app, initial_arrays) -> None:
    from thinwire.wire import Limits

    grid = CompressedGrid(LocalGrid(compress_client(client_app, Limits(decoded_bytes=100)), 1))
    (reply,) = one_round(grid, initial_arrays)
    assert "100 bytes" in reply.error.reason
