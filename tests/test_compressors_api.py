"""The calls of old scripts: what comes back, whose state it is, and the ledger of every method."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

import thinwire as tw
from thinwire.compressors import (
    HGGTopKCompressor,
    SparseCompressor,
    TopKCompressor,
    TopKCompressor2,
    compressors,
)
from thinwire.testing import same_bits, suited

NAMES = (
    *("none", "topk", "topk2", "gaussian", "gaussian2", "randomk", "randomkec", "dgcsampling", "redsync"),
    *("redsynctrim", "hggtopk", "gtopk", "randomksame", "randomksameec"),
)
SHAPE = (200, 100)  # large enough for the compiled loops
COMPENSATED = [name for name in NAMES if compressors[name].feedback]


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    for compressor in compressors.values():
        compressor.clear()


def fresh(name: str) -> SparseCompressor:
    return type(compressors[name])()


def gradient(seed: int = 0, dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = (60, 50)) -> Tensor:
    return suited("update", shape, dtype, seed)


def test_the_names() -> None:
    assert tuple(compressors) == NAMES
    assert len({type(compressor) for compressor in compressors.values()}) == len(compressors) == 14
    assert set(COMPENSATED) == set(NAMES) - {"none", "topk2", "gaussian2", "randomk", "randomksame"}
    with pytest.raises(KeyError, match="Did you mean 'hggtopk'"):
        compressors["hgg-topk"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_what_comes_back(name: str, dtype: torch.dtype) -> None:
    grad = gradient(dtype=dtype)
    before = grad.clone()
    tensor, indexes, values = compressors[name].compress(tensor=grad, name="layer", ratio=0.05)
    assert same_bits(grad, before)
    assert same_bits(tensor, grad)
    assert tensor.data_ptr() != grad.data_ptr()
    assert (indexes.dtype, values.dtype, indexes.shape) == (torch.int64, dtype, values.shape)
    assert bool((indexes.diff() > 0).all())
    assert 100 <= indexes.numel() <= 300 or name == "none"
    scale = 20 if name == "randomk" else 1
    assert torch.allclose(values.double(), grad.view(-1)[indexes].double() * scale, rtol=1e-2)
    assert compressors[name].decompress(tensor, None, "layer") is tensor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", COMPENSATED)
def test_nothing_is_ever_lost(name: str, dtype: torch.dtype) -> None:
    """``residual' + sent == residual + x``, bit for bit, over 50 steps of changing gradients."""
    compressor = fresh(name)
    for step in range(50):
        x = gradient(step % 7, dtype, SHAPE) * (step % 5)
        residual = compressor.residuals.get("x", torch.zeros(SHAPE)).clone()
        target = residual + x
        tensor, indexes, values = compressor.compress(x, "x", ratio=0.02)
        sent = torch.zeros_like(target).view(-1)
        sent[indexes] = values.to(sent.dtype)
        assert torch.equal(compressor.residuals["x"] + sent.view(SHAPE), target)
        assert torch.equal(tensor, target.to(dtype))


@pytest.mark.parametrize("name", COMPENSATED)
def test_the_residual_is_one_buffer_that_nobody_else_holds(name: str) -> None:
    compressor = fresh(name)
    tensor, _, _ = compressor.compress(gradient(), "x")
    buffer = compressor.residuals["x"]
    kept = buffer.clone()
    tensor.zero_()
    assert torch.equal(buffer, kept)
    compressor.compress(gradient(1), "x")
    assert compressor.residuals["x"] is buffer


@pytest.mark.parametrize("name", COMPENSATED)
def test_constant_magnitude_is_sent_in_the_end(name: str) -> None:
    """RedSync as published sends nothing of it, for ever."""
    compressor, sent = fresh(name), torch.zeros(1000)
    x = torch.full((1000,), 0.5)
    x[::3] = -0.5
    for _ in range(60):
        _, indexes, values = compressor.compress(x, "x", ratio=0.05)
        assert 33 <= indexes.numel() <= 100
        sent[indexes] += values
    assert bool((sent != 0).all()) or name in ("randomkec", "randomksameec")
    assert torch.allclose(sent + compressor.residuals["x"], 60 * x)


@pytest.mark.parametrize("name", ["topk2", "gaussian2", "randomk", "randomksame", "none"])
def test_methods_without_compensation_remember_no_gradient(name: str) -> None:
    compressor = fresh(name)
    compressor.compress(gradient(0), "x")
    assert same_bits(compressor.compress(gradient(1), "x")[0], gradient(1))
    assert compressor.residuals == {}


def test_no_two_methods_objects_or_names_share_state() -> None:
    """As published, topk2 zeroes the residuals of topk."""
    compressors["topk"].compress(gradient(), "layer")
    kept = compressors["topk"].residuals["layer"].clone()
    for name in set(NAMES) - {"topk"}:
        compressors[name].compress(gradient(1), "layer")
    TopKCompressor().compress(gradient(2), "layer")
    TopKCompressor2().compress(gradient(2), "layer")
    compressors["topk"].compress(gradient(3), "another")
    assert torch.equal(compressors["topk"].residuals["layer"], kept)
    assert set(compressors["topk"].residuals) == {"layer", "another"}


@pytest.mark.parametrize("name", NAMES)
def test_clearing_forgets_everything_or_one_name(name: str) -> None:
    compressor = fresh(name)
    first = [compressor.compress(gradient(seed), str(seed)) for seed in (0, 1)]
    compressor.compress(gradient(2), "1")
    compressor.clear("1", "never seen")
    again = compressor.compress(gradient(1), "1")
    assert all(same_bits(a, b) for a, b in zip(again, first[1], strict=True))
    compressor.clear()
    assert not compressor.residuals
    again = compressor.compress(gradient(0), "0")
    assert all(same_bits(a, b) for a, b in zip(again, first[0], strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_is_refused_and_changes_no_state(name: str, value: float) -> None:
    used, twin = fresh(name), fresh(name)
    bad = gradient()
    bad[3, 3] = value
    for compressor in (used, twin):
        compressor.compress(gradient(), "x")
    with pytest.raises(tw.NonFiniteError, match=r"^x: "):
        used.compress(bad, "x")
    with pytest.raises(tw.NonFiniteError):
        used.compress(bad, "new")
    assert "new" not in used.residuals
    results = [compressor.compress(gradient(1), "x") for compressor in (used, twin)]
    assert all(same_bits(a, b) for a, b in zip(*results, strict=True))


def test_a_sum_that_overflows_is_refused() -> None:
    compressor = fresh("topk")
    huge = torch.full((100,), 3e38)
    compressor.compress(huge, "x", ratio=0.1)
    with pytest.raises(tw.NonFiniteError):
        compressor.compress(huge, "x", ratio=0.1)
    assert bool(torch.isfinite(compressor.residuals["x"]).all())


@pytest.mark.parametrize("name", NAMES)
def test_degenerate_tensors(name: str) -> None:
    """Nothing crashes, and at least one element of a tensor that has any is sent."""
    shapes = [torch.zeros(0), torch.tensor(2.5), torch.tensor([0.7]), torch.zeros(37, 40), torch.full((999,), 1e-42)]
    strided = [gradient()[:, ::3].T, torch.tensor([0.7]).expand(40, 40), gradient(shape=(5, 7, 11))]
    for x in shapes + strided:
        for ratio in (1e-9, 0.3, 1.0):
            tensor, indexes, values = fresh(name).compress(x, ratio=ratio)
            assert tensor.shape == x.shape
            assert min(1, x.numel()) <= indexes.numel() == values.numel() <= x.numel()
            assert indexes.numel() == x.numel() or ratio < 1


def test_none_returns_everything_in_the_same_form() -> None:
    grad = gradient()
    tensor, indexes, values = compressors["none"].compress(grad, "layer", ratio=0.05)
    assert same_bits(tensor, grad)
    assert torch.equal(indexes, torch.arange(grad.numel()))
    assert same_bits(values, grad.view(-1))


def test_random_selection_is_the_same_on_every_rank_and_another_every_time() -> None:
    ranks = [fresh("randomk"), fresh("randomk")]
    drawn = [[rank.compress(gradient(seed), "x")[1] for _ in range(3)] for seed, rank in enumerate(ranks)]
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    assert not torch.equal(drawn[0][0], drawn[0][1])
    assert not torch.equal(ranks[0].compress(gradient(), "y")[1], drawn[0][0])


def test_random_selection_without_compensation_is_unbiased() -> None:
    x, total, compressor = gradient(shape=(40,)).double(), torch.zeros(40, dtype=torch.float64), fresh("randomk")
    for _ in range(4000):
        _, indexes, values = compressor.compress(x, "x", ratio=0.25)
        total[indexes] += values
    assert torch.allclose(total / 4000, x, rtol=0.15)


@pytest.mark.parametrize("name", COMPENSATED)
@pytest.mark.parametrize("form", [torch.tensor, np.array, list], ids=["tensor", "array", "list"])
def test_what_a_global_selection_dropped_is_put_back_once(name: str, form: type) -> None:
    compressor, x = fresh(name), gradient()
    _, indexes, values = compressor.compress(x, "x", ratio=0.05)
    for _ in range(2):
        compressor.add_residuals(form([0, 2, 3]), "x")
    sent = torch.zeros(x.numel())
    sent[indexes[[0, 2, 3]]] = values[[0, 2, 3]]
    assert torch.equal(compressor.residuals["x"], x - sent.view(x.shape))


def test_putting_back_all_and_nothing_and_for_a_stranger() -> None:
    compressor = fresh("topk")
    _, indexes, _ = compressor.compress(gradient(), "x", ratio=0.05)
    compressor.add_residuals(range(len(indexes)), "x")
    assert int((compressor.residuals["x"] == 0).sum()) == len(indexes)
    compressor.clear()
    compressor.compress(gradient(), "x", ratio=0.05)
    compressor.add_residuals([], "x")
    assert torch.equal(compressor.residuals["x"], gradient())
    fresh_without = fresh("topk2")
    fresh_without.compress(gradient(), "x")
    fresh_without.add_residuals([0], "x")
    with pytest.raises(ValueError, match="unknown tensor 'y'"):
        compressor.add_residuals([], "y")


def test_the_settings_of_hggtopk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (HGGTopKCompressor.NUM_BINS, HGGTopKCompressor.GAMMA) == (1024, 1000.0)
    assert (HGGTopKCompressor.TOLERANCE, HGGTopKCompressor.BETA) == (0.01, 0.98)
    compressor = HGGTopKCompressor()
    assert compressor.codec(0.05) == tw.HggTopK(0.05)
    compressor.TOLERANCE = 0.0
    monkeypatch.setattr(HGGTopKCompressor, "NUM_BINS", 64)
    assert compressor.codec(0.05) == tw.HggTopK(0.05, bins=64, tolerance=0.0)
    assert compressors["hggtopk"].codec(0.05) == tw.HggTopK(0.05, bins=64)
    monkeypatch.setattr(HGGTopKCompressor, "BETA", 2.0)
    with pytest.raises(ValueError, match="beta is 2"):
        compressor.compress(gradient(), "x")
    assert compressor.residuals == {}


def test_calls_as_scripts_write_them() -> None:
    topk = compressors["topk"]
    assert topk.compress(gradient(), "a")[1].numel() == 150
    assert topk.compress(gradient(), name="b", sigma_scale=2.5, ratio=0.01)[1].numel() == 30
    assert topk.compress(gradient(), "c", 2.5, 0.02)[1].numel() == 60
    assert topk.compress(gradient(), "c", 0.9)[1].numel() == 150
    assert topk.compress(gradient().requires_grad_())[1].numel() == 150
    assert set(topk.residuals) == {"a", "b", "c", None}
    topk.clear(None)
    assert set(topk.residuals) == {"a", "b", "c"}


@pytest.mark.parametrize("ratio", [0, -0.1, 1.5, math.nan, "0.1", True])
def test_a_ratio_out_of_range_is_refused(ratio: float) -> None:
    for name in set(NAMES) - {"none"}:
        with pytest.raises(ValueError, match="density is"):
            compressors[name].compress(gradient(), "x", ratio=ratio)


def test_a_tensor_that_does_not_fit_its_residual_is_refused() -> None:
    topk = fresh("topk")
    topk.compress(gradient(), "x")
    for other in (gradient().double(), gradient(shape=(50, 60))):
        with pytest.raises(ValueError, match="the residual of 'x' is"):
            topk.compress(other, "x")
    with pytest.raises(TypeError, match="expected floats"):
        topk.compress(torch.arange(9), "integers")


def test_float16_beyond_its_range_waits_in_the_residual() -> None:
    topk, sent = fresh("topk"), torch.zeros(100, dtype=torch.float64)
    x = torch.full((100,), 60000.0, dtype=torch.float16)
    for step in range(1, 9):
        tensor, indexes, values = topk.compress(x, "x", ratio=0.5)
        assert bool(torch.isfinite(tensor).all())
        sent[indexes] += values.double()
        assert bool((sent + topk.residuals["x"].double() == 60000.0 * step).all())


@pytest.mark.parametrize("name", NAMES)
def test_a_class_stands_for_one_object(name: str) -> None:
    """As where methods were static: the class, and what ``compressors`` holds, are one; a called one is another."""
    shared, cls = compressors[name], type(compressors[name])
    assert cls.shared() is shared
    assert (shared.name, cls.name) == (name, name)
    tensor, indexes, _ = cls.compress(gradient(), "w", ratio=0.05)
    assert cls.decompress(tensor, None, "w") is tensor
    assert cls.residuals is shared.residuals
    assert cls.get_residuals("w", gradient()) is shared.residuals["w"]
    cls.add_residuals(np.arange(len(indexes)), "w", None)
    cls.add_residuals(None, "w", tensor)
    cls.clear()
    assert not shared.residuals
    own = shared()
    assert type(own) is cls
    assert own is not shared
    own.compress(gradient(), "w", ratio=0.05)
    assert not shared.residuals


def test_residuals_can_be_had_before_anything_is_compressed() -> None:
    compressor, x = fresh("topk"), gradient(dtype=torch.bfloat16)
    residual = compressor.get_residuals("w", x)
    assert (residual.shape, residual.dtype, float(residual.abs().max())) == (x.shape, torch.float32, 0.0)
    residual.fill_(1.0)
    assert torch.equal(compressor.compress(x, "w", ratio=0.05)[0], (x.float() + 1).bfloat16())


@pytest.mark.parametrize(
    "ratio",
    [np.float32(0.01), np.float64(0.01), np.array(0.01), torch.tensor(0.01), torch.tensor(0.01, dtype=torch.float64)],
)
def test_ratios_are_numbers_of_any_library(ratio: object) -> None:
    for name in ("topk", "gtopk", "randomksame", "randomksameec"):
        assert compressors[name].compress(gradient(), "w", ratio=ratio)[1].numel() == 30  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="density is 0"):
        compressors["topk"].compress(gradient(), "w", ratio=np.float32(0))  # type: ignore[arg-type]


def test_the_names_of_one_selection_for_all_ranks() -> None:
    x = gradient()
    _, indexes, values = fresh("randomksame").compress(x, "w", ratio=0.05)
    assert torch.equal(values, x.view(-1)[indexes])
    assert torch.equal(indexes, fresh("randomksameec").compress(x, "w", ratio=0.05)[1])
    assert torch.equal(fresh("gtopk").compress(x, "w")[1], fresh("topk").compress(x, "w")[1])
