"""Tensors that have more or fewer rows than the base's: the rows that both have travel as differences."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoint_files import same_bits, save, there_and_back
from torch import Tensor

from thinwire.checkpoint import Bounded, Budget, CheckpointError, Lossless, open_packed, unpack
from thinwire.cli import main

ROWS, WIDTH = 320, 24


@pytest.fixture
def tensors() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    g = torch.Generator().manual_seed(0)
    old = {
        "embed": torch.randn(ROWS, WIDTH, generator=g),
        "head.bias": torch.randn(ROWS, generator=g),
        "shrunk": torch.randn(60, 40, generator=g),
        "same": torch.randn(50, 40, generator=g),
        "other": torch.randn(50, 40, generator=g),
        "gone": torch.randn(5, generator=g),
    }
    more = {name: torch.randn(17, *old[name].shape[1:], generator=g) for name in ("embed", "head.bias")}
    new = {name: x + 0.001 * torch.randn(x.shape, generator=g) for name, x in old.items() if name != "gone"}
    new |= {name: torch.cat([new[name], rows]) for name, rows in more.items()}
    new |= {"shrunk": new["shrunk"][:55], "other": new["other"].T.contiguous(), "new": torch.randn(3, generator=g)}
    return old, new


@pytest.mark.parametrize("slice_elements", [1 << 22, 700, 10])
def test_every_bit_returns_and_common_rows_cost_what_their_difference_costs(
    tensors: tuple[dict[str, Tensor], dict[str, Tensor]], slice_elements: int, tmp_path: Path
) -> None:
    old, new = tensors
    base, source = save(tmp_path / "old.safetensors", old), save(tmp_path / "new.safetensors", new, {"format": "pt"})
    back, report, _ = there_and_back(source, Lossless(), base, slice_elements)
    assert [name for name, x in new.items() if not same_bits(x, back[name])] == []
    assert source.with_suffix(".back").read_bytes() == source.read_bytes()
    head = open_packed(tmp_path / "new.tw").head
    known = {entry.name: entry.based_elements for entry in head.entries}
    assert known == {
        "embed": ROWS * WIDTH, "head.bias": ROWS, "shrunk": 55 * 40, "same": 50 * 40, "other": 0, "new": 0
    }  # fmt: skip
    assert len(report.notes) == 3


@pytest.mark.parametrize("bound", ["nmse=0.01", "relative=0.1", "absolute=0.0001"])
def test_a_bound_holds_for_the_difference_and_for_the_new_rows(
    tensors: tuple[dict[str, Tensor], dict[str, Tensor]], bound: str, tmp_path: Path
) -> None:
    old, new = tensors
    base, source = save(tmp_path / "old.safetensors", old), save(tmp_path / "new.safetensors", new)
    back, report, _ = there_and_back(source, Bounded.parse(bound), base, 2000)
    gap = (back["embed"] - new["embed"]).double()
    change, fresh = (new["embed"][:ROWS] - old["embed"]).double(), new["embed"][ROWS:].double()
    rounding = 2 * torch.finfo(torch.float32).eps * float(new["embed"].abs().max())
    for own, of in ((gap[:ROWS], change), (gap[ROWS:], fresh)):
        if bound.startswith("nmse"):
            assert own.square().sum() <= 0.01 * of.square().sum() + of.numel() * rounding**2
        else:
            most = 0.1 * float(of.square().mean().sqrt()) if bound.startswith("relative") else 0.0001
            assert float(own.abs().max()) <= most + rounding
    assert "embed" in report.lossy


def test_a_budget_is_kept(tensors: tuple[dict[str, Tensor], dict[str, Tensor]], tmp_path: Path) -> None:
    old, new = tensors
    base, source = save(tmp_path / "old.safetensors", old), save(tmp_path / "new.safetensors", new)
    _, report, _ = there_and_back(source, Budget(total_bytes=9000), base)
    assert report.file_bytes <= 9000
    assert report.sent_nmse < 0.5


def test_it_is_said_in_a_line_each(
    tensors: tuple[dict[str, Tensor], dict[str, Tensor]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tensors
    base, source = save(tmp_path / "old.safetensors", old), save(tmp_path / "new.safetensors", new)
    out = tmp_path / "x.tw"
    assert main(["pack", str(source), "--base", str(base), "--bound", "nmse=0.1", "-o", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "note: 2 tensors have other rows" in lines[0]
    assert lines[0].endswith(": 'embed', 'head.bias'")
    assert "1 tensors have another shape or dtype than in the base and travel whole: 'other'" in lines[1]
    assert "1 tensors are not in the base and travel whole: 'new'" in lines[2]
    assert main(["inspect", str(out)]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("embed"))
    assert "difference+whole" in row


def test_another_base_is_refused(tensors: tuple[dict[str, Tensor], dict[str, Tensor]], tmp_path: Path) -> None:
    old, new = tensors
    base, source = save(tmp_path / "old.safetensors", old), save(tmp_path / "new.safetensors", new)
    there_and_back(source, Lossless(), base)
    for name, x, said in (
        ("embed", old["embed"] + 1, "differs"),
        ("embed", old["embed"][:-1], "expected"),
        ("embed", old["embed"].half(), "expected"),
        ("shrunk", old["shrunk"][:54], "expected"),
    ):
        other = save(tmp_path / "other.safetensors", old | {name: x})
        with pytest.raises(CheckpointError, match=said):
            unpack(tmp_path / "new.tw", tmp_path / "back", other)
    # Rows that the packed tensor does not have are nobody's business.
    longer = save(tmp_path / "longer.safetensors", old | {"embed": torch.cat([old["embed"], old["embed"]])})
    unpack(tmp_path / "new.tw", tmp_path / "back", longer)
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_no_row_in_common_is_no_base(tmp_path: Path) -> None:
    for old, new in ((torch.zeros(0, 4), torch.ones(3, 4)), (torch.zeros(3, 4), torch.ones(3, 5))):
        base, source = (
            save(tmp_path / "old", {"x": old, "y": torch.zeros(1)}),
            save(tmp_path / "new", {"x": new, "y": torch.ones(1)}),
        )
        back, report, _ = there_and_back(source, Lossless(), base)
        assert same_bits(back["x"], new)
        assert len(report.notes) == 1
    empty = save(tmp_path / "empty", {"x": torch.zeros(0, 4)})
    there_and_back(empty, Lossless(), base)
