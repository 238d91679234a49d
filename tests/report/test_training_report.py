"""The report of data-parallel runs: what is refused, what the verdict says, and that its files agree."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_data import Json, save
from report_data import make as federated
from training_data import ALL, STEPS, comparison, make

from thinwire.lab.report import TrainReport, theme, units, write_report
from thinwire.lab.report.distributed import charts
from thinwire.lab.report.distributed.verdict import is_faster


@pytest.fixture
def report_of(tmp_path: Path) -> Callable[..., TrainReport]:
    def made(*runs: Json) -> TrainReport:
        report = write_report(save(tmp_path, *runs)).report
        assert isinstance(report, TrainReport)
        return report

    return made


def put(path: str, value: object) -> Callable[[Json], None]:
    def change(run: Json) -> None:
        *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
        place: Any = run
        for key in parents:
            place = place[key]
        place.pop(last) if value is ... else place.__setitem__(last, value)

    return change


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("schema", "thinwire.train/9", "schema"),
        ("config/compressor", ..., "config.compressor"),
        ("config/method", "", "config.method"),
        ("config/density", "low", "config.density"),
        ("config/seed", -1, "config.seed"),
        ("steps", [], "steps"),
        ("steps/loss", [], "steps.loss"),
        ("steps/loss/3", None, "steps.loss"),
        ("steps/loss/3", float("inf"), "steps.loss"),
        ("steps/sent_bytes", [1] * (STEPS - 1), "steps.sent_bytes"),
        ("steps/exposed_s/0", -0.1, "steps.exposed_s"),
        ("steps/forward_s/0", True, "steps.forward_s"),
        ("steps/kept", [1], "steps.kept"),
        ("steps/update_s", ..., "steps.update_s"),
        ("epochs", [], "epochs"),
        ("epochs/1/epoch", 1, "epochs"),
        ("final/accuracy", None, "final.accuracy"),
        ("metric/higher_is_better", 1, "metric.higher_is_better"),
        ("link", {"latency_s": -1, "bandwidth_bps": 1}, "link.latency_s"),
        ("worth", {"pays": "yes", "text": "x"}, "worth.pays"),
    ],
)
def test_a_bad_run_is_refused_by_file_and_field(tmp_path: Path, path: str, value: object, field: str) -> None:
    run = make("int8", 0.9)
    put(path, value)(run)
    with pytest.raises(ValueError, match=re.escape(field)) as caught:
        write_report(save(tmp_path, make("none", 0.9), run))
    assert "01.json" in str(caught.value)
    assert "expected" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_two_kinds_of_runs_or_two_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"01\.json.*'schema' is 'thinwire.run/1'; expected 'thinwire.train/1'"):
        write_report(save(tmp_path / "a", make("none", 0.9), federated("auto", 0.9, 800)))
    with pytest.raises(ValueError, match=r"01\.json: config\.dataset is 'mnist'"):
        write_report(save(tmp_path / "b", make("none", 0.9), make("int8", 0.9, dataset="mnist")))
    with pytest.raises(ValueError, match="both 'int8' with seed 0"):
        write_report(save(tmp_path / "c", make("int8", 0.9), make("int8", 0.9)))


def test_what_only_newer_runs_hold_may_be_missing(report_of: Callable[..., TrainReport]) -> None:
    runs = [make("none", 0.9), make("topk", 0.9, 10.0)]
    for run in runs:
        for path in ("link", "worth", "steps/kept", "steps/wanted", "config/simulate"):
            put(path, ...)(run)
    report = report_of(*runs)
    row = report.find("topk")
    assert row is not None
    assert (row.k_accuracy, row.pays, report.link, report.simulated) == (None, None, "", False)


def test_the_verdict_names_what_keeps_the_metric_and_its_bytes(report_of: Callable[..., TrainReport]) -> None:
    report = report_of(*comparison())
    assert report.verdict.sentence == (
        "topk-int8 sends 130× fewer bytes than dense (2.08 MB instead of 270 MB) "
        "and ends within 1 percentage point of its accuracy."
    )
    assert report.verdict.detail.startswith("As near are powersgd (90× fewer bytes), torch-powersgd (80× fewer bytes)")
    assert "Further away: 1bit (−1.50 pp), dgc (−3.00 pp), randomkec (−17.00 pp)" in report.verdict.detail
    assert report.subtitle == "small-cnn on digits, 2 workers, 90 steps, 3 seeds"
    row = report.find("topk-int8")
    assert row is not None
    assert row.k_accuracy == pytest.approx(0.99)
    assert row.metric.sd == pytest.approx(0.001)


@pytest.mark.parametrize(("accuracy", "kept"), [(0.89, True), (0.8899, False), (0.95, True)])
def test_the_tolerance_is_a_point_and_only_a_loss_counts(
    report_of: Callable[..., TrainReport], accuracy: float, kept: bool
) -> None:
    report = report_of(make("none", 0.9), make("int8", accuracy, 4.0))
    assert bool(report.verdict.winner) is kept


@pytest.mark.parametrize(("perplexity", "kept"), [(101.0, True), (101.1, False), (90.0, True)])
def test_the_tolerance_of_a_perplexity_is_a_share(
    report_of: Callable[..., TrainReport], perplexity: float, kept: bool
) -> None:
    runs = [make("none", 0.9), make("int8", 0.9, 4.0)]
    for run, value in zip(runs, (100.0, perplexity), strict=True):
        run["metric"] = {"name": "perplexity", "higher_is_better": False}
        run["final"]["perplexity"] = value
        run["epochs"] = [row | {"perplexity": value if row["epoch"] > 1 else None} for row in run["epochs"]]
    report = report_of(*runs)
    assert bool(report.verdict.winner) is kept
    row = report.find("int8")
    assert row is not None
    assert row.difference is not None
    assert units.difference(report.metric, row.difference.mean) in ("+1.00", "+1.10", "−10.00")
    assert [point.round for point in row.points] == [2, 3]
    words = "ends 10% below its" if perplexity < 99 else "ends within 1% of its"
    assert kept == (f"{words} perplexity on one seed." in report.verdict.sentence)


def test_where_dense_is_fastest_the_advice_is_plain(report_of: Callable[..., TrainReport]) -> None:
    report = report_of(make("none", 0.9, exposed_s=0.001), make("int8", 0.9, 4.0, exposed_s=0.01))
    assert report.time_verdict is not None
    assert report.time_verdict.sentence.startswith("Do not compress on this link: dense was fastest, with 11.")
    assert "and more with every other method" in report.time_verdict.detail


def test_less_waiting_is_said_with_its_factor(report_of: Callable[..., TrainReport]) -> None:
    runs = make("none", 0.9, exposed_s=0.04), make("int8", 0.9, 4.0, exposed_s=0.01), make("topk", 0.9, exposed_s=0.09)
    report = report_of(*runs)
    assert report.time_verdict is not None
    assert re.search(r"On this link int8 had the shortest steps: 20\.\d ms", report.time_verdict.sentence)
    assert re.search(r"less with int8 \(.* ms, 4\.\d+× less\), and more with the others", report.time_verdict.detail)


def test_a_hair_is_not_faster(report_of: Callable[..., TrainReport]) -> None:
    runs = make("none", 0.9, exposed_s=0.004), make("int8", 0.9, 4.0, exposed_s=0.004)
    for run in runs:
        run["steps"] |= {key: [0.001] * STEPS for key in ("forward_s", "backward_s", "exposed_s", "update_s")}
    runs[1]["steps"]["update_s"] = [0.00095] * STEPS
    report = report_of(*runs)
    assert not any(map(is_faster, report.configurations))
    assert report.time_verdict is not None
    assert report.time_verdict.sentence.startswith("Do not compress on this link")


def test_simulated_runs_say_nothing_on_time(tmp_path: Path) -> None:
    written = write_report(save(tmp_path, *comparison(1, simulate=True)))
    assert isinstance(written.report, TrainReport)
    assert written.report.time_verdict is not None
    assert "no link was used" in written.report.time_verdict.sentence
    for text in (written.html.read_text("utf-8"), written.markdown.read_text("utf-8")):
        assert "Time of a step" not in text
        assert "against time" not in text


def test_what_does_not_compare_is_left_out_and_said(report_of: Callable[..., TrainReport]) -> None:
    short = make("int8", 0.9, 4.0)
    short["epochs"] = short["epochs"][:2]
    other = make("topk", 0.9, 50.0, lr=0.5)
    begun = make("fp16", 0.9, 2.0)
    begun["steps"]["loss"][0] = 2.4
    report = report_of(make("none", 0.9), short, other, begun)
    assert report.verdict.winner == "fp16"
    assert f"int8: seed 0 is not compared: it stopped after step {STEPS}" in report.notes
    assert "topk: seed 0 is not compared: unlike dense it has lr 0.5 (there None)" in report.notes
    assert any("not the same initial weights" in note for note in report.notes)


def test_a_run_that_ends_at_its_steps_is_finished(report_of: Callable[..., TrainReport]) -> None:
    runs = [make("none", 0.9, steps=STEPS), make("int8", 0.9, 4.0, steps=STEPS)]
    for run in runs:
        run["epochs"] = run["epochs"][:1]
    assert report_of(*runs).verdict.winner == "int8"


@pytest.mark.parametrize("compressors", [["none"], ["int8", "topk"]])
def test_without_two_sides_there_is_no_winner_but_a_report(tmp_path: Path, compressors: list[str]) -> None:
    report = write_report(save(tmp_path, *(make(name, 0.9) for name in compressors))).report
    assert report.verdict.winner == ""


def test_a_method_has_its_colour_whoever_else_is_there(report_of: Callable[..., TrainReport]) -> None:
    few, many = report_of(make("none", 0.9), make("int8", 0.9, 4.0)), report_of(*comparison(1))
    assert theme.series(few)["int8"] == theme.series(many)["int8"]
    assert len(looks(many)) == len(ALL)


def looks(report: TrainReport) -> set[tuple[str, str]]:
    """Return how the lines of a report look: as many as it has, if all are told apart."""
    hues, dashes = theme.series(report), theme.dashes(report)
    return {(hues[row.group], dashes[row.group]) for row in report.configurations}


def test_others_take_the_colours_that_are_free(report_of: Callable[..., TrainReport]) -> None:
    report = report_of(make("none", 0.9), make("topk", 0.9, 9.0), *(make(f"odd{at}", 0.9, 9.0) for at in range(20)))
    assert len(looks(report)) == 22


def test_two_densities_are_two_methods(report_of: Callable[..., TrainReport]) -> None:
    report = report_of(make("none", 0.9), make("topk", 0.9, 9.0, density=0.05), make("topk", 0.9, 50.0, density=0.01))
    assert [row.group for row in report.configurations] == ["topk 1%", "topk 5%", "dense"]
    assert len(looks(report)) == 3


@pytest.mark.parametrize("odd", [{"sent_bytes": 0}, {"exposed_s": 0.0, "forward_s": 0.0}, {"loss": 0.0}])
def test_every_picture_is_whole(tmp_path: Path, odd: dict[str, float]) -> None:
    runs = comparison(2)
    for run in runs[2:]:
        run["steps"] |= {key: [value] * STEPS for key, value in odd.items()}
    page = write_report(save(tmp_path, *runs)).html.read_text("utf-8")
    pictures = re.findall(r'<svg viewBox="0 0 .*?</svg>(?=</div>)', page, re.S)
    assert len(pictures) == 2 * 5
    for picture in pictures:
        assert ElementTree.fromstring(picture).get("role") == "img"
        assert not re.search(r"\b(nan|inf|None)\b", picture)
    assert not re.search(r"https?://|<script|<link|@import|url\(|\bsrc=|\bhref=", page)


HOSTILE = "<img src=x onerror=alert(1)>|*b*\n'\"&"


def test_user_text_is_text_everywhere(tmp_path: Path) -> None:
    run = make(HOSTILE, 0.9, 8.0, method=HOSTILE, model=HOSTILE, note=HOSTILE)
    run |= {"source": HOSTILE, "environment": {HOSTILE: HOSTILE}, "exchanges": {HOSTILE: HOSTILE}}
    run["worth"]["text"] = HOSTILE
    written = write_report(save(tmp_path, make("none", 0.9, model=HOSTILE, note=HOSTILE), run))
    assert written.report.verdict.winner == HOSTILE
    for text in (written.html.read_text("utf-8"), written.markdown.read_text("utf-8")):
        assert "<img" not in text


def test_the_three_files_agree(tmp_path: Path) -> None:
    written = write_report(save(tmp_path, *comparison()))
    data, markdown = json.loads(written.json.read_text("utf-8")), written.markdown.read_text("utf-8")
    page = written.html.read_text("utf-8").replace("\u00a0", " ")
    assert data["schema"] == "thinwire.report-train/1"
    assert len(data["configurations"]) == len(ALL)
    for item in data["configurations"]:
        cells = [
            f"{100 * item['metric']['mean']:.2f}% ± {100 * item['metric']['sd']:.2f}",
            units.size(item["total_bytes"]),
            units.ratio(item["total_ratio"]),
        ]
        lines = [line for line in markdown.splitlines() if line.startswith(f"| {item['group']} |")]
        row = next(part for part in page.split("<tr") if f"</span>{item['group']}</td>" in part)
        for cell in cells:
            assert any(f"| {cell} |" in line for line in lines)
            assert f">{cell}" in row
    for name in ("verdict", "time_verdict"):
        assert data[name]["sentence"] in markdown.replace("*", "")


@pytest.mark.parametrize("metric", ["accuracy", "perplexity"])
def test_where_dense_has_not_learnt_nothing_is_kept(report_of: Callable[..., TrainReport], metric: str) -> None:
    runs = [make("none", 0.1), make("int8", 0.1, 4.0), make("topk", 0.139, 40.0)]
    for run in runs:
        run["steps"]["loss"] = [2.303 + 0.01 * (at % 3) for at in range(len(run["steps"]["loss"]))]
        run["metric"]["name"] = metric
        run["final"][metric] = run["final"]["accuracy"]
        run["epochs"] = [row | {metric: row["accuracy"]} for row in run["epochs"]]
    report = report_of(*runs)
    assert report.verdict.winner == ""
    assert report.verdict.sentence.startswith("No verdict: dense itself has hardly learnt (training loss 2.31")


def test_a_gain_is_not_called_near_and_seeds_that_lose_are_said(
    report_of: Callable[..., TrainReport], tmp_path: Path
) -> None:
    def verdict(*accuracies: float) -> str:
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        dense = [make("none", 0.9, seed=seed) for seed in range(len(accuracies))]
        ours = [make("int8", accuracy, 4.0, seed) for seed, accuracy in enumerate(accuracies)]
        return report_of(*dense, *ours).verdict.sentence.partition(" and ")[2]

    assert verdict(0.939, 0.94, 0.938) == "ends 3.9 percentage points above its accuracy."
    assert verdict(0.9, 0.901, 0.895) == "ends within 1 percentage point of its accuracy."
    assert verdict(0.93, 0.88, 0.9) == "ends within 1 percentage point of its accuracy on average, not on every seed."
    assert verdict(0.9) == "ends within 1 percentage point of its accuracy on one seed."


def test_a_method_that_saved_nothing_is_warned_of(report_of: Callable[..., TrainReport]) -> None:
    report = report_of(make("none", 0.9), make("int8", 0.9, 1.0), make("topk", 0.9, 40.0))
    assert [note for note in report.notes if "saved nothing" in note] == [
        "int8: int8 saved nothing: 1.00× fewer bytes than dense arrays take"
    ]


def test_fourteen_lines_are_told_apart_without_their_colours(report_of: Callable[..., TrainReport]) -> None:
    report = report_of(*comparison(seeds=1), make("stc", 0.96, 100))
    looks = {(theme.dashes(report)[row.group], theme.markers(report)[row.group], theme.series(report)[row.group])
             for row in report.configurations}  # fmt: skip
    assert len(report.configurations) == len(looks) == 14
    plain = [(theme.dashes(report)[name], theme.markers(report)[name]) for name in report.hue_order]
    assert all(a != b for a, b in itertools.pairwise(plain)), "neighbours differ in more than colour"
    picture = str(charts.loss_by_step(report, (1060, 430)))
    assert all(f">{row.group}</text>" in picture for row in report.configurations)
