"""`thinwire train` as workers that were started from outside, as torchrun does, on one machine or several."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from thinwire.cli import main
from thinwire.cli.train_joined import workers
from thinwire.cli.train_options import add_options
from thinwire.lab.training.checkpoint import newest
from thinwire.lab.training.joined import NAMES, Place, place

pytest.importorskip("sklearn")
QUICK = ["--limit-rows", "64", "--batch-size", "8", "--compressor", "hggtopk", "--density", "0.05", "--gpus", "0"]
WAIT_S = 200
TWO = dict(zip(NAMES, ("0", "2", "0", "1", "127.0.0.1", "29999"), strict=True))


@pytest.fixture
def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_place_is_read_from_the_environment() -> None:
    assert place({}) is None
    assert place({"MASTER_ADDR": "somewhere", "LOCAL_RANK": "0"}) is None
    assert place(TWO | {"RANK": "1"}) == Place(1, 2, 0, 1)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"RANK": "2"}, "RANK 2 of 2"),
        ({"RANK": "-1"}, "RANK is '-1'"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is ''"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK 1 of 1"),
        ({"LOCAL_WORLD_SIZE": "3"}, "of 3"),
        ({"MASTER_PORT": None}, "but not MASTER_PORT"),
        (dict.fromkeys(NAMES[1:]), "RANK is set"),
    ],
)
def test_an_environment_that_cannot_be_is_said(odd: dict[str, str | None], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        place({name: value for name, value in (TWO | odd).items() if value is not None})


@pytest.mark.parametrize("words", [["--workers", "3"], ["--gpus", "2"]])
def test_options_that_contradict_what_was_started(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert main(["train", "--out", str(tmp_path / "run"), *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"thinwire train: {words[0]} is {words[1]}, but ")
    assert said.count("\n") == 1


def test_more_workers_than_a_machine_has_gpus() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_options(parser)
    four = Place(0, 4, 0, 4)
    assert workers(parser.parse_args([]), four, 0) == workers(parser.parse_args(["--workers", "4"]), four, 4) == 4
    with pytest.raises(ValueError, match="--nproc-per-node"):
        workers(parser.parse_args([]), four, 2)


def joined(outs: tuple[Path, Path], port: int, *words: str, odd: tuple[str, ...] = ()) -> list[tuple[int, str, str]]:
    """Run two workers, each as if on a machine of its own; return code, output and errors of both."""
    started = []
    for rank, out in enumerate(outs):
        command = [sys.executable, "-m", "thinwire.cli", "train", *QUICK, *words, *(odd if rank else ())]
        own = TWO | {"RANK": str(rank), "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([*command, "--out", str(out)], env=os.environ | own, **pipes))
    ends = [process.communicate(timeout=WAIT_S) for process in started]
    return [(process.returncode, *end) for process, end in zip(started, ends, strict=True)]


def parameters(out: Path) -> dict[str, torch.Tensor]:
    saved = newest(out)
    assert saved is not None
    return saved.shared()


def same(first: Path, second: Path) -> bool:
    a, b = parameters(first), parameters(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def files(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "checkpoints").rglob("*") if path.is_file())


def test_two_machines_with_a_folder_each(tmp_path: Path, free_port: int) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    ends = joined((first, second), free_port, "--steps", "2")
    assert [end[0] for end in ends] == [0, 0], ends
    assert "2 workers, hggtopk" in ends[0][1]
    assert ends[1][1:] == ("", "")
    assert json.loads((first / "train.json").read_text())["config"]["workers"] == 2
    assert not (second / "train.json").exists()
    assert files(first) == ["model.twf", "rank-0.twf", "run.json"]
    assert files(second) == ["model.twf", "rank-1.twf", "run.json"]
    assert same(first, second)


@pytest.mark.slow
def test_folders_of_two_machines_go_on_as_a_shared_one_that_never_stopped(tmp_path: Path, free_port: int) -> None:
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    runs = [((whole, whole), ["2"]), ((first, second), ["1"]), ((first, second), ["2", "--resume"])]
    for outs, words in runs:
        ends = joined(outs, free_port, "--schedule", "constant", "--epochs", *words)
        assert [end[0] for end in ends] == [0, 0], ends
    assert files(whole) == ["model.twf", "rank-0.twf", "rank-1.twf", "run.json"]
    assert same(first, whole)
    assert same(second, whole)


def test_workers_that_were_told_different_things_say_so(tmp_path: Path, free_port: int) -> None:
    ends = joined((tmp_path / "run",) * 2, free_port, odd=("--lr", "0.5"))
    assert [end[0] for end in ends] == [1, 1]
    assert "worker 1 was started with other settings" in ends[0][2]
    assert "lr is 0.5 here and 0.05 on worker 0" in ends[1][2]
    assert [end[2].count("\n") for end in ends] == [1, 1]


@pytest.mark.slow
def test_a_checkpoint_that_one_machine_lacks_is_said(tmp_path: Path, free_port: int) -> None:
    out = tmp_path / "run"
    assert [end[0] for end in joined((out, out), free_port, "--schedule", "constant", "--steps", "1")] == [0, 0]
    ends = joined((out, tmp_path / "empty"), free_port, "--schedule", "constant", "--steps", "2", "--resume")
    assert [end[0] for end in ends] == [1, 1]
    assert all("not all workers have a checkpoint of step 1" in end[2] for end in ends)
