"""Fuzz a server with ordinary arrays from a hostile client, beside two honest ones, and write what came of it.

python bench/fuzz.py --dense 100000 --seed 1 --out results/fuzz-dense.json
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import count
from random import Random

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from fuzz_loop import judged

from thinwire.flower import CompressedGrid, quiet_flwr, records
from thinwire.flower.engine import identify_process, set_message_id
from thinwire.testing.fuzz import ACCEPTED
from thinwire.testing.npy import hostile_npy

MODEL = {"w": np.linspace(-1, 1, 35, dtype=np.float32).reshape(5, 7), "b": np.ones(7), "n": np.array([3, 4])}
STYPES = ("numpy.ndarray",) * 60 + ("", "pickle", records.UP, records.DOWN, records.STATE)
ALLOWED = 1e-3, 2e-6


class Replay:
    """A Grid whose nodes 1 and 3 answer honestly, and whose node 2 answers what it is told to."""

    def __init__(self) -> None:
        self.evil, self._ids = RecordDict(), count(1)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return [self._answer(message) for message in messages]

    def elapsed_s(self, message_id: str) -> float:
        return 0.0

    def _answer(self, message: Message) -> Message:
        set_message_id(message, str(next(self._ids)))
        honest = message.metadata.dst_node_id != 2
        return Message(reply({k: Array(v) for k, v in MODEL.items()}) if honest else self.evil, reply_to=message)


def reply(arrays: dict[str, Array], record: str = "arrays") -> RecordDict:
    return RecordDict({record: ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1})})


def hostile_reply(rng: Random) -> RecordDict:
    arrays = {name: Array(x) for name, x in MODEL.items()}
    for name in rng.sample(list(MODEL), rng.choice((1, 1, 1, 2, 3))):
        x = rng.choice((MODEL[name], MODEL[name], MODEL[name], rng.choice(list(MODEL.values()))))
        data = hostile_npy(rng, rng.choice((x, x, x.astype(x.dtype.newbyteorder(">")), x * np.float64(1e300))))
        dtype = rng.choice((str(x.dtype),) * 4 + ("", "float32", "object", "\x1b[31m"))
        shape = rng.choice((x.shape,) * 4 + ((), (10**12,), (-1,)))
        arrays[name] = Array(dtype, shape, rng.choice(STYPES), data)
    chance = rng.random()
    if chance < 0.04:
        arrays.pop(rng.choice(list(arrays)))
    elif chance < 0.08:
        arrays[rng.choice(("more", "", "w\x00", "thinwire"))] = Array(np.ones(3))
    elif chance < 0.12:
        arrays = dict(rng.sample(list(arrays.items()), len(arrays)))
    content = reply(arrays, rng.choice(("arrays",) * 30 + ("params", "metric", "", "arrays\x00")))
    if chance > 0.96:
        content[rng.choice(("more", "config"))] = ArrayRecord({k: arrays[k] for k in list(arrays)[:1]})
    return content


def judge(grid: CompressedGrid, inner: Replay, content: RecordDict) -> str:
    """Return ``accepted``, or the reason of the refusal. Raises AssertionError, or whatever escaped, on a bug."""
    inner.evil = content
    config = ConfigRecord({"server-round": 1})
    sent = RecordDict({"arrays": ArrayRecord({k: Array(v) for k, v in MODEL.items()}), "config": config})
    replies = list(grid.send_and_receive([Message(sent, node, "train") for node in (1, 2, 3)]))
    first, evil, last = replies
    assert not any(reply.has_error() for reply in (first, last)), "an honest reply is refused"
    average, _ = FedAvg().aggregate_train(1, replies)
    assert average is not None, "there is no average"
    assert list(average) == list(MODEL), "the average has other arrays"
    assert all(np.isfinite(array.numpy()).all() for array in average.values()), "the average is not finite"
    if not evil.has_error():
        return ACCEPTED
    assert "reply cannot be read" not in evil.error.reason, evil.error.reason
    return reason_of(evil.error.reason)


def reason_of(text: str) -> str:
    """Return the kind of a refusal: its words, without names, types and numbers."""
    for words in ("cannot be read", "expected numbers", "NaN or infinity", "other arrays than", "no package"):
        if words in text:
            return words
    return text[:80]


def read(content: RecordDict) -> None:
    records.read_untrusted(records.arrays_of(content))


def size(content: RecordDict) -> int:
    return sum(len(array.data) for array in records.arrays_of(content).values())


def beginnings(content: RecordDict) -> dict[str, bytes]:
    return {name: bytes(array.data[:400]) for name, array in records.arrays_of(content).items()}


def fuzz_dense(replies: int, seed: int) -> dict[str, object]:
    identify_process(1, 0)
    rng, inner = Random(seed), Replay()
    grid = CompressedGrid(inner)  # type: ignore[arg-type]
    for node in (1, 2, 3):
        grid.nodes[node].plain = True

    def judge_and_forget(content: RecordDict) -> str:
        try:
            return judge(grid, inner, content)
        finally:
            grid.ledger.clear()

    logging.getLogger("thinwire").setLevel(logging.CRITICAL)
    with quiet_flwr(logging.CRITICAL):
        found = judged(
            "replies", replies, lambda: hostile_reply(rng), judge_and_forget, read, size, ALLOWED, beginnings
        )
    return {"seed": seed} | found
