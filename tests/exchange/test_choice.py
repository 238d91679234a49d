"""Which exchange serves which codec, and what it costs: counted from real frames."""

from __future__ import annotations

import pytest
import torch

from thinwire import parse
from thinwire.codec import Spec
from thinwire.exchange.choice import chosen
from thinwire.exchange.requests import Place
from thinwire.exchange.simulate import Name, Simulation, simulated
from thinwire.exchange.two_shot import shards
from thinwire.testing.tensors import suited

MILLION = 1 << 20
MATRIX = Spec((256, 512), torch.float32)


@pytest.mark.parametrize(
    ("text", "spec", "names"),
    [
        ("Raw()", MATRIX, "sum sum sum"),
        ("RandomK(0.1)", MATRIX, "sum sum sum"),
        ("RandomK(0.1, values=Uniform(bits=8))", MATRIX, "gather gather gather"),
        ("Cast()", MATRIX, "gather two-shot two-shot"),
        ("Uniform(bits=8)", MATRIX, "gather two-shot two-shot"),
        ("Planes()", MATRIX, "gather two-shot two-shot"),
        ("Step(nmse=0.01)", MATRIX, "gather two-shot two-shot"),
        ("Smallest()", MATRIX, "gather two-shot two-shot"),
        ("LowRank(rank=4)", MATRIX, "power power power"),
        ("LowRank(ratio=0.1)", MATRIX, "power power power"),
        ("LowRank(rank=200)", MATRIX, "gather two-shot two-shot"),
        ("LowRank(nmse=0.1)", MATRIX, "gather gather gather"),
        ("LowRank(rank=4)", Spec((512,), torch.float32), "gather two-shot two-shot"),
        ("LowRank(rank=4)", Spec((0, 512), torch.float32), "gather two-shot two-shot"),
        ("TopK(0.01)", MATRIX, "gather gather gather"),
        ("TopK(0.1)", MATRIX, "gather gather two-shot"),
        ("TopK(0.9)", MATRIX, "gather two-shot two-shot"),
        ("TopK(0.1, values=Uniform(bits=8))", MATRIX, "gather gather two-shot"),
        ("Threshold(0.1)", MATRIX, "gather gather gather"),
    ],
)
def test_the_algebra_and_the_number_of_ranks_choose(text: str, spec: Spec, names: str) -> None:
    assert [chosen(parse(text), spec, world).name for world in (2, 3, 64)] == names.split()
    assert chosen(parse(text), spec, 1).name == "alone"


def test_the_break_even_of_sparse_gathers() -> None:
    """64 / (ranks * bits), with bits of value and index: 1 % of float32 with 8.6 bits an index pays up to 157 ranks."""
    codec = parse("TopK(0.01)")
    turn = next(world for world in range(2, 1000) if chosen(codec, MATRIX, world).name == "two-shot")
    assert turn == pytest.approx(64 / (0.01 * (32 + 8.64)), rel=0.02)
    assert (
        chosen(codec, MATRIX, 4).reason == "density 0.01 x 4 ranks x 40.6 bits < 64, twice the bits of a dense element"
    )


def dense_ring(world: int) -> float:
    return 2 * (world - 1) / world * 4 * MILLION


def sent(text: str, world: int, exchange: Name | None = None) -> Simulation:
    return simulated([{"x": suited("update", (MILLION,), seed=r)} for r in range(world)], parse(text), 0, (), exchange)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_two_shots_of_8_bits_are_a_quarter_of_a_dense_ring(world: int) -> None:
    for count in sent("Uniform(bits=8)", world, "two-shot").sent_bytes:
        assert count == pytest.approx(dense_ring(world) / 4, rel=0.05)


def test_a_sparse_gather_of_4_ranks_is_a_twentieth_of_a_dense_ring() -> None:
    done = sent("TopK(0.01, values=Uniform(bits=8))", 4)
    assert done.choices["x"].name == "gather"
    assert max(done.sent_bytes) * 20 <= dense_ring(4)


def test_a_sum_of_raw_tensors_is_the_dense_ring() -> None:
    assert sent("Raw()", 4).sent_bytes == (dense_ring(4),) * 4


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (3,), (997,), (4, 4), (200, 7), (100_000,), (3, 400_000)])
def test_shards_cover_the_tensor_evenly(shape: tuple[int, ...], world: int) -> None:
    spec = Spec(shape, torch.float32)
    sizes = [shard.numel for shard in shards(spec, world)]
    assert len(sizes) == world
    assert sum(sizes) == spec.numel
    unit = max(1024, spec.numel // max(spec.shape[0], 1)) if spec.numel >= 16 * world else 1
    assert max(sizes) - min(sizes) <= unit


def test_shards_are_whole_rows_or_whole_units() -> None:
    assert all(shard.shape[1:] == (7,) for shard in shards(Spec((200, 7), torch.float32), 4))
    assert all(shard.numel % 1024 == 0 for shard in shards(Spec((3, 400_000), torch.float32), 4)[:-1])


def test_a_place_is_in_its_world() -> None:
    with pytest.raises(ValueError, match="rank is 2 of 2"):
        Place(2, 2)
