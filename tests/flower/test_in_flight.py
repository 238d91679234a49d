"""Several messages to one node at once, run, answered, lost and pulled in any order: nothing is sent twice or never."""

from __future__ import annotations

import gc
import tracemalloc
from collections import defaultdict

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.flower import CompressedGrid, LocalGrid, compress_client, engine, state
from thinwire.flower.nodes import IN_FLIGHT
from thinwire.flower.protocol import Fate, Outcome

SHAPE = (40, 40)
KINDS = ("train", "evaluate", "train.step")
UPLINKS = ("TopK(0.1)", "auto", "Fixed(Step(nmse=0.4), below=200)")


def step(node: int, number: int) -> np.ndarray:
    return np.random.default_rng((node, number)).normal(size=SHAPE).astype(np.float32)


def answer(message: Message, context: Context) -> Message:
    number = int(message.content["config"]["number"])
    w = message.content["arrays"]["w"].numpy() + step(context.node_id, number)
    metrics = MetricRecord({"num-examples": 1})
    return Message(RecordDict({"arrays": ArrayRecord({"w": Array(w)}), "metrics": metrics}), reply_to=message)


def app() -> ClientApp:
    inner = ClientApp()
    inner.train()(answer)
    inner.train("step")(answer)
    inner.evaluate()(answer)
    return compress_client(inner)


class Queued(LocalGrid):
    """Messages wait until ``run`` lets a node have them, in any order, and replies until they are pulled, or lost."""

    def __init__(self, nodes: int) -> None:
        super().__init__(app(), nodes)
        self.queue: list[tuple[Message, engine.Deflated]] = []

    def push_messages(self, messages):
        sent = list(messages)
        engine.identify_messages(sent, 1, 0)
        deflated = engine.deflate(sent)
        self.queue += zip(sent, deflated, strict=True)
        return [data.message_id for data in deflated]

    def run_one(self, at: int) -> None:
        if self.queue:
            self._deliver(*self.queue.pop(at % len(self.queue)))

    def drop_message(self, at: int) -> None:
        if self.queue:
            self.queue.pop(at % len(self.queue))

    def drop_reply(self, at: int) -> None:
        if self._replies:
            del self._replies[list(self._replies)[at % len(self._replies)]]


class World:
    """A server that remembers what it sent and took, and for which numbers."""

    def __init__(self, nodes: int, uplink: str, moving: bool) -> None:
        self.local = Queued(nodes)
        self.grid = CompressedGrid(self.local, uplink, "lossless")
        self.moving, self.number = moving, 0
        self.out: dict[str, tuple[int, str, int, np.ndarray]] = {}
        self.taken: dict[tuple[int, str], np.ndarray] = defaultdict(lambda: np.zeros(SHAPE, np.float64))
        self.wanted: dict[tuple[int, str], np.ndarray] = defaultdict(lambda: np.zeros(SHAPE, np.float64))

    def push(self, node: int, kind: str = "train") -> None:
        self.number += 1
        w = step(0, 0) + np.float32(0.05) * step(0, self.number) if self.moving else np.zeros(SHAPE, np.float32)
        config = ConfigRecord({"server-round": self.number, "number": self.number})
        content = RecordDict({"arrays": ArrayRecord({"w": Array(w)}), "config": config})
        (message_id,) = self.grid.push_messages([Message(content, node, kind)])
        self.out[message_id] = node, kind, self.number, w

    def pull(self, at: int, count: int) -> None:
        """Pull ``count`` of what is out, from ``at`` on, the newest first."""
        ids = list(self.out)
        chosen = ids[at % len(ids) :][:count][::-1] if ids else []
        for reply in self.grid.pull_messages(chosen):
            assert not reply.has_error(), reply.error.reason
            node, kind, number, w = self.out.pop(reply.metadata.reply_to_message_id)
            self.taken[node, kind] += reply.content["arrays"]["w"].numpy().astype(np.float64) - w
            self.wanted[node, kind] += step(node, number)

    def check(self) -> None:
        """What was taken and what is left is what was wanted, for each node and kind of message."""
        for node in self.local.get_node_ids():
            kept = state.load(self.local.context(node))
            known = self.grid.nodes[node]
            fates = [fate for fate in known.fates.values() if fate.outcome is not Outcome.WAITING]
            waiting = [Fate(fate.sequence, Outcome.LOST) for fate in known.fates.values() if fate not in fates]
            if kept.session >= 0:
                kept.meet(kept.session, known.sequence + 1, (*fates, *waiting))
            for kind in KINDS:
                left = sum(
                    (
                        x.double().numpy()
                        for name in kept.exchanges
                        if name.split("/")[0] == kind
                        for key, x in kept.kept(name)[0].items()
                        if key.startswith("residual/")
                    ),
                    np.zeros(SHAPE),
                )
                wanted = self.wanted[node, kind]
                assert np.allclose(self.taken[node, kind] + left, wanted, atol=1e-3), (node, kind)


node = st.integers(1, 2)
place = st.integers(0, 50)
moves = st.lists(
    st.one_of(
        st.tuples(st.just("push"), node, st.sampled_from(KINDS)),
        st.tuples(st.just("push"), node, st.just("train")),
        st.tuples(st.just("run_one"), place),
        st.tuples(st.just("run_one"), place),
        st.tuples(st.just("pull"), place, st.integers(1, 5)),
        st.tuples(st.just("drop_message"), place),
        st.tuples(st.just("drop_reply"), place),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(moves, st.sampled_from(UPLINKS), st.booleans())
def test_every_step_is_sent_or_kept(moves: list, uplink: str, moving: bool) -> None:
    world = World(2, uplink, moving)
    for what, *args in moves:
        getattr(world if what in ("push", "pull") else world.local, what)(*args)
    world.check()


@pytest.mark.parametrize("order", ["oldest first", "newest first", "odd ones lost"])
def test_more_messages_than_are_waited_for(order: str) -> None:
    """Of the oldest the server gives up; their replies, late, are an error, and their steps stay with the client."""
    world = World(1, "TopK(0.1)", moving=False)
    for _ in range(IN_FLIGHT + 5):
        world.push(1)
    for _ in range(IN_FLIGHT + 5):
        world.local.run_one(0 if order != "newest first" else -1)
    if order == "odd ones lost":
        for at in range(6):
            world.local.drop_reply(at)
    ids = list(world.out)
    replies = list(world.grid.pull_messages(ids[:5]))
    assert all(reply.has_error() and "not waited for" in reply.error.reason for reply in replies)
    world.pull(5, IN_FLIGHT)
    world.check()
    for _ in range(3):
        world.push(1)
        world.local.run_one(0)
        world.pull(len(world.out) - 1, 1)
    world.check()


def test_what_was_taken_is_told_until_the_node_has_heard_it() -> None:
    """A node that is away for long after some of its replies were taken must not send them a second time."""
    world = World(1, "TopK(0.1)", moving=False)
    for _ in range(IN_FLIGHT):
        world.push(1)
    for _ in range(IN_FLIGHT):
        world.local.run_one(0)
    world.pull(0, IN_FLIGHT)
    for _ in range(100):
        world.push(1)
        world.local.drop_message(0)
    world.push(1)
    world.local.run_one(0)
    world.pull(len(world.out) - 1, 1)
    world.check()
    assert len(world.grid.nodes[1].fates) < 60


def test_kinds_of_messages_have_feedback_of_their_own() -> None:
    world = World(1, "TopK(0.1)", moving=False)
    for kind in KINDS * 3:
        world.push(1, kind)
        world.local.run_one(0)
        world.pull(0, 1)
    world.check()
    kept = state.load(world.local.context(1))
    assert {name.split("/")[0] for name in kept.exchanges} == set(KINDS)
    lefts = [kept.kept(name)[0]["residual/arrays\x00w"] for name in kept.exchanges]
    assert not any(torch.equal(a, b) for at, a in enumerate(lefts) for b in lefts[:at])


def test_a_message_that_comes_late_does_not_make_a_node_forget_newer_models() -> None:
    world = World(1, "TopK(0.1)", moving=True)
    world.push(1)
    world.push(1)
    world.local.run_one(1)
    world.local.run_one(0)
    world.pull(0, 2)
    world.push(1)
    world.local.run_one(0)
    world.pull(0, 1)
    world.check()
    assert [item.kind for item in world.grid.ledger if item.kind == "refused"] == []


def test_pushing_without_pulling_keeps_memory_bounded_and_is_no_failure(caplog) -> None:
    """As Flower's vertical example sends gradients back: it never asks for the replies, which hold nothing."""

    class Forgetful(Queued):
        def push_messages(self, messages):
            ids = super().push_messages(messages)
            self.run_one(0)
            self._replies.clear()
            return ids

    local = Forgetful(1)
    grid, held = CompressedGrid(local, "none", "none"), []
    for number in range(1, 61):
        if number == 20:  # compiled kernels, caches and a full window of messages are there
            tracemalloc.start()
        w = np.random.default_rng(number).normal(size=(100, 100)).astype(np.float32)
        config = ConfigRecord({"server-round": number, "number": number})
        content = RecordDict(
            {"arrays": ArrayRecord({"w": Array(w[:40, :40].copy()), "big": Array(w)}), "config": config}
        )
        list(grid.push_messages([Message(content, 1, "train")]))
        del content
        if number in (30, 60):
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] < held[0] + 8 * 40_000  # thirty models of 46,400 bytes were sent in between
    assert len(grid._waiting) == IN_FLIGHT
    assert not grid._newest
    assert len(grid.nodes[1].in_flight) == IN_FLIGHT
    assert len(grid._timer._left) <= IN_FLIGHT
    assert not grid.rounds_log.all_failed
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


class Deaf(LocalGrid):
    """Pushes what it likes of the messages: as SuperLink answers for what it does not take, or does not answer."""

    fate = "all"

    def push_messages(self, messages):
        sent = list(messages)
        if self.fate == "raises":
            raise ConnectionError("SuperLink is gone")
        if self.fate == "none":
            engine.deflate(sent)
            return []
        ids = super().push_messages(sent[:-1] if self.fate != "all" else sent)
        if self.fate != "all":
            engine.deflate(sent[-1:])
        return [*ids, None] if self.fate == "None for one" else ids


@pytest.mark.parametrize("fate", ["none", "one less", "None for one", "raises"])
def test_a_grid_that_does_not_take_a_message_loses_that_message_alone(fate: str) -> None:
    """A payload too large, a node that is gone, a broken link: nothing is waited for, the next round is as ever."""
    inner = Deaf(app(), 2)
    grid = CompressedGrid(inner, "TopK(0.1)", "lossless")

    def push(number: int) -> list[str]:
        content = RecordDict(
            {
                "arrays": ArrayRecord({"w": Array(np.zeros(SHAPE, np.float32))}),
                "config": ConfigRecord({"server-round": number, "number": number}),
            }
        )
        return list(grid.push_messages([Message(content, node, "train") for node in (1, 2)]))

    inner.fate = fate
    if fate == "raises":
        with pytest.raises(ConnectionError):
            push(1)
        ids = []
    else:
        ids = [message_id for message_id in push(1) if message_id]
    assert len(list(grid.pull_messages(ids))) == len(ids) == (0 if fate in ("none", "raises") else 1)
    assert not grid._waiting
    assert not any(grid.nodes[node].in_flight for node in (1, 2))
    inner.fate = "all"
    replies = list(grid.pull_messages(push(2)))
    assert len(replies) == 2
    assert not any(reply.has_error() for reply in replies)
