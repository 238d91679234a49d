"""Lock-step: few operations for many tensors, and the same results as one at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from exchanged_buckets import buckets
from torch import Tensor

from thinwire import parse
from thinwire.codec import Codec, Encoded, Message, Spec, encode, encode_parts
from thinwire.errors import WireError
from thinwire.exchange import lockstep, simulate
from thinwire.exchange.choice import start
from thinwire.exchange.drive import AllToAllAll, GatherAll, SumAll, driven
from thinwire.exchange.requests import Exchange, Place
from thinwire.exchange.simulate import simulated
from thinwire.testing.tensors import same_bits, suited
from thinwire.wire import dumps

MIX = [
    "Raw()", "Uniform(bits=8)", "TopK(0.01, values=Uniform(bits=8))", "LowRank(rank=2)", "RandomK(0.1)", "Step()",
    "TopK(0.9)", "LowRank(nmse=0.1)", "Sign()", "Planes()",
]  # fmt: skip
DTYPES = [torch.float32, torch.bfloat16, torch.float64]


Damage = Callable[[bytes], bytes]


def mixed(world: int) -> tuple[list[dict[str, Tensor]], dict[str, Codec]]:
    """Return thirty tensors for every rank, of three dtypes, by ten codecs."""
    names = [f"layer{i}" for i in range(30)]
    per_rank = [
        {name: suited("update", (40, i + 6), DTYPES[i // 10], 100 * rank + i) for i, name in enumerate(names)}
        for rank in range(world)
    ]
    return per_rank, {name: parse(MIX[i % 10]) for i, name in enumerate(names)}


@pytest.mark.parametrize("world", [2, 3, 4])
def test_thirty_mixed_tensors_take_a_handful_of_operations(world: int) -> None:
    per_rank, codecs = mixed(world)
    done = simulated(per_rank, codecs)
    assert len(done.operations) <= 5
    assert done.operations == ("AllToAllAll", "SumAll", "SumAll", "GatherAll")


@pytest.mark.parametrize("world", [1, 3])
def test_together_is_as_one_at_a_time(world: int) -> None:
    per_rank, codecs = mixed(world)
    together = simulated(per_rank, codecs, seed=9)
    for name in codecs:
        alone = simulated([{name: tensors[name]} for tensors in per_rank], codecs, seed=9)
        for one, all_ in zip(alone.averages, together.averages, strict=True):
            assert same_bits(one[name].mean, all_[name].mean)
            assert same_bits(one[name].contributed, all_[name].contributed)


def test_one_rank_and_no_tensors_need_no_operation() -> None:
    per_rank, codecs = mixed(1)
    assert simulated(per_rank, codecs).operations == ()
    assert simulated([{}, {}], codecs).operations == ()


def test_sums_are_the_drivers_own_memory() -> None:
    given = [torch.ones(4), torch.ones(3, 2, dtype=torch.float64)]
    driving = driven({str(i): begun("sum", "Raw()", x) for i, x in enumerate(given)}, 2)
    operation = next(driving)
    assert isinstance(operation, SumAll)
    assert [Spec.of(flat) for flat in operation.flats] == [Spec((4,), torch.float32), Spec((6,), torch.float64)]
    with pytest.raises(StopIteration) as end:
        driving.send([flat.mul_(2) for flat in operation.flats])
    assert all(bool((x == 1).all()) for x in given)
    assert all(bool((average.mean == 1).all()) for average in end.value.value.values())


def begun(name: simulate.Name, text: str, x: Tensor) -> Exchange:
    return start(name, parse(text), x, Place(0, 2), 3, {})


def bent(frame: bytes) -> bytes:
    return frame[:-9] + bytes([frame[-9] ^ 1]) + frame[-8:]


@pytest.mark.parametrize("damage", [bent, lambda frame: frame[:-1], lambda frame: b"", lambda frame: frame + b"\0"])
@pytest.mark.parametrize("text", ["Uniform(bits=8)", "TopK(0.05)"])
def test_a_damaged_frame_is_refused(text: str, damage: Damage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockstep, "dumps", lambda message: damage(dumps(message)))
    with pytest.raises(WireError):
        simulated(buckets(3), parse(text))


def hostile() -> dict[str, Encoded]:
    """Return what a peer could send as a frame that is sound in itself, for a tensor of ten elements."""
    sparse = encode_parts(parse("TopK(0.2, indices=Raw())"), torch.arange(10.0), 0, {})[0]
    spec = sparse.parts["indices"].spec  # type: ignore[union-attr]
    raw = parse("Raw()")
    indices = {
        "beyond": torch.tensor([3, 10]), "negative": torch.tensor([-1, 3]), "wild": torch.tensor([3, 1 << 60]),
    }  # fmt: skip
    bad = {
        name: Encoded(sparse.codec, sparse.spec, {**sparse.parts, "indices": Encoded(raw, spec, {"data": at})}, 0, 2)
        for name, at in indices.items()
    }
    values = Encoded(raw, Spec((2,), torch.float32), {"data": torch.tensor([1.0, float("nan")])})
    return bad | {
        "NaN value": Encoded(sparse.codec, sparse.spec, {**sparse.parts, "values": values}, 0, 2),
        "NaN": encode(parse("Planes()"), torch.full((10,), float("nan"))),
    }


@pytest.mark.parametrize("name", list(hostile()))
@pytest.mark.parametrize("exchange", ["gather", "two-shot"])
def test_hostile_contents_are_refused_by_name(exchange: simulate.Name, name: str) -> None:
    given = hostile()[name]
    x = torch.arange(10.0) if exchange == "gather" else torch.arange(30.0)
    driving = driven({"w": start(exchange, parse("TopK(0.2)"), x, Place(1, 3), 3, {})}, 3)
    operation = next(driving)
    assert isinstance(operation, GatherAll | AllToAllAll)
    mine = operation.message if isinstance(operation, GatherAll) else operation.messages[1]
    theirs: Message = {"w": given}
    with pytest.raises(WireError, match=r"^w: "):
        driving.send([theirs, mine, theirs])


def test_a_mean_that_is_not_finite_is_refused_by_name() -> None:
    driving = driven({"w": start("two-shot", parse("Uniform(bits=4)"), torch.arange(30.0), Place(1, 3), 3, {})}, 3)
    first = next(driving)
    assert isinstance(first, AllToAllAll)
    second = driving.send([first.messages[1]] * 3)
    assert isinstance(second, GatherAll)
    spoilt: Message = {"w": encode(parse("Raw()"), torch.full((10,), float("nan")))}
    with pytest.raises(WireError, match=r"^w: a mean is not finite"):
        driving.send([second.message, second.message, spoilt])
