"""`thinwire compare --distributed`: what it refuses, what it runs, what it keeps, and the report at its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from thinwire.cli import compare_distributed, main
from thinwire.cli.parser import parse
from thinwire.lab.compare import compare, remaining, run_file
from thinwire.lab.training.compared import GROUPS, METHODS
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.plan import UNFINISHED, TrainPlan, known, plans
from thinwire.lab.training.prepared import read
from thinwire.lab.training.trainer import Seen
from thinwire.lab.training.watched import Direct, listening
from thinwire.lab.workers import Event

pytest.importorskip("sklearn")
COMMAND = ["compare", "--distributed"]
QUICK = ["--limit-rows", "64", "--batch-size", "8", "--epochs", "2", "--seeds", "1"]
SIMULATED = [*COMMAND, *QUICK, "--simulate", "2", "--jobs", "1"]

BAD = [
    (["--only", "hggtop"], "'hggtop'", "hggtopk"),
    (["--only", ""], "method", "topk"),
    (["--only", "hggtopk,dgc", "--optimizer", "adamw"], "dgc", "sgd"),
    (["--simulate", "2", "--only", "torch-powersgd"], "torch-powersgd", "simulated"),
    (["--compressor", "TopK(2)"], "density", "2"),
    (["--compressor", "Topp(0.1)"], "'Topp'", "TopK"),
    (["--only", "int8", "--density", "0.1"], "--density", "0.1"),
    (["--density", "7"], "density", "7"),
    (["--seeds", "0"], "seeds", "0"),
    (["--jobs", "2"], "--jobs", "--simulate"),
    (["--simulate", "2", "--workers", "2"], "--simulate", "--workers"),
    (["--simulate", "0"], "--simulate", "0"),
    (["--workers", "0"], "workers", "0"),
    (["--gpus", "99"], "--gpus", "99"),
    (["--model", "resnet1"], "'resnet1'", "'resnet18'"),
    (["--dataset", "cifar10", "--data", "nowhere"], "nowhere", "cifar"),
    (["--out", "file"], "file", "--out"),
    (["--task", "digits"], "--task is an option of `thinwire compare`", "not of `thinwire compare --distributed`"),
    (["--rounds", "3"], "--rounds is an option of `thinwire compare`", "--distributed"),
    (["--epoch", "3"], "'--epoch'", "'--epochs'"),
]


@pytest.mark.parametrize(("words", "first", "second"), BAD, ids=lambda item: "-" if isinstance(item, list) else item)
def test_bad_input_is_one_sentence(
    words: list[str],
    first: str,
    second: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(compare_distributed, "run_all", lambda *_: pytest.fail("nothing was refused"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THINWIRE_DATA", raising=False)
    Path("file").write_text("mine")
    assert main([*COMMAND, *words]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("thinwire compare: ")
    assert first in said
    assert second in said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("flag", ["--model", "--epochs", "--density", "--simulate"])
def test_options_of_the_other_comparison_are_named(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", flag, "3"]) == 2
    said = capsys.readouterr().err
    assert f"{flag} is an option of `thinwire compare --distributed`, not of `thinwire compare`" in said


def test_the_flag_may_stand_anywhere() -> None:
    for words in (["--distributed", "--epochs", "3"], ["--epochs", "3", "--distributed"]):
        assert parse(["compare", *words]).act is compare_distributed.act
    assert parse(["compare", "--rounds", "3"]).act is not compare_distributed.act


def test_the_default_methods_are_dense_torchs_and_ten(tmp_path: Path) -> None:
    assert METHODS[0] == "none"
    assert len(METHODS) == 13
    assert len(GROUPS["sparsifiers"]) == 10
    assert all(known(name) for names in GROUPS.values() for name in names)
    assert [config.compressor for config in chosen(tmp_path)] == list(METHODS)
    simulated = [config.compressor for config in chosen(tmp_path, "--simulate", "2")]
    assert simulated == [name for name in METHODS if not name.startswith("torch-")]
    text = chosen(tmp_path, "--optimizer", "adamw", "--only", "sparsifiers", "--compressor", "LowRank(rank=1)")
    assert [config.compressor for config in text] == ["none", *GROUPS["sparsifiers"], "LowRank(rank=1)"]


def chosen(tmp_path: Path, *words: str) -> list[TrainConfig]:
    options = parse([*COMMAND, *words])
    base = compare_distributed._base(options)
    return compare_distributed._chosen(options, base, read(base))


def test_a_density_is_for_those_that_have_one(tmp_path: Path) -> None:
    found = {config.compressor: config.density for config in chosen(tmp_path, "--density", "0.05")}
    assert {name for name, density in found.items() if density} == {"hggtopk", "topk", "topk-int8", "dgc", "randomkec"}
    made = plans(chosen(tmp_path, "--density", "0.05", "--only", "topk"), range(2), tmp_path)
    assert [plan.slug for plan in made] == ["dense-seed0", "topk-5-seed0", "dense-seed1", "topk-5-seed1"]


def test_what_nobody_named_and_cannot_be_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "dgc" not in {config.compressor for config in chosen(tmp_path, "--optimizer", "adamw")}
    assert "left out: dgc: " in capsys.readouterr().err


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("compare") / "out"
    assert main([*SIMULATED, "--only", "topk", "--density", "0.05", "--quiet", "--out", str(out)]) == 0
    return out


def test_simulated_runs_and_their_report(simulated: Path) -> None:
    assert sorted(path.name for path in simulated.iterdir()) == ["report.html", "report.json", "report.md", "runs"]
    runs = {file.stem: json.loads(file.read_text()) for file in (simulated / "runs").iterdir()}
    assert set(runs) == {"dense-seed0", "topk-5-seed0"}
    assert {run["schema"] for run in runs.values()} == {"thinwire.train/1"}
    first = {run["steps"]["loss"][0] for run in runs.values()}
    assert len(first) == 1
    assert runs["topk-5-seed0"]["totals"]["sent_bytes"] * 5 < runs["dense-seed0"]["totals"]["sent_bytes"]
    report = json.loads((simulated / "report.json").read_text())
    assert report["simulated"]
    assert report["configurations"][0]["k_accuracy"] == pytest.approx(1, abs=0.02)


def test_finished_runs_are_kept_and_others_added(simulated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: file.stat().st_mtime_ns for file in (simulated / "runs").iterdir()}
    words = [*SIMULATED, "--only", "topk", "--density", "0.05", "--out", str(simulated)]
    assert main(words) == 0
    assert "0 runs in 0 s, 2 were there already" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in (simulated / "runs").iterdir()} == before
    assert main([*words, "--lr", "0.5"]) == 2
    assert "lr 0.05 instead of 0.5" in capsys.readouterr().err
    assert main([*words, "--model", "mlp"]) == 2
    assert main(["compare", "--out", str(simulated)]) == 2
    assert "is of schema 'thinwire.train/1', not 'thinwire.run/1'" in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in (simulated / "runs").iterdir()} == before
    assert main(["report", str(simulated)]) == 0
    assert "topk 5%" in capsys.readouterr().out


def test_a_failed_run_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--only", "topk", "--lr", "1e30", "--out", str(tmp_path)]
    assert main([*SIMULATED, *words]) == 1
    said = capsys.readouterr().out
    assert "[2/2] " in said
    assert "failed: dense-seed0: Diverged: the loss of worker" in said
    assert sorted(path.name for path in (tmp_path / "failed").iterdir()) == ["dense-seed0.txt", "topk-seed0.txt"]


def test_rows_say_how_far_a_run_is(tmp_path: Path) -> None:
    plan = TrainPlan(TrainConfig(), tmp_path)
    rows: list[dict[str, Any]] = []
    with Direct(rows.append)() as on_step:
        on_step(Seen(3, 8, 0, 0.5, 1000, 4000))
        on_step(Seen(4, 8, 0, 0.4, 1500, 6000))
    assert len(rows) == 1
    reached = plan.reached(rows[0], 77)
    assert (reached.at, reached.of, reached.sent_bytes, reached.words) == (3, 8, 1000, "epoch 1, loss 0.500")


def test_a_worker_is_heard_through_its_pipe() -> None:
    rows: list[dict[str, Any]] = []
    with listening(rows.append) as watch, watch() as on_step:
        on_step(Seen(1, 2, 0, 0.5, 10, 100))
    assert [row["step"] for row in rows] == [1]


@pytest.mark.slow
def test_real_workers_and_their_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*COMMAND, *QUICK, "--only", "topk", "--density", "0.05", "--workers", "2", "--out", str(tmp_path)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "[1/2] dense-seed0: accuracy 0." in said
    assert "exposed" in said
    assert "on this link" in said.lower()
    report = json.loads((tmp_path / "report.json").read_text())
    assert {row["group"] for row in report["configurations"]} == {"dense", "topk 5%"}
    assert all(row["step_s"] > 0 for row in report["configurations"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md", "runs"]


def heed_ctrl_c() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so do its children: the tests may be such."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_the_run_goes_on(tmp_path: Path) -> None:
    words = [*COMMAND, "--limit-rows", "64", "--batch-size", "8", "--epochs", "300", "--seeds", "1", "--only", "fp16"]
    command = [sys.executable, "-m", "thinwire.cli", *words, "--out", str(tmp_path)]
    settings: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(command, preexec_fn=heed_ctrl_c, **settings) as process:
        until = time.monotonic() + 200
        while time.monotonic() < until and not list((tmp_path / UNFINISHED).glob("*/checkpoints/step-*")):
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        try:
            out, err = process.communicate(timeout=100)
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert b"stopped: 0 of 2 runs are finished" in out
    assert b"Traceback" not in err
    config = TrainConfig(limit_rows=64, batch_size=8, epochs=300)
    plan = TrainPlan(config, tmp_path)
    assert plan._goes_on(tmp_path / UNFINISHED / plan.slug)
    assert not TrainPlan(TrainConfig(limit_rows=64, epochs=300), tmp_path)._goes_on(tmp_path / UNFINISHED / plan.slug)


def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    plan = TrainPlan(TrainConfig(simulate=True, limit_rows=64, batch_size=8, epochs=2), tmp_path)
    from thinwire.lab.training.simulated import simulate
    from thinwire.lab.training.worker import Work

    class Stop(Exception):
        pass

    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] == 1:
            raise Stop

    folder = tmp_path / UNFINISHED / plan.slug
    folder.mkdir(parents=True)
    watch = Direct(stop)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thinwire.lab.training.watched.EVERY_S", 0.0)
        with pytest.raises(Stop):
            simulate(Work(plan.config, folder, False, watch))
    heard: list[Event] = []
    assert plan._goes_on(folder)
    assert compare([plan], tmp_path, 1, heard.append) == {}
    assert remaining([plan], tmp_path) == []
    again = json.loads(run_file(tmp_path, plan).read_text())
    assert again["totals"]["steps"] == 8
    whole = TrainPlan(plan.config, tmp_path / "whole")
    assert compare([whole], whole.out, 1, heard.append) == {}
    assert json.loads(run_file(whole.out, whole).read_text())["steps"]["loss"] == again["steps"]["loss"]
