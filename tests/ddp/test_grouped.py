"""Gradients that one codec takes go as one tensor, and each comes to what it would alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from thinwire.codec import Encoded, Spec, decode, derive_seed, encode, encode_parts, specs
from thinwire.codecs import Raw, Segments, Sparse, TopK, Uniform
from thinwire.ddp.bucket import Bucket, Turn
from thinwire.ddp.grouped import Grouped
from thinwire.ddp.method import resolved
from thinwire.ddp.simulated import SimulatedCompression
from thinwire.ddp.state import Memory
from thinwire.ddp.units import units
from thinwire.errors import NonFiniteError, WireError
from thinwire.exchange import Place
from thinwire.exchange.group import Member
from thinwire.exchange.requests import Gather
from thinwire.exchange.selected import Selected
from thinwire.exchange.simulate import simulated
from thinwire.exchange.sparse_group import SparseGroup
from thinwire.registry import parse
from thinwire.testing.tensors import suited

Gradients = dict[str, Tensor]
LOSSLESS = [
    "TopK(0.05)", "HggTopK(0.05)", "Gaussian(0.05)", "DGCSampling(0.05)", "RedSync(0.05)", "SIDCo(0.05)",
    "MSTopK(0.05)", "ReusedThreshold(0.05)", "ChunkTopK(4, 64)", "AdaComp(50)", "Threshold(0.02)", "Threshold(1e30)",
    "TopK(0.05, values=Planes())",
]  # fmt: skip
LEVELS = ["TopK(0.05, values=Uniform(bits=8))", "HggTopK(0.05, values=Uniform(bits=3, symmetric=True))"]
QUANTIZERS = [
    "Uniform(bits=8)",
    "Uniform(bits=4, block=64)",
    "Uniform(bits=11, symmetric=True, block=100, codes=Zstd())",
]
OTHERS = ["TopK(0.05, values=Sign())", "TopK(0.05, values=Uniform(bits=8, rounding='stochastic'))", "TopK(0.9)"]
STEPS, WORLD, SEED = 3, 2, 7


def ordinary(rank: int, step: int) -> Gradients:
    seed = 10 * step + rank
    return {
        "rows": suited("update", (66, 50), seed=seed),
        "large": suited("update", (150, 120), seed=seed + 1),
        "4-d": suited("update", (8, 4, 3, 3), seed=seed),
        "prime": suited("update", (1031,), seed=seed),
        "zeros": torch.zeros(8, 60),
        "constant": torch.full((25, 7), 0.3),
        "float64": suited("update", (30, 10), torch.float64, seed=seed),
        "float16": suited("update", (333,), torch.float16, seed=seed),
        "strided": suited("update", (40, 60), seed=seed)[:, ::2].T,
    }


def awkward(rank: int, step: int) -> Gradients:
    """Return also what no scale is made for, and tensors as small as what selects of them is."""
    most = torch.finfo(torch.float32).max
    return ordinary(rank, step) | {
        "one": torch.tensor([0.7 - rank]),
        "0-d": torch.tensor(-2.5 * rank),
        "three": suited("update", (3,), seed=rank),
        "empty": torch.zeros(0, 5),
        "tiny": suited("update", (40, 10), seed=rank) * 1e-33,
        "tiny on one": suited("update", (40, 10), seed=rank) * (1e-33 if rank else 1.0),
        "huge": suited("update", (40, 10), seed=rank).sign() * most / 8 * (step == 0),
        "zeros on one": suited("update", (40, 10), seed=rank) * rank,
        "negative zero": torch.full((9,), -0.0),
    }


def run(text: str, given: Sequence[Sequence[Gradients]], buckets: Sequence[Sequence[str]]) -> list[tuple[Any, ...]]:
    """Return the means, the counts and the states of all ranks after each step."""
    made = resolved(f"Compressor(Fixed({text}, small={text}), ErrorFeedback())", None)
    world = len(given[0])
    ranks = SimulatedCompression(specs(given[0][0]), made, world, SEED)
    found = []
    for per_rank in given:
        done = ranks.average(per_rank, buckets)
        found.append((done.means, done.selected, [ranks.state_dict(rank) for rank in range(world)]))
    return found


def alone(text: str, given: Sequence[Sequence[Gradients]]) -> list[tuple[list[Gradients], list[Gradients]]]:
    """Return each rank's means and residuals after each step, tensor by tensor."""
    residuals: list[Gradients] = [{name: torch.zeros_like(x) for name, x in bucket.items()} for bucket in given[0]]
    histories: list[dict[str, Any]] = [{} for _ in given[0]]
    found = []
    for step, per_rank in enumerate(given, 1):
        both = zip(per_rank, residuals, strict=True)
        targets = [{f"{step}/{name}": x + kept[name] for name, x in own.items()} for own, kept in both]
        past = [{f"{step}/{name}": history for name, history in own.items()} for own in histories]
        averages = simulated(targets, parse(text), SEED, past).averages
        named = [{key.partition("/")[2]: average for key, average in own.items()} for own in averages]
        residuals = [
            {name: own[f"{step}/{name}"] - done[name].contributed for name in done}
            for own, done in zip(targets, named, strict=True)
        ]
        histories = [{name: average.history for name, average in own.items()} for own in named]
        found.append(([{name: average.mean for name, average in own.items()} for own in named], residuals))
    return found


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(x, other[name]) for name, x in one.items())


SPARSE_CASES = [(2, t, awkward) for t in LOSSLESS] + [(2, t, ordinary) for t in LEVELS]
CASES = SPARSE_CASES + [(world, t, ordinary) for world in (2, 3) for t in QUANTIZERS]


@pytest.mark.parametrize(("world", "text", "bucket"), CASES)
def test_a_group_is_tensor_by_tensor(world: int, text: str, bucket: Any) -> None:
    given = [[bucket(rank, step) for rank in range(world)] for step in range(STEPS)]
    # Alone, a few elements are sent whole where that takes fewer bytes than where they are.
    left_out = {"three", "float16"}
    given = [[{name: x for name, x in own.items() if name not in left_out} for own in ranks] for ranks in given]
    both = zip(run(text, given, [list(given[0][0])]), alone(text, given), strict=True)
    for (means, _, states), (wanted, residuals) in both:
        # Half of a sum and a sum of halves differ among denormals.
        assert [name for name, x in means.items() if not torch.allclose(x, wanted[0][name], 0, 3e-45)] == []
        for state, left in zip(states, residuals, strict=True):
            kept = {name: state.get(f"residual/{name}", torch.zeros_like(x)) for name, x in left.items()}
            assert [name for name, x in kept.items() if not torch.equal(x, left[name])] == []


@pytest.mark.parametrize(("world", "text", "bucket"), CASES + [(2, t, ordinary) for t in OTHERS])
def test_buckets_change_no_bit(world: int, text: str, bucket: Any) -> None:
    given = [[bucket(rank, step) for rank in range(world)] for step in range(STEPS)]
    names = list(given[0][0])
    for others in ([names[::2], names[1::2]], [[name] for name in names]):
        for one, other in zip(run(text, given, [names]), run(text, given, others), strict=True):
            assert same(one[0], other[0])
            assert one[1] == other[1]
            assert all(same(*states) for states in zip(one[2], other[2], strict=True))


def test_elements_are_counted_tensor_by_tensor() -> None:
    given = [[{"a": suited("update", (50, 40), seed=r), "b": suited("update", (7,), seed=r)} for r in range(WORLD)]]
    ((_, counts, _),) = run("TopK(0.01)", given, [["a", "b"]])
    assert counts == (Selected(21, 21),) * WORLD


@pytest.mark.parametrize("codec", ["TopK(0.1)", "Uniform(bits=4, block=64)"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named(bad: float, codec: str) -> None:
    given = [{"a": suited("update", (50, 40), seed=r), "b": suited("update", (50, 4), seed=r)} for r in range(WORLD)]
    given[1]["b"][3, 2] = bad
    made = resolved(f"Compressor(Fixed({codec}, small={codec}), ErrorFeedback())", None)
    ranks = SimulatedCompression(specs(given[0]), made, WORLD, SEED)
    with pytest.raises(NonFiniteError, match=r"^rank 1: b: the gradient holds NaN or infinity"):
        ranks.average(given, [["a", "b"]])
    assert [key for key in ranks.state_dict(0) if "residual" in key] == []


@pytest.mark.parametrize("world", [2, 3])
def test_nothing_is_lost_where_one_of_the_tensors_goes_without_loss(world: int) -> None:
    ranks = [{name: suited("update", (50, 40), seed=r) for name in ("a", "b")} for r in range(world)]
    ranks[1]["b"] = ranks[1]["b"].sign() * (torch.finfo(torch.float32).max / 8)
    ((means, _, states),) = run("Uniform(bits=4, block=64)", [ranks], [["a", "b"]])
    for name, mean in means.items():
        kept = [state.get(f"residual/{name}", torch.zeros(50, 40)) for state in states]
        sent = sum((own[name].double() - left.double()) / world for own, left in zip(ranks, kept, strict=True))
        torch.testing.assert_close(mean.double(), sent, rtol=1e-6, atol=1e-6 * float(sent.abs().max()))


def test_only_equal_codecs_of_one_dtype_join() -> None:
    texts = {
        "a": "TopK(0.01)", "b": "TopK(0.01)", "c": "TopK(0.02)", "double": "TopK(0.01)", "half": "TopK(0.01)",
        "signs": "TopK(0.01, values=Sign())", "dense": "Uniform(bits=8)", "random": "RandomK(0.01)",
        "bytes": "TopK(0.01, values=Uniform(bits=8))", "more": "TopK(0.01, values=Uniform(bits=8))",
        "blocks": "TopK(0.01, values=Uniform(bits=8, block=64))", "rounded": "Uniform(bits=8, rounding='stochastic')",
        "4 bits": "Uniform(bits=4, block=64)", "also": "Uniform(bits=4, block=64)", "few": "Uniform(bits=4, block=8)",
        "channels": "Uniform(block='channel')",
    }  # fmt: skip
    dtypes = {"double": torch.float64, "half": torch.float16}
    given = {name: torch.ones(50, 40, dtype=dtypes.get(name, torch.float32)) for name in texts}
    plan = {name: parse(text) for name, text in texts.items()}

    def joined(method: str, led: bool) -> list[Sequence[str]]:
        bucket = Bucket.of(given, Memory(), resolved(method, None), Place(0, 2), Turn(1, SEED), plan)
        return [unit.names for unit in units(replace(bucket, led=led)).values() if isinstance(unit, Grouped)]

    assert joined("topk", led=False) == [
        ["a", "b"],
        ["c"],
        ["double"],
        ["dense"],
        ["bytes", "more"],
        ["4 bits", "also"],
    ]
    assert joined("dgc", led=False) == []
    assert joined("topk", led=True) == []


HOSTILE = {
    "not strictly ascending": ([5, 3], [1.0, 2.0]),
    "indices from 3 to 24": ([3, 24], [1.0, 2.0]),
    "indices from -1 to 3": ([-1, 3], [1.0, 2.0]),
    "not finite": ([3, 5], [1.0, torch.nan]),
}


@pytest.mark.parametrize("words", HOSTILE)
def test_what_a_rank_sent_is_checked(words: str) -> None:
    group, request = waiting()
    indices, values = HOSTILE[words]
    parts = {"values": torch.tensor(values), "indices": torch.tensor(indices)}
    hostile = Encoded(Sparse(Raw(), Raw()), Spec((24,), torch.float32), parts, size=2)
    with pytest.raises(WireError, match=words):
        group.send([request.encoded, hostile])


def test_a_rank_that_sent_its_group_whole_counts_as_any_other() -> None:
    group, request = waiting()
    whole = torch.arange(24.0)
    with pytest.raises(StopIteration) as end:
        group.send([request.encoded, encode(Raw(), whole)])
    torch.testing.assert_close(end.value.value.mean, (decode(request.encoded) + whole) / 2)


def waiting() -> tuple[Any, Gather]:
    """Return the exchange of a group of two tensors at the first of two ranks, and what it asks for."""
    members = {name: Member(Spec((12,), torch.float32), 0, {}) for name in ("a", "b")}
    group = SparseGroup(TopK(0.2), members, Place(0, 2))
    group.flat.copy_(suited("update", (24,)))
    group.select(list(members), [None, None])
    exchange: Any = group.exchange()
    return exchange, next(exchange)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("bits", "symmetric"), [(8, False), (1, False), (11, False), (4, True), (12, True)])
@pytest.mark.parametrize("lengths", [(1, 700, 1, 311), (40_000, 3, 20_000)])
def test_segments_are_what_the_quantizer_makes_of_each(
    lengths: tuple[int, ...], bits: int, symmetric: bool, dtype: torch.dtype
) -> None:
    x = suited("update", (sum(lengths),), dtype, seed=derive_seed(bits, str(lengths)))
    x[1:200] = 0.25
    quantizer = Uniform(bits=bits, symmetric=symmetric)
    parts = [decode(encode_parts(quantizer, part, 0, {})[0]) for part in torch.split(x, lengths)]
    assert torch.equal(decode(encode_parts(Segments(bits, symmetric, lengths), x, 0, {})[0]), torch.cat(parts))


def test_segments_must_be_the_whole_tensor() -> None:
    with pytest.raises(ValueError, match="lengths add up to 3, the tensor has 4 elements"):
        encode(Segments(lengths=(1, 2)), torch.ones(4))
    with pytest.raises(ValueError, match="expected numbers of elements from 1"):
        Segments(lengths=(3, 0))
