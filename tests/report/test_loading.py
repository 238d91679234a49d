"""Loading and writing: what is refused, by file and field, and what a refusal leaves in place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_data import Json, federation, make, save

from thinwire.lab.report import write_report


def test_a_folder_without_runs_is_refused_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no run in .*runs.*\.json.*thinwire compare --out"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def drop(path: str) -> Callable[[Json], None]:
    return lambda run: put(path, None, remove=True)(run)


def put(path: str, value: object, remove: bool = False) -> Callable[[Json], None]:
    def change(run: Json) -> None:
        *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
        place: Any = run
        for key in parents:
            place = place[key]
        place.pop(last) if remove else place.__setitem__(last, value)

    return change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (put("schema", "thinwire.run/9"), "schema"),
        (drop("group"), "group"),
        (put("group", ""), "group"),
        (put("config/seed", "0"), "config.seed"),
        (put("totals/up_bytes", -1), "totals.up_bytes"),
        (put("totals/up_bytes", 1.5), "totals.up_bytes"),
        (put("totals/down_bytes", True), "totals.down_bytes"),
        (put("totals/encode_s", -0.1), "totals.encode_s"),
        (put("rounds", []), "rounds"),
        (put("rounds/2/round", 1), "rounds"),
        (drop("rounds/3/down_bytes"), "rounds[3].down_bytes"),
        (put("rounds/1/up_nmse", "low"), "rounds[1].up_nmse"),
        (put("final/metric", float("nan")), "final.metric"),
        (put("model/tensors/fc.weight/shape", 7), "model.tensors.fc.weight.shape"),
        (put("metric/higher_is_better", "yes"), "metric.higher_is_better"),
    ],
)
def test_a_bad_run_is_refused_by_file_and_field(tmp_path: Path, change: Callable[[Json], None], field: str) -> None:
    run = make("a", 0.9, 800)
    change(run)
    with pytest.raises(ValueError, match=re.escape(field)) as caught:
        write_report(save(tmp_path, make("uncompressed", 0.9, 8000), run))
    assert "01.json" in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "", "[]", "7", '"\ud800"'])
def test_what_is_not_a_run_changes_no_file(tmp_path: Path, text: str) -> None:
    written = write_report(save(tmp_path, *federation(1)))
    before = {path: path.read_bytes() for path in (written.html, written.markdown, written.json)}
    (tmp_path / "runs" / "99.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r"99\.json"):
        write_report(tmp_path)
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md", "runs"]


def test_a_failed_write_leaves_the_old_report_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_report(save(tmp_path, *federation(1)))
    before = written.html.read_bytes()
    save(tmp_path, *federation(2))

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("thinwire.files._put", full)
    with pytest.raises(OSError, match="no space"):
        write_report(tmp_path)
    assert written.html.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md", "runs"]


def test_the_report_can_go_elsewhere_and_is_the_same_each_time(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *federation(1))
    first = write_report(folder, tmp_path / "out" / "deep").html.read_bytes()
    assert not (folder / "report.html").exists()
    assert write_report(folder, tmp_path / "out" / "deep").html.read_bytes() == first


def test_two_tasks_or_one_seed_twice_are_refused(tmp_path: Path) -> None:
    base = make("uncompressed", 0.9, 8000)
    with pytest.raises(ValueError, match=r"01\.json: config\.task is 'other'.*one task in one folder"):
        write_report(save(tmp_path / "a", base, make("a", 0.9, 800, task="other")))
    with pytest.raises(ValueError, match="both 'a' with seed 0"):
        write_report(save(tmp_path / "b", base, make("a", 0.9, 800), make("a", 0.9, 900)))
