"""`thinwire train`: what it refuses in one sentence, what it writes, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from thinwire.cli import main
from thinwire.cli.train_screen import note, show, step_bar
from thinwire.lab.training.checkpoint import Writer, newest
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.position import Position
from thinwire.lab.training.trainer import Seen

pytest.importorskip("sklearn")
QUICK = ["--limit-rows", "64", "--batch-size", "8", "--epochs", "2", "--checkpoint-steps", "3"]
WAIT_S = 200

BAD = [
    (["--model", "resnet1"], "'resnet1'", "'resnet18'"),
    (["--dataset", "cifar"], "'cifar'", "'cifar10'"),
    (["--dataset", "small.txt"], "small-cnn", "text"),
    (["--model", "small-gpt"], "small-gpt", "image"),
    (["--compressor", "hggtop"], "'hggtop'", "hggtopk"),
    (["--compressor", "TopK(2)"], "density", "2"),
    (["--compressor", "TopK(0.1)", "--density", "0.1"], "density", "method"),
    (["--compressor", "none", "--density", "0.1"], "density", "'none'"),
    (["--compressor", "powersgd", "--density", "0.1"], "density", "powersgd"),
    (["--compressor", "dgc", "--optimizer", "adamw"], "momentum", "sgd"),
    (["--optimizer", "adam"], "'adam'", "adamw"),
    (["--schedule", "cosin"], "'cosin'", "cosine"),
    (["--lr", "0"], "lr", "0"),
    (["--lr", "nan"], "lr", "nan"),
    (["--momentum", "1"], "momentum", "1"),
    (["--weight-decay", "-1"], "weight-decay", "-1"),
    (["--clip-norm", "0"], "clip-norm", "0"),
    (["--warmup", "-1"], "warmup", "-1"),
    (["--epochs", "0"], "epochs", "0"),
    (["--steps", "0"], "steps", "0"),
    (["--batch-size", "5000"], "5000", "rows"),
    (["--limit-rows", "10"], "10 rows", "2 ranks"),
    (["--workers", "0"], "workers", "0"),
    (["--gpus", "99"], "--gpus", "99"),
    (["--seed", "-1"], "seed", "-1"),
    (["--context", "5"], "context", "digits"),
    (["--augment", "--model", "small-gpt", "--dataset", "small.txt"], "augmentation", "text"),
    (["--dataset", "cifar10", "--data", "nowhere"], "nowhere", "cifar"),
    (["--out", "file"], "file", "--out"),
    (["--resume", "--fresh"], "--resume", "--fresh"),
    (["--simulate", "--compressor", "torch-fp16"], "'torch-fp16'", "simulated"),
    (["--use-pipelin"], "'--use-pipelin'", "'--use-pipeline'"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "first", "second"), BAD, ids=lambda item: "-" if isinstance(item, list) else item)
def test_bad_input_is_one_sentence(
    words: list[str],
    first: str,
    second: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THINWIRE_DATA", raising=False)
    Path("file").write_text("mine")
    Path("small.txt").write_text("a b c " * 500)
    assert main(["train", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("thinwire train: ")
    assert said.count("\n") == 1
    assert first in said
    assert second in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "small.txt"]
    assert Path("file").read_text() == "mine"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there a run has other workers")
def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = TrainConfig(compressor="hggtopk", epochs=10)
    Writer(tmp_path, 0, 1, lambda: None).write(Position(7), config.described(), {}, {"w": torch.ones(9)}, {0: {}})
    assert main(["train", "--out", str(tmp_path)]) == 2
    assert re.search("holds a run.*--resume goes on from step 7.*--fresh", capsys.readouterr().err)
    assert main(["train", "--out", str(tmp_path), "--resume", "--lr", "0.5"]) == 2
    assert "lr 0.05 then, 0.5 now" in capsys.readouterr().err
    file = tmp_path / "checkpoints" / "step-00000007" / "model.twf"
    file.write_bytes(file.read_bytes()[:-1])
    assert main(["train", "--out", str(tmp_path), "--resume"]) == 2
    assert "model.twf is damaged" in capsys.readouterr().err
    assert newest(tmp_path) is not None


def train(*words: str) -> subprocess.Popen[str]:
    """Start a run in a process group of its own, one thread each."""
    command = [sys.executable, "-m", "thinwire.cli", "train", *QUICK, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=heed_ctrl_c, **pipes)


def heed_ctrl_c() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so do its children: the tests may be such."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=WAIT_S)
    return process.returncode, out, err


def end_of(out: Path) -> list[dict[str, torch.Tensor]]:
    """Return all that a finished run left for the next step: shared, and of each rank but its clock."""
    saved = newest(out)
    assert saved is not None
    return [saved.shared(), *(saved.of_rank(rank) for rank in range(saved.world))]


def same(first: Path, second: Path) -> bool:
    pairs = list(zip(end_of(first), end_of(second), strict=True))
    return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    out: Path = tmp_path_factory.mktemp("train") / "run"
    code, said, warned = ended(train("--compressor", "hggtopk", "--density", "0.05", "--out", str(out)))
    assert code == 0, warned
    return out, said, warned


def test_a_run_writes_one_result_and_a_checkpoint(finished: tuple[Path, str, str]) -> None:
    out, said, warned = finished
    result = json.loads((out / "train.json").read_text())
    assert result["schema"] == "thinwire.train/1"
    assert (result["config"]["compressor"], result["config"]["density"], result["config"]["workers"]) == (
        "hggtopk", 0.05, 2,
    )  # fmt: skip
    assert result["totals"]["steps"] == len(result["steps"]["loss"]) == 8
    assert [row["step"] for row in result["epochs"]] == [4, 8]
    assert result["totals"]["ratio"] == result["totals"]["dense_bytes"] / result["totals"]["sent_bytes"] > 5
    assert set(result["exchanges"].values()) <= {"gather", "sum", "two-shot", "power"}
    assert result["link"]["bandwidth_bps"] > 0
    assert result["worth"].keys() == {"pays", "dense_s", "compressed_s", "break_even_bps", "text"}
    assert result["worth"]["text"] in said
    assert "thinwire" not in warned
    assert warned == ""
    for word in ("hggtopk", "accuracy", "exposed averaging", "train.json"):
        assert word in said


def test_the_last_checkpoint_is_the_end_of_the_run(finished: tuple[Path, str, str]) -> None:
    saved = newest(finished[0])
    assert saved is not None
    assert (saved.position, saved.world) == (Position(8, 2, 0), 2)
    assert saved.records["epochs"][-1]["step"] == 8


def wait_for_step(out: Path, step: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until and process.poll() is None:
        steps = [int(path.name[-8:]) for path in (out / "checkpoints").glob("step-*")]
        if steps and max(steps) >= step:
            return
        time.sleep(0.005)


KILLED = [
    ("hggtopk --density 0.05 --use-pipeline", "all"), ("hggtopk --density 0.05", "worker"),
    ("powersgd", "all"), ("powersgd --use-pipeline", "worker"),
    ("dgc --density 0.05 --use-pipeline", "all"), ("dgc --density 0.05", "worker"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("words", "victim"), KILLED)
def test_a_killed_run_goes_on_bit_for_bit(words: str, victim: str, tmp_path: Path) -> None:
    longer = ["--compressor", *words.split(), "--epochs", "20"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert ended(train(*longer, "--out", str(whole)))[0] == 0
    process = train(*longer, "--out", str(killed))
    wait_for_step(killed, random.Random(words + victim).randrange(3, 70), process)
    if victim == "worker":
        os.kill(children(process.pid)[-1], signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=WAIT_S)
    at = newest(killed)
    assert at is not None
    assert 0 < at.position.step < 80
    code, _, warned = ended(train(*longer, "--out", str(killed), "--resume"))
    assert code == 0, warned
    assert same(whole, killed)
    first, second = (json.loads((out / "train.json").read_text())["steps"] for out in (whole, killed))
    assert first["loss"] == second["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "all"])
def test_no_worker_is_left_behind(victim: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = train("--epochs", "500", "--out", str(out))
    wait_for_step(out, 6, process)
    workers = children(process.pid)
    assert len(workers) >= 2
    if victim == "worker":
        os.kill(workers[-1], signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGINT)
    code, _, warned = ended(process)
    assert code == (1 if victim == "worker" else 130), warned
    assert "--resume goes on from step" in warned
    assert "Traceback" not in warned
    assert (victim == "worker") == ("ended without a reason" in warned)
    assert newest(out) is not None
    until = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, workers))


def children(pid: int) -> list[int]:
    """Return the spawned processes of a process, the workers last."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == pid and "spawn_main" in command:
            found.append(int(path.parent.name))
    return sorted(found)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_loss_that_is_no_number_is_said(tmp_path: Path) -> None:
    code, _, warned = ended(train("--lr", "1e30", "--compressor", "none", "--out", str(tmp_path / "run")))
    assert code == 1
    assert re.search(r"the run failed: the loss of worker \d is (nan|inf) at step \d+, learning rate", warned)
    assert warned.count("\n") == 1


def test_the_bar_is_quiet_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with step_bar() as on_step:
        on_step(Seen(1, 2, 0, 0.5, 10, 100))
    assert capsys.readouterr() == ("", "")
    assert note(Seen(1, 2, 0, 0.5, 1_000_000, 20_000_000)) == "loss 0.500, 1.00 MB, 20.0x"
    assert note(Seen(1, 2, 0, 0.5, 0, 0)).startswith("loss 0.500, 0")


def test_what_is_not_known_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    times = dict.fromkeys(("forward_s", "backward_s", "encode_s", "exposed_s", "update_s"), 0.5)
    show(
        {
            "config": {"model": "m", "dataset": "d", "workers": 2, "compressor": "c"},
            "metric": {"name": "perplexity"},
            "epochs": [{"step": 2, "perplexity": None, "loss": 800.0}],
            "totals": {"steps": 2, "sent_bytes": 10, "ratio": 3.0, "wall_s": 1.0} | times,
        },
        Path("out"),
    )
    said = capsys.readouterr().out
    assert "perplexity -, loss 800.0000" in said
    assert re.search(r"backward +250\.00", said)
