"""How the seconds of a round are shared, and how long replies take on a Grid that has to be asked."""

from __future__ import annotations

import time

import pytest
from conftest import train
from flwr.app import Message
from hypothesis import given
from hypothesis import strategies as st
from rounds import client, one_round

from thinwire.flower import CompressedGrid, LocalGrid, compress_client
from thinwire.flower.losses import average
from thinwire.flower.turns import flat, from_flat, timed
from thinwire.policy import Turn

SECONDS = st.floats(0, 1e4)
TURNS = st.builds(Turn, st.integers(0, 10**12), SECONDS, st.integers(0, 10**12), SECONDS, SECONDS, SECONDS)


@given(TURNS, SECONDS, SECONDS)
def test_the_network_has_what_is_left_of_the_time(turn: Turn, elapsed_s: float, latency_s: float) -> None:
    shared = timed(turn, elapsed_s, latency_s)
    left = max(0.0, elapsed_s - turn.compute_s - turn.codec_s)
    assert shared.send_s + shared.receive_s == pytest.approx(left, abs=1e-9)
    assert min(shared.send_s, shared.receive_s) >= min(latency_s, left / 2) * (1 - 1e-9)
    assert (shared.sent_bytes, shared.compute_s) == (turn.sent_bytes, turn.compute_s)
    if turn.sent_bytes > turn.received_bytes:
        assert shared.send_s >= shared.receive_s


def test_a_link_of_known_speed_is_measured_as_such() -> None:
    """1 Mbit/s both ways, 20 ms one way: 500,000 bits up and 1,500,000 down."""
    turn = Turn(62_500, 0.0, 187_500, compute_s=3.0, codec_s=0.25)
    shared = timed(turn, 3.0 + 0.25 + 2 * 0.02 + 2.0, latency_s=0.02)
    assert shared.send_s == pytest.approx(0.52)
    assert shared.receive_s == pytest.approx(1.52)


@given(st.lists(TURNS, max_size=5))
def test_turns_round_trip(turns: list[Turn]) -> None:
    assert from_flat(flat(turns)) == tuple(turns)


@pytest.mark.parametrize("broken", [None, "x", [1.0], ["a"] * 6, [1] * 6])
def test_what_is_not_turns_is_none(broken: object) -> None:
    assert from_flat(broken) == ()


class Asked:
    """A Grid as Flower's own: replies are there some time after their message was pushed, and must be asked for."""

    def __init__(self, inner: LocalGrid, delays_s: dict[int, float]) -> None:
        self.inner, self.delays_s, self.due = inner, delays_s, dict[str, float]()

    def push_messages(self, messages: list[Message]) -> list[str]:
        ids = list(self.inner.push_messages(messages))
        for message_id, message in zip(ids, messages, strict=True):
            self.due[message_id] = time.monotonic() + self.delays_s[message.metadata.dst_node_id]
        return ids

    def pull_messages(self, message_ids: set[str]) -> list[Message]:
        return self.inner.pull_messages([id for id in message_ids if self.due[id] <= time.monotonic()])

    def get_node_ids(self) -> list[int]:
        return self.inner.get_node_ids()


def test_replies_are_timed_one_by_one_and_none_is_waited_for_too_long(initial_arrays) -> None:
    grid = CompressedGrid(Asked(LocalGrid(compress_client(client(train)), 3), {1: 0.0, 2: 0.3, 3: 0.6}))
    replies = one_round(grid, initial_arrays)
    assert [reply.metadata.src_node_id for reply in replies] == [1, 2, 3]
    elapsed = [grid.nodes[node].elapsed_s for node in (1, 2, 3)]
    assert elapsed[0] < 0.25 <= 0.3 <= elapsed[1] < 0.55 <= 0.6 <= elapsed[2] < 1.0


def test_a_time_out_leaves_out_who_is_late(initial_arrays) -> None:
    grid = CompressedGrid(Asked(LocalGrid(compress_client(client(train)), 2), {1: 0.0, 2: 60.0}))
    content = one_round.__globals__["RecordDict"]({"arrays": initial_arrays})
    started = time.monotonic()
    replies = list(grid.send_and_receive([Message(content, node, "train") for node in (1, 2)], timeout=0.3))
    assert [reply.metadata.src_node_id for reply in replies] == [1]
    assert time.monotonic() - started < 2
    assert not grid._waiting
    assert not grid._clock._left


REPORTS = st.lists(st.tuples(st.one_of(st.none(), st.integers(1, 2**53)), st.floats(-1e30, 1e30)), min_size=1)


@given(REPORTS)
def test_a_mean_loss_is_among_what_was_reported(reports: list[tuple[int | None, float]]) -> None:
    mean, losses = average(reports), [loss for _, loss in reports]
    assert mean is not None
    slack = 1e-9 * max(map(abs, losses))
    assert min(losses) - slack <= mean <= max(losses) + slack


def test_mean_losses() -> None:
    assert average([]) is None
    assert average([(1, 1.0), (3, 2.0)]) == pytest.approx(1.75)
    assert average([(None, 1.0), (None, 2.0)]) == pytest.approx(1.5)
    assert average([(10, 1.0), (None, 2.0), (30, 3.0)]) == pytest.approx((10 + 40 + 90) / 60)
