"""`thinwire bench selectors`: what is measured, that it is measured right, and the files that come of it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch

from thinwire.cli import main
from thinwire.lab.bench import files, quality
from thinwire.lab.bench.methods import RIVAL, methods
from thinwire.lab.bench.selectors import Settings, measure
from thinwire.lab.bench.sources import NAMES, WINDOW, sources
from thinwire.lab.bench.steps import Sender
from thinwire.lab.bench.synthetic import DISTRIBUTIONS, SCALE

ROW = {
    "id", "source", "density", "method", "codec", "feedback", "copies", "copies_least", "step_s", "copy_s", "first_s",
    "steps_s", "copies_s", "k_asked", "k_sent", "k_ratio", "threshold_exact", "threshold_sent", "threshold_error",
    "energy", "bits", "bits_values8", "nmse", "nmse_values8",
}  # fmt: skip
KNOWN = methods()
FEW = (RIVAL, "topk", "topk2", "randomk")


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THINWIRE_DATA", raising=False)


# Sources


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_draws_are_of_their_distribution_and_of_their_seed(name: str) -> None:
    x = DISTRIBUTIONS[name](200_000, 3)
    assert torch.equal(x, DISTRIBUTIONS[name](200_000, 3))
    assert not torch.equal(x, DISTRIBUTIONS[name](200_000, 4))
    median, tail = {"laplace": (math.log(2), 4.605), "normal": (0.6745, 2.576), "student-t3": (0.7649, 5.841)}[name]
    magnitudes = x.abs() / SCALE
    assert float(magnitudes.median()) == pytest.approx(median, rel=0.02)
    assert float(magnitudes.kthvalue(198_000).values) == pytest.approx(tail, rel=0.04)
    assert abs(float(x.median())) < 0.02 * SCALE


def test_a_drawn_source_moves_from_step_to_step() -> None:
    (source,) = sources(["normal"], 3, 999, None, 0)
    steps = [source.at(at) for at in range(4)]
    assert all(torch.equal(x.sort().values, steps[0].sort().values) for x in steps)
    assert not any(torch.equal(one, other) for at, one in enumerate(steps) for other in steps[:at])
    assert source.facts == {"kind": "synthetic", "elements": 999, "nonzero": 1.0}


def test_a_recorded_source_is_consecutive_steps_and_then_the_same_again() -> None:
    first, later = sources(["embedding-100", "embedding-1"], 2, 0, None, 0)
    assert [first.name, later.name] == ["embedding-1", "embedding-100"]
    assert torch.equal(first.at(0), first.at(2))
    assert not torch.equal(first.at(0), first.at(1))
    assert (first.facts["step"], later.facts["step"]) == (1, 100)
    assert later.facts["loss"] < first.facts["loss"]
    assert first.facts["nonzero"] < 0.1
    assert WINDOW >= 2


# Methods and steps


def test_the_methods_are_those_of_the_zoo_that_select() -> None:
    assert next(iter(KNOWN)) == RIVAL
    assert {"topk", "topk2", "hggtopk", "gaussian", "randomk", "randomkec", "dgcsampling", "redsync"} <= set(KNOWN)
    assert not {"none", "auto", "topk-int8", "step-huffman", "int8"} & set(KNOWN)
    assert KNOWN["topk"].feedback
    assert not KNOWN["topk2"].feedback


@pytest.mark.parametrize("name", KNOWN)
def test_nothing_is_lost_between_what_is_sent_and_what_is_kept(name: str) -> None:
    method = KNOWN[name].at(0.05)
    (source,) = sources(["laplace"], 4, 5000, None, 0)
    sender = Sender(method, 0.05, torch.zeros(5000))
    for step in range(4):
        x = source.at(step)
        before, target = x.clone(), sender.target(x)
        indices, values = sender.step(x, seed=step)
        assert torch.equal(x, before)
        assert torch.equal(values, target[indices])
        assert indices.unique().numel() == indices.numel() > 0
        sent = torch.zeros(5000).index_put((indices,), values)
        assert torch.equal(sender.residual, target - sent if method.feedback else torch.zeros(5000))


# Quality, against a sort


@pytest.mark.parametrize("k", [1, 7, 400, 1000])
def test_quality_is_measured_against_the_largest(k: int) -> None:
    target = DISTRIBUTIONS["student-t3"](1000, 1)
    largest = target[target.abs().argsort(descending=True, stable=True)]
    found = quality.selection(target, largest[:k], k)
    assert (found["k_ratio"], found["threshold_error"], found["energy"]) == (1, 0, pytest.approx(1, rel=1e-12))
    assert found["threshold_exact"] == float(largest[k - 1].abs())
    if k < 1000:
        off = quality.selection(target, largest[1 : k + 1], k)
        assert off["threshold_error"] == pytest.approx(1 - abs(float(largest[k] / largest[k - 1])), abs=1e-6)
        share = largest[1 : k + 1].double().square().sum() / largest[:k].double().square().sum()
        assert off["energy"] == pytest.approx(float(share))


def test_quality_of_nothing_sent_and_of_zeros() -> None:
    some = torch.tensor([0.0, 0.0, 3.0])
    assert quality.selection(some, some[:0], 2) | {"k_asked": 2} == {
        "k_asked": 2,
        "k_sent": 0,
        "k_ratio": 0.0,
        "threshold_exact": 0.0,
        "threshold_sent": 0.0,
        "threshold_error": None,
        "energy": 0.0,
    }
    assert quality.selection(torch.zeros(3), torch.zeros(1), 1)["energy"] is None
    assert quality.pairs(torch.zeros(3), torch.zeros(1))["nmse"] is None


def test_bits_and_error_are_those_of_a_real_frame() -> None:
    target = DISTRIBUTIONS["laplace"](4000, 1)
    codec = KNOWN["topk"].at(0.25).codec
    found = quality.frames(codec, target, 0, {})
    kept = target.abs().sort(descending=True).values.double().square()
    assert found["nmse"] == pytest.approx(float(kept[1000:].sum() / kept.sum()), rel=1e-6)
    assert found["nmse"] < found["nmse_values8"] < found["nmse"] + 0.01
    assert 0.25 * 32 < found["bits"] < 0.25 * 32 + 2
    assert found["bits"] - found["bits_values8"] == pytest.approx(0.25 * 24, abs=0.1)
    assert quality.pairs(target, target[:1000])["bits"] == 24


# Results


@pytest.fixture(scope="module")
def result() -> dict:
    return measure(Settings(("embedding-1", "laplace"), FEW, (0.01, 0.1), elements=5000, repeats=1))


def test_the_result_is_complete(result: dict) -> None:
    assert result.keys() == {"schema", "settings", "environment", "sources", "rows"}
    assert result["schema"] == "thinwire.selectors/1"
    assert len(result["rows"]) == 2 * 2 * len(FEW) == len({row["id"] for row in result["rows"]})
    for row in result["rows"]:
        assert row.keys() == ROW
        assert row["copies"] == pytest.approx(row["step_s"] / row["copy_s"])
        assert len(row["steps_s"]) == len(row["copies_s"]) == 3
        assert row["first_s"] == row["steps_s"][0]
        assert row["copies_least"] == pytest.approx(row["steps_s"][2] / min(row["copies_s"]))
        assert row["k_sent"] == round(row["k_ratio"] * row["k_asked"])
    assert result == json.loads(json.dumps(result, allow_nan=False)) | {"settings": result["settings"]}
    assert {"python", "torch", "machine", "commit"} <= result["environment"].keys()
    assert [item["name"] for item in result["sources"]] == ["embedding-1", "laplace"]


@pytest.mark.parametrize("source", ["laplace", "embedding-1"])
def test_every_method_has_figures_everywhere(source: str) -> None:
    rows = measure(Settings((source,), densities=(0.001,), elements=3000, repeats=1))["rows"]
    assert [row["method"] for row in rows] == list(KNOWN)
    for row in rows:
        assert row["copies"] > 0
        assert 0 <= row["energy"] < 1000
        assert row["bits"] > 0


def test_exact_methods_are_exact(result: dict) -> None:
    for row in result["rows"]:
        if row["method"] in (RIVAL, "topk", "topk2"):
            assert row["k_ratio"] == 1
            assert row["threshold_error"] == (0 if row["threshold_exact"] else None)
            assert row["energy"] == pytest.approx(1, abs=1e-9)


def test_files_are_read_back_and_the_picture_comes_from_them_alone(result: dict, tmp_path: Path) -> None:
    written = files.write(result, tmp_path / "selectors.json")
    assert [path.name for path in written] == ["selectors.json", "selectors-0.01.svg", "selectors-0.1.svg"]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    again = files.write(files.read(written[0]), tmp_path / "again.json")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]
    picture = written[1].read_text()
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert not re.search(r"\b(nan|inf|None)\b|var\(", picture)
    assert all(picture.count(f">{name}") >= 2 for name in FEW)


def test_a_picture_that_cannot_be_drawn_leaves_the_old_files(result: dict, tmp_path: Path) -> None:
    file = tmp_path / "selectors.json"
    file.write_text("old")
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write(result | {"rows": [*result["rows"], {"copies": math.nan}]}, file)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sources": ("gtp-1",)}, r"'gtp-1'.*did you mean gpt-1\?"),
        ({"methods": ("hggtop",)}, r"'hggtop'.*did you mean hggtopk\?"),
        ({"densities": (0.0,)}, "density is 0.0"),
        ({"densities": ()}, "no density"),
        ({"elements": 0}, "elements is 0"),
        ({"repeats": 0}, "repeats is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": 100_000}, "threads is 100000"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(Settings(), **change)


def test_groups_and_empty_names_are_all_of_them() -> None:
    assert Settings().sources == NAMES
    assert Settings(("synthetic", "laplace")).sources == tuple(DISTRIBUTIONS)
    assert Settings(methods=("topk", RIVAL)).methods == (RIVAL, "topk")
    assert Settings(densities=(0.01, 0.05)).rows == len(NAMES) * len(KNOWN) * 2


# The command


TINY = ["bench", "selectors", "--elements", "20000", "--repeats", "1"]


def test_a_tiny_run_prints_tables_and_writes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    some = ["--sources", "normal,embedding-1", "--methods", "topk,torch.topk,topk2", "--densities", "0.01,0.02"]
    assert main([*TINY, *some, "--out", str(tmp_path / "new")]) == 0
    text = capsys.readouterr().out
    assert torch.get_num_threads() == threads
    assert text.startswith("[3/12] embedding-1 at 0.01\n")
    heads = [line for line in text.splitlines() if ", density " in line]
    assert len(heads) == 4
    assert "scikit-learn-pages, step 1" in heads[0]
    exact = [line.split() for line in text.splitlines() if line.startswith("topk ")]
    assert len(exact) == 4
    assert all(cells[3:6] == ["1.000", "100.00%", "100.00%"] for cells in exact)
    assert text.count("topk2 *") == 4
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"selectors.json", "selectors-0.01.svg", "selectors-0.02.svg"}


def test_on_a_terminal_a_bar_moves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thinwire.cli.selectors_tables.drawing", lambda: True)
    assert main([*TINY, "--sources", "normal", "--methods", "topk,topk2", "--out", str(tmp_path)]) == 0
    assert "2/2" in capsys.readouterr().out


def test_a_result_is_shown_again_without_measuring(
    result: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    json_file, *pictures = files.write(result, tmp_path / "selectors.json")
    before = json_file.read_bytes()
    for picture in pictures:
        picture.unlink()
    monkeypatch.setattr("thinwire.lab.bench.selectors.measure", None)
    assert main(["bench", "selectors", "--show", str(json_file)]) == 0
    assert capsys.readouterr().out.count("torch.topk") == 4
    assert json_file.read_bytes() == before
    assert all(picture.exists() for picture in pictures)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"schema": "thinwire.selectors/1", "rows": 5}',
        '{"schema": "thinwire.selectors/1", "rows": [{}]}',
        "\udc80",
    ],
)
def test_what_is_no_result_is_not_shown(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    assert main(["bench", "selectors", "--show", str(file)]) == 2
    assert "x.json is not" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_damaged_data_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ag_news_csv").mkdir()
    (tmp_path / "ag_news_csv" / "test.csv").write_text('"9","a","b"\n')
    out = tmp_path / "out"
    assert (
        main([*TINY, "--sources", "embedding-1", "--methods", "topk", "--data", str(tmp_path), "--out", str(out)]) == 2
    )
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "class from 1 to 4" in printed
    assert list(out.iterdir()) == []


def test_a_benchmark_without_a_name_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    assert "selectors" in capsys.readouterr().out
