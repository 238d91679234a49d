"""Sparse ternary compression is a composition: top-k whose values travel as signs of one magnitude."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import thinwire as tw
from thinwire.codec import Encoded, Spec
from thinwire.testing import degenerate, suited
from thinwire.zoo import compressor


def slow_stc(x: Tensor, k: int) -> Tensor:
    """Algorithm 1 of Sattler et al. 2019: the k largest magnitudes become their mean, with their signs."""
    flat = x.reshape(-1)
    order = sorted(range(flat.numel()), key=lambda i: (-abs(float(flat[i])), i))[:k]
    magnitude = sum(abs(float(flat[i])) for i in order) / k
    out = torch.zeros(flat.numel())
    for i in order:
        out[i] = magnitude if flat[i] >= 0 else -magnitude
    return out.reshape(x.shape)


def through_bytes(codec: object, x: Tensor) -> tuple[Tensor, Encoded]:
    received = tw.loads(tw.dumps({"x": tw.encode(codec, x)}), {"x": Spec.of(x)})["x"]
    return tw.decode(received), received


@pytest.mark.parametrize("density", [1 / 3000, 0.01, 0.3, 1.0])
def test_it_is_what_the_paper_says(density: float) -> None:
    x = suited("update", (60, 50), seed=3)
    decoded, _ = through_bytes(tw.TopK(density, values=tw.Sign()), x)
    assert torch.allclose(decoded, slow_stc(x, max(1, int(density * 3000))), rtol=1e-6, atol=0)


def test_one_value_is_exact_and_none_is_legal() -> None:
    x = suited("update", (30, 20))
    decoded, received = through_bytes(tw.TopK(0.001, values=tw.Sign()), x)
    assert received.size == 1
    assert decoded.abs().max() == x.abs().max() == decoded.abs().sum()
    decoded, received = through_bytes(tw.Threshold(1e9, values=tw.Sign()), x)
    assert received.size == received.payload_bytes == 0
    assert not decoded.any()


def test_ties_among_zeros_stay_zero() -> None:
    x = torch.zeros(40, 30)
    x[3, 4] = -0.5
    decoded, received = through_bytes(tw.TopK(0.1, values=tw.Sign()), x)
    assert received.size == 120
    assert decoded[3, 4] < 0
    assert abs(float(decoded.abs().sum()) - 0.5) < 1e-6


@pytest.mark.parametrize("name", [name for name in degenerate() if name not in ("NaN", "Inf")])
def test_degenerate_tensors_are_carried(name: str) -> None:
    x = degenerate()[name]
    decoded, _ = through_bytes(tw.TopK(0.1, values=tw.Sign()), x)
    assert Spec.of(decoded) == Spec.of(x)


def test_a_kept_element_costs_one_bit_and_its_place() -> None:
    x = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(1))
    _, received = through_bytes(tw.TopK(0.01, values=tw.Sign()), x)
    values = received.parts["values"]
    assert isinstance(values, Encoded)
    assert values.payload_bytes == 10_000 // 8 + 4
    frame_bytes = len(tw.dumps({"x": received}))
    # log2 C(n, k) is 8.08 bits an index at 1 %.
    assert 8 * frame_bytes / 10_000 < 1 + 8.08 * 1.03
    assert 4 * x.numel() / frame_bytes > 340


def test_with_feedback_everything_is_sent_in_the_end() -> None:
    method, state, x = compressor("stc"), {}, suited("update", (64, 64))
    sent = torch.zeros(64, 64)
    for round in range(1, 401):
        message, state, _ = method.compress({"x": x}, state, tw.Signals(round=round))
        sent += method.decompress(message)["x"]
    assert float((sent / 400 - x).norm() / x.norm()) < 0.2
