"""A budget is never exceeded and nearly all used, and buys the least error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from checkpoint_files import everything, same_bits, save, there_and_back, trained

import thinwire as tw
from thinwire.checkpoint import Bounded, Budget, CheckpointError, Lossless, WithCodec, open_packed, pack
from thinwire.checkpoint.points import quantizer


def model(scales: tuple[float, ...] = (1.0, 0.1, 0.01, 3.0)) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    tensors = {f"layer{i}": scale * torch.randn(96, 80, generator=g) for i, scale in enumerate(scales)}
    return tensors | {f"bias{i}": torch.randn(96, generator=g) for i in range(2)}


@pytest.mark.parametrize("slice_elements", [1 << 22, 4000])
@pytest.mark.parametrize("ratio", [2.5, 8, 32])
def test_at_most_the_budget_and_nearly_all_of_it(tmp_path: Path, ratio: float, slice_elements: int) -> None:
    source = save(tmp_path / "x.safetensors", model())
    _, report, _ = there_and_back(source, Budget(ratio=ratio), slice_elements=slice_elements)
    budget = int(report.dense_bytes / ratio)
    assert 0.97 * budget <= report.file_bytes <= budget


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_budgets_of_other_dtypes_and_differences(tmp_path: Path, dtype: torch.dtype) -> None:
    old = {name: x.to(dtype) for name, x in model().items()}
    base = save(tmp_path / "old.safetensors", old)
    source = save(tmp_path / "new.safetensors", trained(old))
    for given in (None, base):
        _, report, _ = there_and_back(source, Budget(total_bytes=6000), given)
        assert 0.97 * 6000 <= report.file_bytes <= 6000


@pytest.mark.parametrize("total", [9_000, 20_000])
def test_a_budget_over_everything(tmp_path: Path, total: int) -> None:
    tensors = everything()
    source = save(tmp_path / "x.safetensors", tensors)
    back, report, _ = there_and_back(source, Budget(total_bytes=total), slice_elements=3000)
    assert 0.97 * total <= report.file_bytes <= total
    assert all(same_bits(x, back[name]) for name, x in tensors.items() if name not in report.lossy)
    assert {"nan", "mask", "bool", "complex"}.isdisjoint(report.lossy)


@pytest.mark.parametrize("total", [12_000, 24_000])
def test_many_small_tensors_use_the_budget_up(tmp_path: Path, total: int) -> None:
    """Their codecs stand once in the table of a frame, and are counted once."""
    g = torch.Generator().manual_seed(5)
    tensors = {f"bias{i}": 2.0 ** (i % 5) * torch.randn(64, generator=g) for i in range(300)}
    _, report, _ = there_and_back(save(tmp_path / "x.safetensors", tensors), Budget(total_bytes=total))
    assert 0.97 * total <= report.file_bytes <= total


def test_low_rank_costs_what_it_does_within_a_message(tmp_path: Path) -> None:
    """A file's error is near that of a message of as many bytes, whose curves are measured again and again."""
    g = torch.Generator().manual_seed(6)
    low = torch.randn(200, 12, generator=g) @ torch.randn(12, 150, generator=g)
    tensors = {
        "low": 0.01 * (low + 0.1 * torch.randn(200, 150, generator=g)),
        "noise": 0.02 * torch.randn(120, 100, generator=g) ** 3,
        "bias": 0.01 * torch.randn(200, generator=g),
    }
    compressed = tw.Compressor(tw.ByteBudget(ratio=16), tw.NoFeedback()).compress(tensors, {})[0]
    error = sum(float((tw.decode(compressed[name]) - x).square().sum()) for name, x in tensors.items())
    source = save(tmp_path / "x.safetensors", tensors)
    beside_bytes = pack(source, tmp_path / "x.tw", Budget(total_bytes=8000)).file_bytes - _payload_bytes(tmp_path)
    total = sum(item.payload_bytes for item in compressed.values()) + beside_bytes
    assert pack(source, tmp_path / "x.tw", Budget(total_bytes=total)).error <= 1.03 * error


def _payload_bytes(folder: Path) -> int:
    records = open_packed(folder / "x.tw").records()
    return sum(encoded.payload_bytes for record in records for _, _, encoded in record.parts())


def test_more_bytes_buy_less_error(tmp_path: Path) -> None:
    source = save(tmp_path / "x.safetensors", model())
    errors = [
        there_and_back(source, Budget(total_bytes=total))[1].error for total in (3000, 6000, 12_000, 24_000, 60_000)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3 * errors[0]


def test_where_every_bit_fits_every_bit_returns(tmp_path: Path) -> None:
    tensors = model()
    source = save(tmp_path / "x.safetensors", tensors)
    lossless = pack(source, tmp_path / "y.tw", Lossless()).file_bytes
    back, report, _ = there_and_back(source, Budget(total_bytes=lossless + 200))
    assert all(same_bits(x, back[name]) for name, x in tensors.items())
    assert report.file_bytes <= lossless + 200


def test_the_least_possible_is_said_and_possible(tmp_path: Path) -> None:
    source = save(tmp_path / "x.safetensors", everything())
    with pytest.raises(CheckpointError, match="too small") as found:
        pack(source, tmp_path / "x.tw", Budget(total_bytes=300))
    assert not (tmp_path / "x.tw").exists()
    least = int(re.search(r"([\d,]+) is the least", str(found.value))[1].replace(",", ""))
    _, report, _ = there_and_back(source, Budget(total_bytes=least))
    assert report.file_bytes <= least
    with pytest.raises(CheckpointError, match="too small"):
        pack(source, tmp_path / "x.tw", Budget(total_bytes=least - 1))


def test_one_price_beats_one_ratio_for_all(tmp_path: Path) -> None:
    """Against each tensor at the same bits an element: the loud ones should get more, the quiet ones less."""
    tensors = model((1.0, 0.1, 0.01, 0.001))
    source = save(tmp_path / "x.safetensors", tensors)
    total = 8000
    _, joint, _ = there_and_back(source, Budget(total_bytes=total))
    alone, used = 0.0, 0
    for name, x in tensors.items():
        if name.startswith("layer"):
            part = save(tmp_path / "part.safetensors", {name: x})
            _, report, _ = there_and_back(part, Budget(total_bytes=total // 4))
            alone, used = alone + report.error, used + report.file_bytes
    assert joint.error < 0.5 * alone


def test_one_price_beats_one_step_of_the_same_bytes(tmp_path: Path) -> None:
    tensors = {name: x for name, x in model((1.0, 0.3, 0.1)).items() if name.startswith("layer")}
    tensors["sparse"] = torch.randn(96, 80, generator=torch.Generator().manual_seed(1)) ** 7
    source = save(tmp_path / "x.safetensors", tensors)
    _, joint, _ = there_and_back(source, Budget(total_bytes=9000))
    for step in (4.0, 3.0, 2.0, 1.5, 1.0, 0.7, 0.5, 0.3):
        _, uniform, _ = there_and_back(source, WithCodec(quantizer(step)))
        if uniform.file_bytes <= joint.file_bytes:
            assert joint.error <= 1.02 * uniform.error, step


@pytest.mark.parametrize(
    "bad", [{}, {"total_bytes": 0}, {"ratio": 0.5}, {"ratio": float("nan")}, {"total_bytes": 5, "ratio": 2}]
)
def test_budgets_that_cannot_be(bad: dict[str, float]) -> None:
    with pytest.raises(CheckpointError):
        Budget(**bad)


def test_low_rank_takes_the_place_of_a_quantizer_where_it_is_smaller(tmp_path: Path) -> None:
    """What a merged adapter adds to a model, beside a tensor that no low rank fits."""
    g = torch.Generator().manual_seed(0)
    old = {"adapted": torch.randn(120, 150, generator=g), "noise": torch.randn(120, 150, generator=g)}
    added = torch.randn(120, 4, generator=g) @ torch.randn(4, 150, generator=g)
    new = {"adapted": old["adapted"] + 0.01 * added, "noise": old["noise"] + 0.01 * torch.randn(120, 150, generator=g)}
    base, source = save(tmp_path / "old.safetensors", old), save(tmp_path / "new.safetensors", new)
    for goal in (Bounded("nmse", 0.01), Budget(total_bytes=6000)):
        _, report, _ = there_and_back(source, goal, base)
        (record,) = open_packed(source.with_suffix(".tw")).records()
        codecs = {piece.entry.name: encoded.codec.id for piece, _, encoded in record.parts()}
        assert codecs == {"adapted": "lowrank", "noise": "rdoq"}
        assert not isinstance(goal, Budget) or 0.97 * 6000 <= report.file_bytes <= 6000
