"""Any arrays: kinds that no frame carries, NaN and emptiness, other arrays back, and statistics of mixed scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from rounds import client

from thinwire.flower import CompressedGrid, LocalGrid, compress_client

Tensors = dict[str, np.ndarray]
Records = dict[str, Tensors]
W, HEAD = np.linspace(-1, 1, 1600, dtype=np.float32).reshape(40, 40), np.ones((40, 10), np.float32)


def exchange(
    sent: Tensors,
    answer: Callable[[Tensors], Records],
    rounds: int = 2,
    nodes: int = 1,
    wrapped: bool = True,
    **options,
) -> tuple[CompressedGrid, list[Message]]:
    """Send arrays and have clients answer with what ``answer`` makes of what they got; the last round's replies."""

    def behave(message: Message, context: Context) -> Message:
        got = {name: array.numpy() for name, array in message.content["arrays"].items()}
        made = {
            record: ArrayRecord({name: Array(np.asarray(x)) for name, x in arrays.items()})
            for record, arrays in answer(got).items()
        }
        return Message(RecordDict({**made, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    app = compress_client(client(behave)) if wrapped else client(behave)
    grid = CompressedGrid(LocalGrid(app, nodes), **options)
    arrays = ArrayRecord({name: Array(x) for name, x in sent.items()})
    replies: list[Message] = []
    for round_ in range(1, rounds + 1):
        content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": round_})})
        replies = list(grid.send_and_receive([Message(content, node, "train") for node in range(1, nodes + 1)]))
    return grid, replies


def opened(reply: Message) -> Records:
    assert not reply.has_error(), reply.error.reason
    return {
        record: {name: array.numpy() for name, array in arrays.items()}
        for record, arrays in reply.content.array_records.items()
    }


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


UNLISTED = {
    "complex64": np.array([1 + 2j, 3], np.complex64),
    "uint16": np.array([1, 65535], np.uint16),
    "uint32": np.array([7, 2**32 - 1], np.uint32),
    "uint64": np.array([2**64 - 1], np.uint64),
    "text": np.array(["a", "bc"]),
    "bytes": np.array([b"x"]),
    "long double": np.ones(3, np.longdouble),
    "big-endian": np.arange(3, dtype=">f4"),
    "dates": np.array(["2026-01-01"], "datetime64[D]"),
}


@pytest.mark.parametrize("downlink", ["auto", "lossless"])
def test_an_array_that_no_frame_carries_goes_as_it_is_and_the_others_are_compressed(downlink: str) -> None:
    seen: list[Tensors] = []
    sent = {"first": W, **{f"odd {name}": x for name, x in UNLISTED.items()}, "w": np.tile(W, (5, 5)), "n": np.array(3)}
    grid, (reply,) = exchange(sent, lambda got: seen.append(got) or {"arrays": got}, downlink=downlink)
    back = opened(reply)["arrays"]
    assert list(seen[-1]) == list(back) == list(sent)
    assert all(equal(seen[-1][f"odd {name}"], x) for name, x in UNLISTED.items())
    assert all(equal(back[f"odd {name}"], x.astype(x.dtype.newbyteorder("="))) for name, x in UNLISTED.items())
    assert {t.kind for t in grid.ledger} == {"whole", "held", "update"}
    assert all(0 <= t.not_compressed < t.payload_bytes < t.dense_bytes / 2 for t in grid.ledger)


def test_arrays_of_nothing_and_of_no_number_travel_as_they_are() -> None:
    mask = np.triu(np.full((64, 64), -np.inf, np.float32), 1)
    odd = {
        "mask": mask,
        "nan": np.array([1, np.nan, np.inf, -0.0], np.float64),
        "empty": np.zeros((0, 3), np.float32),
        "zero-d": np.float32(3.5),
        "big mask": np.where(np.eye(64, dtype=bool), 0, -1e9).astype(np.float32),
    }
    seen: list[Tensors] = []
    odd = {name: np.asarray(x) for name, x in odd.items()}
    for uplink, downlink in (
        ("auto", "auto"),
        ("none", "auto"),
        ("TopK(0.01)", "Uniform(bits=4)"),
        ("lossless", "none"),
    ):
        _, (reply,) = exchange(
            {"w": W, **odd}, lambda got: seen.append(got) or {"arrays": got}, uplink=uplink, downlink=downlink
        )
        back = opened(reply)["arrays"]
        for name, x in odd.items():
            exactly = name != "zero-d"
            assert equal(seen[-1][name], x) if exactly else np.allclose(seen[-1][name], x, rtol=0.1)
            assert equal(back[name], x) if exactly else np.allclose(back[name], x, rtol=0.1)


def test_a_client_may_answer_nan_only_where_the_model_has_it() -> None:
    model = {"w": W, "mask": np.array([0, np.nan], np.float32)}
    _, (fine,) = exchange(model, lambda got: {"arrays": got})
    assert np.isnan(opened(fine)["arrays"]["mask"][1])
    for spoiled in ({"w": W * np.nan}, {"mask": np.full(2, np.nan, np.float32)}):
        _, (bad,) = exchange(model, lambda got, spoiled=spoiled: {"arrays": got | spoiled})
        assert bad.has_error()
        assert "NaN" in bad.error.reason


STATISTICS = {
    "bn.running_mean": np.array([38, 191000, 10, 954, 83, 40], np.float32),
    "bn.running_var": np.array([180, 1.1e10, 6.5, 5.4e7, 1.6e5, 1.5e2], np.float32),
    "bn.num_batches_tracked": np.array(70),
}


def test_statistics_of_mixed_scale_arrive_exactly_both_ways() -> None:
    seen: list[Tensors] = []
    change = {"bn.running_mean": np.float32(1.01), "bn.running_var": np.float32(0.93)}

    def answer(got: Tensors) -> Records:
        seen.append(got)
        return {"arrays": {name: x * change[name] if name in change else x + 1 for name, x in got.items()}}

    _, (reply,) = exchange({"w": W, **STATISTICS}, answer)
    back = opened(reply)["arrays"]
    for name, x in STATISTICS.items():
        assert equal(seen[-1][name], x)
        assert equal(back[name], x * change[name] if name in change else x + 1)


def test_unnamed_vectors_of_mixed_scale_keep_every_element() -> None:
    """As lists of weights have them, without a name that says what they are."""
    vector = np.array([38, 191000, 10, 954, 83, 40, 1e-3, 0, -7], np.float32)
    long = np.tile(vector, 300)
    seen: list[Tensors] = []
    _, (reply,) = exchange({"0": W, "1": vector, "2": long}, lambda got: seen.append(got) or {"arrays": got})
    for name, x in (("1", vector), ("2", long)):
        for got in (seen[-1][name], opened(reply)["arrays"][name]):
            assert np.all(np.abs(got - x) <= 0.02 * np.abs(x))


def test_unnamed_variances_never_arrive_below_zero() -> None:
    """A bound on the change alone would let one that falls from 100 to 0.01 arrive as -0.3: a NaN in its root."""
    variances = np.geomspace(90, 2000, 60, dtype=np.float32)
    fallen = np.random.default_rng(0).uniform(0, 0.02, 60).astype(np.float32)
    seen: list[Tensors] = []
    _, (reply,) = exchange({"0": W, "1": variances}, lambda got: seen.append(got) or {"arrays": {**got, "1": fallen}})
    assert equal(opened(reply)["arrays"]["1"], fallen)
    assert np.all(seen[-1]["1"] >= 0)


def test_a_rule_by_name_makes_tensors_exact() -> None:
    rng, seen = np.random.default_rng(0), list[Tensors]()
    model = {
        "head.w": rng.normal(size=(64, 64)).astype(np.float32),
        "body.w": rng.normal(size=(64, 64)).astype(np.float32),
    }
    step = {name: rng.normal(size=(64, 64)).astype(np.float32) for name in model}

    def answer(got: Tensors) -> Records:
        seen.append(got)
        return {"arrays": {name: x + step[name] for name, x in got.items()}}

    _, (reply,) = exchange(model, answer, exact="head.* *running_*")
    assert equal(seen[-1]["head.w"], model["head.w"])
    assert equal(opened(reply)["arrays"]["head.w"], model["head.w"] + step["head.w"])
    assert not equal(seen[-1]["body.w"], model["body.w"])


ANSWERS: dict[str, tuple[Tensors, Callable[[Tensors], Records]]] = {
    "part of the model": ({"body": W, "head": HEAD}, lambda got: {"arrays": {"body": got["body"] + 1}}),
    "bytes of another length": ({"0": np.zeros(0, np.uint8)}, lambda got: {"arrays": {"0": np.ones(9, np.uint8)}}),
    "a model that grew": ({"trees": HEAD}, lambda got: {"arrays": {"trees": np.vstack([got["trees"], HEAD])}}),
    "a second record": (
        {"body": W},
        lambda got: {"arrays": got, "fisher": {"body": got["body"] * 3}},
    ),
    "another record": ({"body": W}, lambda got: {"params": {"body": got["body"] + 1}}),
    "other names": ({"body": W}, lambda got: {"arrays": {"embedding": got["body"] + 1}}),
    "another order": (
        {"body": W, "head": HEAD},
        lambda got: {"arrays": dict(reversed(got.items()))},
    ),
    "a slice": ({"body": W}, lambda got: {"arrays": {"body": got["body"][:20, :30]}}),
    "wider numbers": ({"body": W}, lambda got: {"arrays": {"body": got["body"].astype(np.float64) * 1.1}}),
    "narrower numbers": ({"body": W}, lambda got: {"arrays": {"body": got["body"].astype(np.float16)}}),
    "floats for integers": ({"x": np.zeros(4, int)}, lambda got: {"arrays": {"x": np.full(4, 0.75)}}),
    "more than bytes hold": ({"x": np.zeros(4, np.uint8)}, lambda got: {"arrays": {"x": np.full(4, 300)}}),
    "floats for bools": ({"x": np.zeros(4, bool)}, lambda got: {"arrays": {"x": np.full(4, 0.3)}}),
    "tiny beside huge": ({"x": np.full(4, 1e3)}, lambda got: {"arrays": {"x": np.full(4, 1e-3)}}),
    "nothing at all": ({"body": W}, lambda got: {}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_of_other_arrays_are_what_stock_flower_hands_on(name: str) -> None:
    sent, answer = ANSWERS[name]
    expected = answer(sent)
    for wrapped in (True, False):
        _, replies = exchange(sent, answer, 3, 2, wrapped, uplink="lossless", downlink="lossless")
        for reply in replies:
            got = opened(reply)
            assert list(got) == list(expected)
            for record, arrays in expected.items():
                # In the order of the message: some strategies go by places.
                assert list(got[record]) == [*(key for key in sent if key in arrays), *(arrays.keys() - sent.keys())]
                assert all(equal(got[record][key], np.asarray(x)) for key, x in arrays.items()), (name, wrapped)
    _, replies = exchange(sent, answer, 3, 2)
    for reply in replies:
        for record, arrays in opened(reply).items():
            for key, x in arrays.items():
                assert x.dtype == np.asarray(expected[record][key]).dtype
                assert np.allclose(x, expected[record][key], atol=0.3)


def test_a_federation_is_lossless_to_the_last_bit_where_that_is_asked_for() -> None:
    """A sum of reference and difference rounds; what must be exact goes as it is."""
    rng = np.random.default_rng(1)
    model = {"w": (rng.normal(size=(30, 40)) * 10.0 ** rng.integers(-6, 6, (30, 40))).astype(np.float32)}
    step = (rng.normal(size=(30, 40)) * 10.0 ** rng.integers(-9, 3, (30, 40))).astype(np.float32)
    for way in ("lossless", "none"):
        _, (reply,) = exchange(model, lambda got: {"arrays": {"w": got["w"] + step}}, uplink=way, downlink=way)
        assert equal(opened(reply)["arrays"]["w"], model["w"] + step)


def test_answers_that_are_updates_and_not_models_keep_their_bound() -> None:
    """As SCAFFOLD and FedNova answer: same names and shapes, but gradients."""
    rng = np.random.default_rng(2)
    model, gradient = rng.normal(size=(64, 64)).astype(np.float32), 1e-3 * rng.normal(size=(64, 64)).astype(np.float32)
    total, rounds = np.zeros_like(gradient), 6

    def behave(message: Message, context: Context) -> Message:
        arrays = ArrayRecord({"w": Array(gradient)})
        return Message(RecordDict({"arrays": arrays, "m": MetricRecord({"num-examples": 1})}), reply_to=message)

    grid = CompressedGrid(LocalGrid(compress_client(client(behave)), 1))
    for round_ in range(1, rounds + 1):
        content = RecordDict({"arrays": ArrayRecord({"w": Array(model)}), "c": ConfigRecord({"server-round": round_})})
        (reply,) = grid.send_and_receive([Message(content, 1, "train")])
        got = reply.content["arrays"]["w"].numpy()
        assert nmse(got, gradient) < 0.7
        total += got
    assert nmse(total, rounds * gradient) < 0.02  # feedback sends next time what one answer left out


def nmse(x: np.ndarray, y: np.ndarray) -> float:
    return float(((x - y) ** 2).sum() / (y**2).sum())


def test_names_and_shapes_over_the_limits_go_beside() -> None:
    noise = np.random.default_rng(0).integers(0, 256, HEAD.nbytes, np.uint8)  # which zstd makes no smaller
    odd = {"n" * 5000: noise, "deep": np.zeros((1,) * 33, np.float32)}
    grid, (reply,) = exchange({"w": W, **odd}, lambda got: {"arrays": got})
    assert list(opened(reply)["arrays"]) == ["w", *odd]
    assert all(t.payload_bytes > noise.nbytes and t.tensors.keys() <= {"w"} for t in grid.ledger)


def test_many_tensors() -> None:
    many = {f"layer.{i}.weight": np.full(2, i, np.float32) for i in range(500)}
    _, (reply,) = exchange(many, lambda got: {"arrays": got}, 1, uplink="lossless", downlink="lossless")
    back = opened(reply)["arrays"]
    assert all(equal(back[name], x) for name, x in many.items())
