"""What a node is sent depends on what it was sent before, and on nothing else; and both ends agree, whatever is lost."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import client

from thinwire.flower import CompressedGrid, LocalGrid, compress_client, records, state
from thinwire.flower.protocol import Package, model_hash

RECEIVED: dict[int, list[dict[str, np.ndarray]]] = {}


def echo(message: Message, context: Context) -> Message:
    """Send back what came, and write down what that was."""
    arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
    RECEIVED.setdefault(context.node_id, []).append(arrays)
    return Message(
        RecordDict({"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 1})}), reply_to=message
    )


def echoing() -> ClientApp:
    RECEIVED.clear()
    app = client(echo)
    app.evaluate()(echo)
    return compress_client(app)


class Tapped(LocalGrid):
    """Keeps the packages that go to each node."""

    def push_messages(self, messages):
        messages = list(messages)
        for message in messages:
            data = records.carried(message.content, records.DOWN)
            if data is not None:
                self.__dict__.setdefault("packages", {}).setdefault(message.metadata.dst_node_id, []).append(
                    Package.loads(data)
                )
        return super().push_messages(messages)


def message(tensors: dict[str, np.ndarray], node: int, round_: int, kind: str = "train") -> Message:
    arrays = ArrayRecord({name: Array(x) for name, x in tensors.items()})
    return Message(RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": round_})}), node, kind)


def model(seed: int, base: dict[str, np.ndarray] | None = None, by: float = 0.05) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    fresh = {"w": rng.normal(size=(48, 40)), "b": rng.normal(size=40), "n": np.array(seed), "on": rng.normal(size=5) > 0}
    if base is None:
        return {name: x.astype(np.float32) if x.dtype == np.float64 else x for name, x in fresh.items()}
    return {n: (base[n] + by * x).astype(np.float32) if x.dtype == np.float64 else x for n, x in fresh.items()}


def error(node: int, wanted: dict[str, np.ndarray]) -> float:
    got = RECEIVED[node][-1]["w"]
    return float(((got - wanted["w"]) ** 2).sum() / (wanted["w"] ** 2).sum())


def send(grid: CompressedGrid, *messages: Message) -> list[Message]:
    replies = list(grid.send_and_receive(messages))
    assert not [reply.error.reason for reply in replies if reply.has_error()]
    return replies


@pytest.mark.parametrize("spec", ["auto", "none", "lossless", "Uniform(bits=4)", "LowRank(ratio=0.2)", "TopK(0.1)"])
def test_nodes_of_equal_history_get_equal_bytes_and_hold_equal_models(spec: str) -> None:
    inner = Tapped(echoing(), 3)
    grid, content = CompressedGrid(inner, "none", spec), model(1)
    for round_ in range(1, 6):
        content = model(round_, content)
        send(grid, *(message(content, node, round_) for node in (1, 2, 3)))
        packages = [inner.packages[node][-1] for node in (1, 2, 3)]
        assert len({(p.frame, p.base, p.target) for p in packages}) == 1
        held = [state.load(inner.context(node)) for node in (1, 2, 3)]
        assert {model_hash(dict(each.reference(packages[0].target[:16]))) for each in held} == {packages[0].target}
        if spec in ("none", "lossless"):
            assert all(np.array_equal(RECEIVED[1][-1][name], x) for name, x in content.items())
    assert [t.kind for t in grid.ledger if t.direction == "down"] == ["whole"] * 3 + ["delta"] * 12


def histories(others: int) -> dict[str, list[tuple[bytes, bytes, bytes]]]:
    """Packages of node 1 in a run whose other nodes are sent what the seed ``others`` says; node 1 sees the same."""
    inner = Tapped(echoing(), 4)
    grid, mine, first = CompressedGrid(inner, "none"), model(0), model(9)
    send(grid, *(message(first, node, 1) for node in (1, 2, 3, 4)))
    for round_ in range(2, 7):
        mine = model(round_, mine)
        theirs = [model(others + 100 * round_ + node, first if round_ % 2 else None) for node in (2, 3, 4)]
        calls = [message(mine, 1, round_), *(message(x, node, round_) for node, x in enumerate(theirs, 2))]
        if round_ % 3 == 0:  # one by one, others first: nothing says that these are other models
            for each in reversed(calls):
                send(grid, each)
        else:
            send(grid, *calls)
    return {"1": [(p.base, p.target, p.frame) for p in inner.packages[1]]}


def test_nothing_that_others_are_sent_shapes_a_nodes_bytes() -> None:
    assert histories(others=1000) == histories(others=777_000)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


@pytest.mark.parametrize("one_by_one", [False, True])
def test_no_package_decodes_to_anothers_model(one_by_one: bool) -> None:
    grid, first = CompressedGrid(LocalGrid(echoing(), 3)), model(5)
    send(grid, *(message(first, node, 1) for node in (1, 2, 3)))
    private = {node: model(50 + node, first, by=1.0) for node in (1, 2, 3)}
    calls = [message(private[node], node, 2) for node in (1, 2, 3)]
    for call in [[each] for each in calls] if one_by_one else [calls]:
        send(grid, *call)
    moved = {node: RECEIVED[node][-1]["w"] - first["w"] for node in (1, 2, 3)}
    own = {node: private[node]["w"] - first["w"] for node in (1, 2, 3)}
    for node in (1, 2, 3):
        assert cosine(moved[node], own[node]) > 0.85
        for other in {1, 2, 3} - {node}:
            assert cosine(moved[node], own[other]) < cosine(own[node], own[other]) + 0.05


def test_each_of_several_models_of_one_shape_is_within_its_own_bound() -> None:
    """Clusters of nodes, and one node that is sent two models in turns."""
    contents = {name: model(ord(name)) for name in "ABCDE"}
    grid, one = (CompressedGrid(LocalGrid(echoing(), nodes), "none", "ErrorBound(nmse=0.2)") for nodes in (5, 1))
    alone = model(1)
    for round_ in range(1, 6):
        contents = {name: model(round_ * 7 + ord(name), x) for name, x in contents.items()}
        grid_calls = [message(contents["AABBC"[node - 1]], node, round_) for node in (1, 2, 3, 4, 5)]
        send(grid, *grid_calls)
        for node in (1, 2, 3, 4, 5):
            assert error(node, contents["AABBC"[node - 1]]) < 0.01
        for name in "DE":
            send(grid, message(contents[name], 5, round_))
            assert error(5, contents[name]) < 0.01
        alone = model(round_ * 7, alone)
        send(one, message(alone, 1, round_))
    down = [t.payload_bytes for t in grid.ledger if (t.direction, t.node_id) == ("down", 5)]
    single = [t.payload_bytes for t in one.ledger if t.direction == "down"]
    assert sum(down) <= 3.2 * sum(single)  # three models cost three times one


def test_what_a_round_did_not_send_the_next_one_does() -> None:
    grid, content, errors = CompressedGrid(LocalGrid(echoing(), 1), "none", "ErrorBound(nmse=0.3)"), model(1), []
    for round_ in range(1, 9):  # the weights stop moving after round 1; only an integer keeps the model new
        send(grid, message(content | {"n": np.array(round_)}, 1, round_))
        errors.append(error(1, content))
    assert all(later <= 0.31 * earlier for earlier, later in pairwise(errors))


def test_a_model_already_held_is_a_hash() -> None:
    inner = Tapped(echoing(), 1)
    grid, content = CompressedGrid(inner), model(1)
    send(grid, message(content, 1, 1))
    send(grid, message({name: x.copy() for name, x in content.items()}, 1, 1, "evaluate"))
    assert [t.kind for t in grid.ledger if t.direction == "down"] == ["whole", "held"]
    assert grid.ledger[-2].payload_bytes < 250
    assert all(np.array_equal(RECEIVED[1][0][name], RECEIVED[1][1][name]) for name in content)


def test_who_comes_from_afar_is_within_the_bound_of_one_rounds_move() -> None:
    """A node that missed rounds is sent one difference; its error is no larger than that of who took part in all."""
    grid, content = CompressedGrid(LocalGrid(echoing(), 2)), model(1)
    send(grid, message(content, 1, 1), message(content, 2, 1))
    for round_ in range(2, 10):
        content = model(round_, content)
        send(grid, *(message(content, node, round_) for node in ((1, 2) if round_ == 9 else (1,))))
    assert error(2, content) < 2 * error(1, content)
    assert [t.kind for t in grid.ledger if (t.direction, t.node_id) == ("down", 2)] == ["whole", "delta"]


def test_references_over_the_limit_go_and_the_model_is_sent_whole() -> None:
    grid, content = CompressedGrid(LocalGrid(echoing(), 2), reference_bytes=1), model(1)
    for round_ in range(1, 4):
        content = model(round_, content)
        send(grid, message(content, 1, round_), message(model(round_ + 50), 2, round_))
        assert error(1, content) < 0.01
    assert len(grid._downlink._references._held) <= 1


FATES = st.lists(
    st.lists(st.sampled_from(["ok", "ok", "lost", "reply lost", "absent", "restarted"]), min_size=3, max_size=3),
    min_size=1,
    max_size=8,
)


@settings(max_examples=12, deadline=None)
@given(FATES)
def test_models_arrive_under_any_schedule(rounds: list[list[str]]) -> None:
    fates: list[str] = ["ok"] * 3

    def drop(sent: Message) -> bool:
        is_reply = bool(sent.metadata.reply_to_message_id)
        node = sent.metadata.src_node_id if is_reply else sent.metadata.dst_node_id
        return fates[node - 1] == ("reply lost" if is_reply else "lost")

    inner, content = LocalGrid(echoing(), 3, drop=drop), model(1)
    grid, empty = CompressedGrid(inner, "none", "ErrorBound(nmse=0.1)"), dict(inner._contexts)
    for number, fates in enumerate(rounds, 1):  # noqa: B007
        content = model(number, content)
        for node in (1, 2, 3):
            if fates[node - 1] == "restarted":
                inner._contexts[node] = empty[node]
        asked = [node for node in (1, 2, 3) if fates[node - 1] != "absent"]
        replies = send(grid, *(message(content, node, number) for node in asked))
        there = {reply.metadata.src_node_id for reply in replies}
        assert there == {node for node in asked if fates[node - 1] in ("ok", "restarted")}
        for node in there:
            assert error(node, content) < 0.02


def test_the_dtypes_of_a_message_are_those_that_arrive() -> None:
    """A strategy that turns float32 into float64, or counts into floats, is followed as stock Flower follows it."""
    grid, content = CompressedGrid(LocalGrid(echoing(), 1)), model(1)
    send(grid, message(content, 1, 1))
    doubled = {name: np.asarray(x.astype(np.float64) + 0.25) for name, x in content.items()}
    send(grid, message(doubled, 1, 2))
    assert {name: x.dtype for name, x in RECEIVED[1][-1].items()} == {name: x.dtype for name, x in doubled.items()}
    assert RECEIVED[1][-1]["n"] == doubled["n"]
    assert error(1, doubled) < 0.01


def test_a_second_server_starts_from_nothing() -> None:
    inner = LocalGrid(echoing(), 1)
    for seed in (1, 2):
        grid = CompressedGrid(inner)
        send(grid, message(model(seed), 1, 1))
        assert error(1, model(seed)) < 0.01
    kept = state.load(inner.context(1))
    assert len(kept.references) == 1
    assert torch.is_tensor(next(iter(kept.reference(bytes.fromhex(kept.references[0])).values())))
