"""Ranks simulated in one process: the same bits, bytes and records as in as many processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from simulated_cases import differing, end, real, simulated, untimed
from trainer_cases import Stopped

from thinwire.cli import main
from thinwire.errors import NonFiniteError
from thinwire.lab.diverged import Diverged
from thinwire.lab.training.config import TrainConfig

pytest.importorskip("sklearn")
TWO: dict[str, dict[str, Any]] = {
    "none": {"compressor": "none", "model": "small-resnet", "clip_norm": 1.0, "steps": 3},
    "hggtopk": {"compressor": "hggtopk", "density": 0.05, "use_pipeline": True, "model": "small-resnet", "steps": 3},
    "powersgd": {"compressor": "powersgd", "steps": 4},
    "int8": {"compressor": "int8", "steps": 3},
    "topk": {"compressor": "topk", "augment": True, "steps": 3},
    "dgc": {"compressor": "dgc", "density": 0.05, "model": "small-resnet", "clip_norm": 1.0},
    "fp16": {"compressor": "fp16", "model": "small-resnet", "steps": 3},
    "randomk": {"compressor": "randomk", "density": 0.1, "steps": 3},
    "budget": {"compressor": "ByteBudget(100000)", "steps": 4},
    "plateau": {"compressor": "Compressor(Plateau(), NoFeedback())", "steps": 3},
    "text": {"compressor": "hggtopk", "context": 16, "batch_size": 4, "steps": 3, "lr": 1e-3},
}
THREE: dict[str, dict[str, Any]] = {
    "int4": {"compressor": "int4-block", "limit_rows": 150, "workers": 3, "steps": 3},
    "topk-dense": {"compressor": "topk", "density": 0.5, "limit_rows": 150, "workers": 3, "steps": 3},
}
"""Their exchanges are sums, gathers, power and, of three ranks, two shots."""
CASES = [*TWO, *THREE]
GOES_ON = "goes-on"
"""What a simulated run left in the middle, for processes to go on from."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("simulated")
    text = folder / "text.txt"
    text.write_text("the cat sat on the mat. " * 200)
    TWO["text"] |= {"model": "small-gpt", "dataset": str(text)}
    (folder / "real").mkdir()
    for name, settings in (TWO | THREE).items():
        simulated(settings, folder / name)
    with pytest.raises(Stopped):
        simulated(TWO["dgc"], folder / "real" / GOES_ON, until=9)
    shutil.copytree(folder / "real" / GOES_ON, folder / GOES_ON)
    real(folder / "real", 2, TWO | {GOES_ON: TWO["dgc"]})
    real(folder / "real", 3, THREE)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_simulated_ranks_end_with_the_bits_of_real_ones(out: Path, name: str) -> None:
    """Parameters, optimizer, buffers, residuals, histories and random generators."""
    assert differing(end(out / name), end(out / "real" / name)) == []


@pytest.mark.parametrize("name", CASES)
def test_bytes_losses_and_counts_are_those_of_processes(out: Path, name: str) -> None:
    ours, theirs = (untimed(end(folder / name).records) for folder in (out, out / "real"))
    assert ours == theirs


def test_a_simulated_run_goes_on_simulated_or_not(out: Path) -> None:
    assert end(out / GOES_ON).position.step == 8
    simulated(TWO["dgc"], out / GOES_ON, resume=True)
    for folder in (out / GOES_ON, out / "real" / GOES_ON):
        assert differing(end(out / "dgc"), end(folder)) == []
        assert untimed(end(out / "dgc").records) == untimed(end(folder).records)


def test_other_numbers_of_ranks_go_on(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out / GOES_ON, tmp_path / "run")
    simulated(TWO["dgc"] | {"workers": 3, "epochs": 3}, tmp_path / "run", resume=True)
    assert end(tmp_path / "run").world == 3
    assert end(tmp_path / "run").position.epoch == 3


def test_what_was_kept_is_counted_where_codecs_are_sparse(out: Path) -> None:
    for name in CASES:
        result = json.loads((out / name / "train.json").read_text())
        counts = list(zip(result["steps"]["kept"], result["steps"]["wanted"], strict=True))
        sparse = name in ("hggtopk", "topk", "dgc", "randomk", "text", "topk-dense")
        assert all((kept > 0) == (wanted > 0) == sparse for kept, wanted in counts)
        assert (result["totals"]["k_ratio"] is None) == (not sparse)
        if name in ("topk", "randomk", "topk-dense"):
            assert all(kept == wanted for kept, wanted in counts)


def test_what_goes_wrong_is_said_as_workers_do(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"loss of worker 0 is (nan|inf) at step \d+, learning rate"):
        simulated({"compressor": "none", "lr": 1e12, "warmup": 0}, tmp_path / "loss")
    assert not torch.distributed.is_initialized()


def test_a_gradient_that_is_no_number_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from thinwire.lab.training.all_ranks import AllRanks

    taken = AllRanks._taken

    def spoilt(self: AllRanks) -> dict[str, torch.Tensor]:
        own = taken(self)
        next(iter(own.values())).view(-1)[3] = float("nan")
        return own

    monkeypatch.setattr(AllRanks, "_taken", spoilt)
    with pytest.raises(NonFiniteError, match=r"rank 0: .*holds NaN.*; rank 1: .*holds NaN"):
        simulated({"compressor": "hggtopk"}, tmp_path / "gradient")


@pytest.mark.parametrize("name", ["torch-fp16", "torch-powersgd"])
def test_torchs_own_hooks_need_processes(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}'.*cannot be simulated"):
        TrainConfig(compressor=name, simulate=True)


def test_the_command_simulates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--simulate", "--workers", "4", "--gpus", "0", "--limit-rows", "64", "--batch-size", "8"]
    before = torch.get_rng_state(), torch.get_num_threads()
    assert main([*words, "--epochs", "1", "--quiet", "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "4 simulated workers" in said
    assert "k accuracy" in said
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]
    assert json.loads((tmp_path / "run" / "train.json").read_text())["config"]["simulate"] is True
