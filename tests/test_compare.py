"""Comparisons: finished runs are kept, others go on, and nothing is mixed up."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from thinwire.cli import main
from thinwire.lab.compare import compare, forget, plans, remaining, run_file, write_run
from thinwire.lab.config import RunConfig
from thinwire.lab.lock import NAME, InUse, locked
from thinwire.lab.pairings import BASELINE, PAIRINGS, Pairing, pairings
from thinwire.lab.plan import Plan
from thinwire.lab.workers import Event

TINY = RunConfig(clients=2, rounds=1, local_epochs=1, batch_size=64)
TWO = (Pairing(BASELINE, "stock"), Pairing("auto", "auto", "auto", "auto"))


@dataclass(frozen=True)
class Canned(Plan):
    """A plan whose run takes no time, raises or kills its process."""

    fate: str = ""

    def run(self, on_round: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        on_round({"round": 0})
        if self.fate == "raises":
            raise RuntimeError("on\npurpose")
        if self.fate == "dies":
            os._exit(3)
        return {"schema": "thinwire.run/1", "config": self.config.described()}


def canned(group: str, fate: str = "") -> Canned:
    return Canned(group, group, TINY, fate)


class Heard(list[Event]):
    def __call__(self, event: Event) -> None:
        self.append(event)

    def kinds(self, group: str) -> list[str]:
        return [event.kind for event in self if event.plan.group == group]


def test_the_default_comparison() -> None:
    assert list(pairings()) == [
        "uncompressed", "quantize+quantize", "quantize+lowrank", "lowrank+quantize", "lowrank+lowrank",
        "sparsify+quantize", "sparsify+lowrank", "auto",
    ]  # fmt: skip
    assert pairings()["quantize+lowrank"].name == "quantize up, low-rank down"
    for item in PAIRINGS[1:-1]:
        config = RunConfig(uplink=item.uplink, downlink=item.downlink)
        assert str(config.described()["uplink"]).startswith("ByVolume(")
        assert str(config.described()["downlink"]).startswith("ErrorBound(")
    assert not RunConfig(uplink=PAIRINGS[0].uplink, downlink=PAIRINGS[0].downlink).compressed


def test_plans_are_configurations_times_seeds() -> None:
    made = plans(TWO, TINY, range(2))
    assert [plan.slug for plan in made] == ["uncompressed-seed0", "auto-seed0", "uncompressed-seed1", "auto-seed1"]
    assert {replace(plan.config, uplink=None, downlink=None, seed=0) for plan in made} == {TINY}


def test_a_failure_and_a_death_cost_their_runs_alone(tmp_path: Path) -> None:
    todo = [canned("good"), canned("bad", "raises"), canned("dead", "dies"), canned("late")]
    heard = Heard()
    failed = compare(todo, tmp_path, 2, heard)
    assert failed == {"bad-seed0": "RuntimeError: on", "dead-seed0": "its process ended with code 3"}
    assert heard.kinds("good") == ["started", "row", "finished"]
    assert heard.kinds("dead")[-1] == "failed"
    assert sorted(file.name for file in (tmp_path / "runs").iterdir()) == ["good-seed0.json", "late-seed0.json"]
    assert "on purpose" in (tmp_path / "failed" / "bad-seed0.txt").read_text().replace("\n", " ")
    assert remaining(todo, tmp_path) == todo[1:3]


def test_stopping_keeps_what_is_finished_and_resuming_does_the_rest(tmp_path: Path) -> None:
    wanted = [canned("uncompressed"), canned("auto")]

    def stop(event: Event) -> None:
        if event.kind == "finished":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(wanted, tmp_path, 1, stop)
    first = run_file(tmp_path, wanted[0])
    before = first.stat().st_mtime_ns
    todo = remaining(wanted, tmp_path)
    assert todo == wanted[1:]
    heard = Heard()
    assert compare(todo, tmp_path, 1, heard) == {}
    assert {event.plan.slug for event in heard} == {"auto-seed0"}
    assert first.stat().st_mtime_ns == before
    assert remaining(wanted, tmp_path) == []


def kept(tmp_path: Path, plan: Plan, text: str | None = None) -> Path:
    file = run_file(tmp_path, plan)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text or json.dumps({"schema": "thinwire.run/1", "config": plan.config.described()}))
    return file


def test_another_config_in_the_place_of_a_run_is_refused(tmp_path: Path) -> None:
    kept(tmp_path, plans(TWO, replace(TINY, lr=0.5), [0])[0])
    with pytest.raises(ValueError, match=r"uncompressed-seed0.*lr=0.5.*--out.*--fresh"):
        remaining(plans(TWO, TINY, [0]), tmp_path)


def test_another_task_in_the_folder_is_refused(tmp_path: Path) -> None:
    kept(tmp_path, Plan("other", "other", RunConfig(task="mnist")))
    with pytest.raises(ValueError, match=r"other-seed0.*mnist.*digits.*--out"):
        remaining(plans(TWO, TINY, [0]), tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "thinwire.run/2"}', '{"schema": "thinwire.run/1"}'])
def test_a_file_that_is_no_run_is_refused_and_never_deleted(tmp_path: Path, text: str) -> None:
    file = kept(tmp_path, canned("strange"), text or " ")
    for fresh in (False, True):
        with pytest.raises(ValueError, match=r"strange-seed0.*not a run"):
            remaining(plans(TWO, TINY, [0]), tmp_path, fresh)
    forget(tmp_path)
    assert file.exists()


def test_fresh_runs_all_and_forgets_runs(tmp_path: Path) -> None:
    wanted = plans(TWO, TINY, [0])
    file = kept(tmp_path, wanted[0])
    assert remaining(wanted, tmp_path) == wanted[1:]
    assert remaining(wanted, tmp_path, fresh=True) == wanted
    assert file.exists()
    forget(tmp_path)
    assert not file.exists()


def test_a_run_that_cannot_be_written_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(result: dict[str, Any], file: Path) -> None:
        if file.stem.startswith("first"):
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
        write_run(result, file)

    monkeypatch.setattr("thinwire.lab.compare.write_run", full)
    heard = Heard()
    failed = compare([canned("first"), canned("second")], tmp_path, 1, heard)
    assert list(failed) == ["first-seed0"]
    assert "could not be written: [Errno 28] No space left on device" in failed["first-seed0"]
    assert heard.kinds("first")[-1] == "failed"
    assert [file.name for file in (tmp_path / "runs").iterdir()] == ["second-seed0.json"]


@pytest.mark.parametrize("name", ["", "run.json"])
def test_a_place_is_held_by_one_run_at_a_time(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    code = (
        "import sys, pathlib; from thinwire.lab.lock import locked\n"
        f"with locked(pathlib.Path({str(out)!r})): print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InUse, match=f"written to by process {other.pid}: wait for it"), locked(out):
        pass
    with locked(tmp_path / "another.json"):
        pass
    other.kill()
    other.communicate()
    assert len(list(tmp_path.iterdir())) == 1, "killed, it left its file"
    with locked(out), pytest.raises(InUse), locked(out):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_no_link_that_is_followed(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=NAME), locked(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "words",
    [["federate", "--rounds", "1", "--out", "OUT/run.json"], ["compare", "--out", "OUT"], ["train", "--out", "OUT"]],
)
def test_a_second_run_in_a_place_is_refused_in_a_sentence(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.replace("OUT", str(tmp_path)) for word in words]
    with locked(Path(given[-1])):
        assert main(given) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert f"{given[-1]} is being written to by process {os.getpid()}" in printed.err
