"""Top-k of every chunk against a loop, and the compiled loop against plain torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from thinwire import ChunkTopK, decode, dumps, encode, loads, parse, specs
from thinwire.codec import generator
from thinwire.kernels.select import chunked
from thinwire.testing import strategies

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def obvious(x: Tensor, keep: int, chunk: int) -> list[int]:
    """Sort every chunk by magnitude, then by place."""
    selected = []
    for start in range(0, x.numel(), chunk):
        magnitudes = x[start : start + chunk].double().abs().tolist()
        k = keep if len(magnitudes) == chunk else max(1, keep * len(magnitudes) // chunk)
        ranked = sorted((-magnitude, start + i) for i, magnitude in enumerate(magnitudes))
        selected += sorted(place for _, place in ranked[:k])
    return selected


@given(strategies.finite(), st.integers(1, 70), st.integers(0, 70))
def test_it_is_what_a_loop_selects(x: Tensor, keep: int, more: int) -> None:
    flat = x.reshape(-1)
    selected, _ = ChunkTopK(keep, keep + more).select(flat, 0, {})
    assert selected.tolist() == obvious(flat, keep, keep + more)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("keep", "chunk"), [(64, 4096), (1, 1), (1, 64), (7, 100), (63, 65), (3, 50_000), (64, 64)])
def test_the_compiled_loop_equals_plain_torch(dtype: torch.dtype, keep: int, chunk: int) -> None:
    normal = torch.randn(40_003, generator=generator(1), dtype=torch.float64)
    steps = 10.0 ** (torch.arange(40_003) // 5000 % 5 - 2)  # a chunk's threshold says nothing about the next one's
    special = torch.where(normal > 1, torch.nan, torch.where(normal < -1, -torch.inf, normal))
    for x in (normal, normal * steps, normal.round(), normal * 0, special, normal * torch.finfo(dtype).tiny):
        x = x.to(dtype)
        assert torch.equal(chunked.largest(x, keep, chunk), chunked.plain(x, keep, chunk))


def test_the_number_follows_from_the_shape() -> None:
    for n, expected in ((4096, 64), (4097, 65), (4096 + 2048, 96), (10 * 4096, 640), (100, 1), (1, 1), (0, 0)):
        for x in (torch.zeros(n), torch.arange(n).float()):
            assert ChunkTopK().select(x, 0, {})[0].numel() == expected


def test_every_neighbourhood_is_heard() -> None:
    x = torch.randn(64, 4096, generator=generator(2)) * torch.logspace(-9, 0, 64)[:, None]
    assert bool((decode(encode(ChunkTopK(), x)).count_nonzero(1) == 64).all())


@pytest.mark.parametrize("indices", ["Indices()", "Indices(coder='local12')", "Raw()"])
def test_indices_travel_by_any_coder(indices: str) -> None:
    x = torch.randn(300, 100, generator=generator(3))
    codec = parse(f"ChunkTopK(64, 4096, values=Uniform(bits=3, block=64), indices={indices})")
    received = loads(dumps({"x": encode(codec, x)}), specs({"x": x}))["x"]
    chosen, _ = codec.select(x.view(-1), 0, {})
    assert torch.equal(decode(received).view(-1).nonzero().view(-1), chosen)
