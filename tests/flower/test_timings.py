"""How the seconds of a round are shared, and how long replies take on a Grid that has to be asked."""

from __future__ import annotations

from dataclasses import astuple, replace

import pytest
import torch
from conftest import train
from flwr.app import Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from rounds import client, one_round

from thinwire.flower import CompressedGrid, LocalGrid, compress_client, message_timer, state
from thinwire.flower.losses import average
from thinwire.flower.protocol import Fate, Outcome
from thinwire.flower.round_timings import LATE, from_rows, late, settled, timed
from thinwire.policy import Turn
from thinwire.policy.estimate import in_time_bytes

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


@given(st.integers(1, 10**9), st.floats(0, 50), st.floats(0, 5), st.floats(0, 2))
def test_of_a_late_reply_a_part_had_got_through(
    sent_bytes: int, compute_s: float, codec_s: float, far_s: float
) -> None:
    """By the seconds that were waited, which are the deadline's."""
    turn = late(Turn(sent_bytes, 0.0, compute_s=compute_s, codec_s=codec_s), 60.0)
    assert in_time_bytes(turn, 60.0, codec_s=codec_s) == pytest.approx(sent_bytes / LATE)
    distant = late(Turn(sent_bytes, 0.0, compute_s=compute_s, codec_s=codec_s), 60.0, far_s)
    assert 0 < in_time_bytes(distant, 60.0, far_s, codec_s) < sent_bytes


@given(TURNS, SECONDS, SECONDS)
def test_late_is_never_quicker_than_in_time(turn: Turn, waited_s: float, latency_s: float) -> None:
    shared, missed = timed(turn, waited_s, latency_s), late(turn, waited_s, latency_s)
    assert missed.send_s >= shared.send_s
    assert replace(missed, send_s=shared.send_s) == shared


PENDING = Turn(500, 0.0, 1500, compute_s=1.0)
FATES = {
    "taken": (Fate(7, Outcome.TAKEN, 3.0), (timed(PENDING, 3.0),)),
    "late": (Fate(7, Outcome.LOST, 4.0), (late(PENDING, 4.0),)),
    "lost, nobody knows when": (Fate(7, Outcome.LOST), ()),
    "taken, nobody knows when": (Fate(7, Outcome.TAKEN), ()),
}


@pytest.mark.parametrize("name", FATES)
def test_a_reply_leaves_its_turn_if_the_server_knows_how_long_it_took(name: str) -> None:
    fate, expected = FATES[name]
    assert settled(PENDING, fate) == expected


@given(st.lists(TURNS, max_size=5))
def test_turns_round_trip(turns: list[Turn]) -> None:
    assert from_rows([list(astuple(turn)) for turn in turns]) == tuple(turns)


@pytest.mark.parametrize("broken", [[[1.0]], [["a"] * 6], [[1] * 7]])
def test_what_is_not_turns_is_refused(broken: list) -> None:
    with pytest.raises((ValueError, TypeError)):
        from_rows(broken)


class ByHand:
    """A clock that stands still but for who sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ByHand:
    """The one that the server goes by."""
    made = ByHand()
    monkeypatch.setattr(message_timer, "time", made)
    return made


class Asked:
    """A Grid as Flower's own: replies are there some time after their message was pushed, and must be asked for."""

    def __init__(self, inner: LocalGrid, delays_s: dict[int, float], clock: ByHand) -> None:
        self.inner, self.delays_s, self.clock, self.due = inner, delays_s, clock, dict[str, float]()

    def push_messages(self, messages: list[Message]) -> list[str]:
        ids = list(self.inner.push_messages(messages))
        for message_id, message in zip(ids, messages, strict=True):
            self.due[message_id] = self.clock.monotonic() + self.delays_s[message.metadata.dst_node_id]
        return ids

    def pull_messages(self, message_ids: set[str]) -> list[Message]:
        return self.inner.pull_messages([id for id in message_ids if self.due[id] <= self.clock.monotonic()])

    def get_node_ids(self) -> list[int]:
        return self.inner.get_node_ids()


def test_replies_are_timed_one_by_one_and_none_is_waited_for_too_long(initial_arrays, clock: ByHand) -> None:
    grid = CompressedGrid(Asked(LocalGrid(compress_client(client(train)), 3), {1: 0.0, 2: 0.3, 3: 0.6}, clock))
    replies = one_round(grid, initial_arrays)
    assert [reply.metadata.src_node_id for reply in replies] == [1, 2, 3]
    elapsed = [grid.nodes[node].fates[1].seconds for node in (1, 2, 3)]
    assert elapsed == pytest.approx([0.0, 0.35, 0.65], abs=0.06)


def test_a_time_out_leaves_out_who_is_late(initial_arrays, clock: ByHand) -> None:
    grid = CompressedGrid(Asked(LocalGrid(compress_client(client(train)), 2), {1: 0.0, 2: 60.0}, clock))
    content = RecordDict({"arrays": initial_arrays})
    replies = list(grid.send_and_receive([Message(content, node, "train") for node in (1, 2)], timeout=0.3))
    assert [reply.metadata.src_node_id for reply in replies] == [1]
    assert clock.now_s == pytest.approx(0.35, abs=0.06)
    assert not grid._waiting
    assert not grid._timer._left
    assert [grid.nodes[node].fates[1].outcome for node in (1, 2)] == [Outcome.TAKEN, Outcome.LOST]
    assert grid.nodes[2].fates[1].seconds == clock.now_s


def test_who_was_late_remembers_how_long_that_took(initial_arrays, clock: ByHand) -> None:
    local = LocalGrid(compress_client(client(train)), 1)
    asked = Asked(local, {1: 60.0}, clock)
    grid = CompressedGrid(asked, "Deadline(60)", "none")
    message = Message(RecordDict({"arrays": initial_arrays}), 1, "train")
    assert not list(grid.send_and_receive([message], timeout=30.0))
    pending, waited_s = state.load(local.context(1)).pending_turn, grid.nodes[1].fates[1].seconds
    assert pending is not None
    asked.delays_s[1] = 0.0
    for _ in range(2):
        assert len(one_round(grid, initial_arrays)) == 1
    was_late, was_not = state.load(local.context(1)).turns
    assert was_late == late(pending, float(torch.tensor(waited_s)))  # it travels as float32
    assert was_late.sent_bytes > 0
    assert was_late.send_s > 1.0 > was_not.send_s
    assert was_not.sent_bytes > 0
    assert grid.nodes[1].fates[3].outcome is Outcome.TAKEN


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
