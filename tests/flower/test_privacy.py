"""Client-side differential privacy: what the server decodes of a client is within the clipping norm, by any method."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import adaptiveclipping_mod, fixedclipping_mod
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    FedAvg,
)

from thinwire.flower import CompressedGrid, LocalGrid, compress_client, state
from thinwire.zoo import METHODS

Arrays = dict[str, np.ndarray]
NORM = 0.5


def model(seed: int = 0, dtype: str = "float32") -> Arrays:
    """Weights, batch normalization's statistics among them."""
    rng = np.random.default_rng(seed)
    return {
        "conv.weight": rng.normal(size=(24, 60)).astype(dtype),
        "conv.bias": rng.normal(size=24).astype(dtype),
        "bn.running_mean": (100 * rng.normal(size=24)).astype(dtype),
        "bn.running_var": (1000 * rng.random(24)).astype(dtype),
        "scale": np.array(rng.normal(), dtype),
    }


def moved(arrays: Arrays, node: int, number: int) -> Arrays:
    """A long step, heavy-tailed, of every float; integers count on."""
    rng = np.random.default_rng((node, number))
    return {
        name: np.asarray((x + rng.standard_t(2, size=x.shape)).astype(x.dtype)) if x.dtype.kind == "f" else x + 1
        for name, x in arrays.items()
    }


def training(*mods: Callable) -> ClientApp:
    app = ClientApp()

    @app.train(mods=list(mods))
    def _(message: Message, context: Context) -> Message:
        given = {name: array.numpy() for name, array in message.content["arrays"].items()}
        number = int(message.content["config"]["server-round"])
        arrays = {name: Array(np.asarray(x)) for name, x in moved(given, context.node_id, number).items()}
        metrics = MetricRecord({"num-examples": 1, "train_loss": 1.0 / number})
        return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def _(message: Message, context: Context) -> Message:
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1, "loss": 1.0})}), reply_to=message)

    return app


class Measured(CompressedGrid):
    """Notes the norm of every contribution as the server has it, and the clipping norm that it was to keep."""

    def __init__(self, grid: LocalGrid, *args: object, **options: object) -> None:
        super().__init__(grid, *args, **options)  # type: ignore[arg-type]
        self.seen: list[tuple[float, float]] = []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        outgoing = list(messages)
        sent = {
            message.metadata.dst_node_id: (
                {name: array.numpy() for name, array in message.content["arrays"].items()},
                float(message.content["config"]["clipping_norm"]),
            )
            for message in outgoing
            if message.metadata.message_type == "train"
        }
        replies = list(super().send_and_receive(outgoing, timeout=timeout))
        assert not [reply.error.reason for reply in replies if reply.has_error()]
        for reply in replies if sent else ():
            before, norm = sent[reply.metadata.src_node_id]
            after = {name: array.numpy() for name, array in reply.content["arrays"].items()}
            self.seen.append((contribution(before, after), norm))
        return replies

    @property
    def worst(self) -> float:
        return max(norm / bound for norm, bound in self.seen)


def contribution(before: Arrays, after: Arrays) -> float:
    wide = [np.asarray(after[name], np.complex128) - np.asarray(x, np.complex128) for name, x in before.items()]
    return float(np.sqrt(sum(np.sum(np.abs(change) ** 2) for change in wide)))


def rounds(grid: Measured, start: Arrays, count: int, norm: float = NORM) -> Arrays:
    """Average what comes back, ``count`` times."""
    for number in range(1, count + 1):
        config = ConfigRecord({"server-round": number, "clipping_norm": norm})
        content = RecordDict({"arrays": ArrayRecord({n: Array(x) for n, x in start.items()}), "config": config})
        replies = grid.send_and_receive([Message(content, node, "train") for node in grid.get_node_ids()])
        got = [{name: array.numpy() for name, array in reply.content["arrays"].items()} for reply in replies]
        start = {
            name: np.asarray(np.mean([each[name] for each in got], axis=0)).astype(x.dtype) for name, x in start.items()
        }
    return start


def run(uplink: str, downlink: str, count: int, nodes: int = 1, start: Arrays | None = None) -> Measured:
    local = LocalGrid(compress_client(training(fixedclipping_mod)), nodes)
    grid = Measured(local, uplink, downlink)
    rounds(grid, model() if start is None else start, count)
    assert len(grid.seen) == count * nodes
    for node in local.get_node_ids():
        assert not [name for name in state.load(local.context(node)).pending if name.startswith("residual/")]
    return grid


UPLINKS = [name for name in METHODS if not name.endswith("-down")]


def test_every_method_keeps_the_norm() -> None:
    nothing = []
    for uplink in UPLINKS:
        grid = run(uplink, "auto", 2)
        assert grid.worst <= 1 + 1e-6, uplink
        nothing += [uplink] * (grid.worst == 0)
    assert len(nothing) <= len(UPLINKS) // 10, nothing  # the bound is not kept by sending nothing


@pytest.mark.slow
@pytest.mark.parametrize("downlink", ["auto", "none"])
def test_every_method_keeps_the_norm_for_long(downlink: str) -> None:
    for uplink in UPLINKS:
        assert run(uplink, downlink, 20, 2).worst <= 1 + 1e-6, uplink


def test_exact_uplinks_lose_next_to_nothing() -> None:
    for downlink in ("auto", "none"):
        for uplink in ("none", "lossless"):
            grid = run(uplink, downlink, 3, 2)
            assert min(norm / bound for norm, bound in grid.seen) > 1 - 1e-2
            assert grid.worst <= 1 + 1e-6


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_dtypes_whose_sums_round_otherwise(dtype: str) -> None:
    start = {name: np.asarray(x / 100).astype(dtype) for name, x in model().items()}
    for uplink in ("auto", "none", "topk", "signsgd", "terngrad" if "terngrad" in METHODS else "randomk"):
        assert run(uplink, "auto", 3, start=start).worst <= 1 + 1e-6, uplink


def cautious(message: Message, context: Context, call_next: Callable) -> Message:
    """A clipping mod of one's own that can scale counters, which Flower's own cannot."""
    before = {name: array.numpy() for name, array in message.content["arrays"].items()}
    norm = float(message.content["config"]["clipping_norm"])
    reply = call_next(message, context)
    after = {name: array.numpy() for name, array in reply.content["arrays"].items()}
    factor = min(1.0, 0.999999 * norm / contribution(before, after))
    clipped = {name: np.asarray(before[name] + factor * (x - before[name])) for name, x in after.items()}
    assert contribution(before, clipped) <= norm
    reply.content["arrays"] = ArrayRecord({name: Array(x) for name, x in clipped.items()})
    return reply


@pytest.mark.parametrize("uplink", ["auto", "none", "topk", "signsgd"])
def test_counters_and_arrays_that_no_frame_carries_count_as_they_changed(uplink: str) -> None:
    """Large counters (their change is small), complex numbers beside the frame, uint8 that wraps around."""
    start = model() | {
        "bn.num_batches_tracked": np.array(10_000),
        "seen": np.full(5, 250, np.uint8),
        "phase": np.full(8, 30 + 40j, np.complex64),
    }
    local = LocalGrid(compress_client(training(cautious)), 1)
    grid = Measured(local, uplink, "auto")
    for number in range(1, 4):
        config = ConfigRecord({"server-round": number, "clipping_norm": 5.0})
        content = RecordDict({"arrays": ArrayRecord({n: Array(x) for n, x in start.items()}), "config": config})
        (reply,) = grid.send_and_receive([Message(content, 1, "train")])
        assert abs(float(reply.content["arrays"]["bn.num_batches_tracked"].numpy()) - 10_000) < 1.01
    assert grid.worst <= 1 + 1e-6
    assert min(norm for norm, _ in grid.seen) > 0.1


@pytest.mark.parametrize("uplink", ["auto", "topk", "signsgd"])
def test_integers_that_stay_integers(uplink: str) -> None:
    """Within the norm Flower's own mod leaves counters alone."""
    start = model() | {"bn.num_batches_tracked": np.array(10_000), "seen": np.full(5, 254, np.uint8)}
    local = LocalGrid(compress_client(training(cautious)), 1)
    grid = Measured(local, uplink, "auto")
    rounds(grid, start, 3, norm=1e6)
    assert grid.worst <= 1


DP = {
    "fixed": (fixedclipping_mod, lambda: DifferentialPrivacyClientSideFixedClipping(FedAvg(), 0.01, NORM, 3)),
    "adaptive": (
        adaptiveclipping_mod,
        lambda: DifferentialPrivacyClientSideAdaptiveClipping(FedAvg(), 0.1, 3, initial_clipping_norm=NORM),
    ),
}


@pytest.mark.parametrize("kind", DP)
@pytest.mark.parametrize("uplink", ["auto", "TopK(0.01)", "qsgd"])
def test_flowers_own_strategies(kind: str, uplink: str) -> None:
    mod, strategy = DP[kind]
    local = LocalGrid(compress_client(training(mod)), 3)
    grid = Measured(local, uplink)
    arrays = ArrayRecord({name: Array(x) for name, x in model().items()})
    result = strategy().start(grid, arrays, num_rounds=3)
    assert len(grid.seen) == 9
    assert grid.worst <= 1 + 1e-6
    assert np.isfinite(result.arrays["conv.weight"].numpy()).all()
    assert len({norm for _, norm in grid.seen}) == (3 if kind == "adaptive" else 1)


def test_a_residual_from_before_the_norm_is_not_added_under_it(caplog: pytest.LogCaptureFixture) -> None:
    """A server that begins to clip: what earlier rounds left over stays at home."""
    local = LocalGrid(compress_client(training()), 1)
    plain, clipped = CompressedGrid(local, "TopK(0.01)", "none"), {}
    for number, norm in ((1, None), (2, NORM)):
        config = {"server-round": number} | ({} if norm is None else {"clipping_norm": norm})
        content = RecordDict(
            {"arrays": ArrayRecord({n: Array(x) for n, x in model().items()}), "config": ConfigRecord(config)}
        )
        (reply,) = plain.send_and_receive([Message(content, 1, "train")])
        clipped = {name: array.numpy() for name, array in reply.content["arrays"].items()}
    assert contribution(model(), clipped) <= NORM * (1 + 1e-6)
    assert caplog.text.count("clipping mod") == 1  # nothing of this app clips: said, not done in silence
