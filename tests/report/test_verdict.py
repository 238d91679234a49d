"""The verdict: its rule, and its honesty about what is missing or not comparable."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from report_data import Json, federation, make, save

from thinwire.lab.report import overview_svg, theme, write_report
from thinwire.lab.report.load import load_runs
from thinwire.lab.report.model import Report
from thinwire.lab.report.summary import summarise


@pytest.fixture
def report_of(tmp_path: Path) -> Callable[..., Report]:
    return lambda *runs: summarise(load_runs(save(tmp_path, *runs)))


def test_the_verdict_is_the_fewest_bytes_within_the_rule(report_of: Callable[..., Report]) -> None:
    report = report_of(*federation())
    assert report.verdict.sentence == (
        "auto sends 31× fewer bytes than uncompressed (1.30 MB instead of 40.0 MB) "
        "within 0.1 percentage points of accuracy."
    )
    assert "97.00% ± 0.10 against 97.10% ± 0.10" in report.verdict.detail
    assert report.pairing_verdict is not None
    assert report.pairing_verdict.sentence.startswith("Among the three pairings, sparsify+quantize sends 19× fewer")


def test_equal_bytes_go_to_the_better_metric_and_then_to_the_name(report_of: Callable[..., Report]) -> None:
    base = make("uncompressed", 0.9, 8000)
    assert report_of(base, make("a", 0.897, 800), make("b", 0.899, 800)).verdict.winner == "b"
    assert report_of(base, make("b", 0.899, 800), make("a", 0.899, 800)).verdict.winner == "a"


@pytest.mark.parametrize(("metric", "kept"), [(0.895, True), (0.8949, False), (0.95, True)])
def test_the_tolerance_is_half_a_point_and_only_a_loss_counts(
    report_of: Callable[..., Report], metric: float, kept: bool
) -> None:
    report = report_of(make("uncompressed", 0.9, 8000), make("a", metric, 800))
    assert bool(report.verdict.winner) is kept


def three(group: str, size: int, *metrics: float) -> list[Json]:
    return [make(group, metric, size, seed) for seed, metric in enumerate(metrics)]


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ((0.9, 0.901, 0.902), "at no loss of accuracy."),
        ((0.92, 0.9, 0.89), "at no loss of accuracy on average, not on every seed."),
        ((0.901, 0.9, 0.893), "within 0.2 percentage points of accuracy on average, not on every seed."),
        ((0.94, 0.939, 0.938), "and ends 3.9 percentage points above its accuracy."),
        ((0.9,), "and ends within 0.5 percentage points of its accuracy on one seed."),
        ((0.896,), "and ends within 0.5 percentage points of its accuracy on one seed."),
        ((0.939,), "and ends 3.9 percentage points above its accuracy on one seed."),
    ],
)
def test_a_verdict_says_no_more_than_its_seeds(
    report_of: Callable[..., Report], metrics: tuple[float, ...], words: str
) -> None:
    base = three("uncompressed", 8000, *[0.9] * len(metrics))
    report = report_of(*base, *three("a", 800, *metrics))
    assert report.verdict.rest.endswith(f" (800 B instead of 8.00 kB) {words}")


@pytest.mark.parametrize(
    ("start", "end", "judged"), [(0.1, 0.1, False), (0.1, 0.12, False), (0.5, 0.4, False), (0.1, 0.13, True)]
)
def test_where_uncompressed_has_not_learnt_nothing_is_kept(
    report_of: Callable[..., Report], start: float, end: float, judged: bool
) -> None:
    runs = [make("uncompressed", end, 8000), make("a", end, 800), make("b", end, 900)]
    for run in runs:
        run["rounds"][0]["metric"] = start
    report = report_of(*runs)
    assert bool(report.verdict.winner) is judged
    assert report.verdict.sentence.startswith("a sends" if judged else "No verdict: uncompressed itself has hardly")
    assert judged or report.pairing_verdict is None


def test_a_run_that_compressed_nothing_is_warned_of(report_of: Callable[..., Report]) -> None:
    idle = make("a", 0.9, 8000)
    for item in idle["rounds"]:
        item["up_nmse"] = item["down_nmse"] = None
    half = make("b", 0.9, 7000, downlink="none")
    for item in half["rounds"]:
        item["down_nmse"] = None
    report = report_of(make("uncompressed", 0.9, 8000), idle, half, make("c", 0.9, 900))
    warned = [note for note in report.notes if "nothing was compressed" in note]
    assert warned == [
        "a: nothing was compressed on the way up, though a up was asked for",
        "a: nothing was compressed on the way down, though a down was asked for",
    ]


def test_when_none_qualifies_the_closest_is_named(report_of: Callable[..., Report]) -> None:
    runs = make("uncompressed", 0.9, 8000), make("a", 0.8, 800), make("b", 0.85, 1600)
    verdict = report_of(*runs).verdict
    assert verdict.winner == ""
    assert verdict.sentence == "No configuration stays within 0.5 percentage points of the accuracy of uncompressed."
    assert verdict.detail.startswith("The closest is b: 5.00× fewer bytes")


def test_compression_that_does_not_pay_is_not_praised(report_of: Callable[..., Report]) -> None:
    report = report_of(make("uncompressed", 0.9, 8000), make("a", 0.9, 8800))
    assert report.verdict.winner == ""
    assert "does not pay" in report.verdict.sentence


def test_one_seed_has_no_spread_and_says_so(report_of: Callable[..., Report]) -> None:
    report = report_of(*federation(seeds=1))
    assert all(row.metric.sd is None for row in report.configurations)
    assert "±" not in report.verdict.detail
    assert any("one seed only" in note for note in report.notes)


def test_fewer_seeds_are_said_and_compared_on_the_same_seeds(report_of: Callable[..., Report]) -> None:
    base = [make("uncompressed", metric, 8000, seed) for seed, metric in enumerate((0.90, 0.80))]
    report = report_of(*base, make("a", 0.799, 800, seed=1))
    row = report.find("a")
    assert row is not None
    assert row.difference is not None
    assert row.difference.mean == pytest.approx(-0.001)
    assert "a: 1 of 2 seeds, missing: 0; compared on the seeds that it has" in report.notes
    assert "1 of 2 seeds" in report.verdict.detail


def test_a_run_that_stopped_early_cannot_win_by_its_few_bytes(report_of: Callable[..., Report]) -> None:
    short = make("a", 0.9, 800)
    short["rounds"] = short["rounds"][:3]
    report = report_of(make("uncompressed", 0.9, 8000), short, make("b", 0.9, 1600))
    assert report.verdict.winner == "b"
    assert "a: seed 0 is not compared: it stopped after round 2 of 4" in report.notes


def test_a_run_with_other_settings_is_not_compared(report_of: Callable[..., Report]) -> None:
    other = make("a", 0.9, 800, optimizer="Adam")
    report = report_of(make("uncompressed", 0.9, 8000), other)
    assert report.verdict.winner == ""
    assert "optimizer Adam (there SGD(lr=0.05))" in report.notes[0]
    assert "optimizer" in report.settings.differing_names


def test_failed_replies_are_said(report_of: Callable[..., Report]) -> None:
    failing = make("a", 0.9, 800)
    failing["rounds"][2]["failures"] = 3
    report = report_of(make("uncompressed", 0.9, 8000), failing)
    assert "3 replies failed" in report.verdict.detail
    assert report.configurations[0].failures == 3


@pytest.mark.parametrize("groups", [("uncompressed",), ("a", "b")])
def test_without_two_sides_there_is_no_winner_but_a_report(tmp_path: Path, groups: tuple[str, ...]) -> None:
    written = write_report(save(tmp_path, *(make(group, 0.9, 800) for group in groups)))
    assert written.report.verdict.winner == ""
    assert ElementTree.fromstring(overview_svg(written.report)).tag.endswith("svg")


def test_lower_can_be_better(report_of: Callable[..., Report]) -> None:
    runs = [make("uncompressed", 0.3, 8000), make("worse", 0.31, 400), make("fine", 0.302, 800)]
    for run in runs:
        run["metric"] = {"name": "loss", "higher_is_better": False}
        run["rounds"][0]["metric"] = 2.3
    assert report_of(*runs).verdict.winner == "fine"


def test_ratios_come_from_the_bytes_of_the_same_seeds(report_of: Callable[..., Report]) -> None:
    report = report_of(*federation())
    for row in report.configurations:
        assert row.baseline_bytes is not None
        assert row.total_ratio == pytest.approx(row.baseline_bytes / row.total_bytes)


def test_other_initial_weights_are_said(report_of: Callable[..., Report]) -> None:
    other = make("a", 0.9, 800)
    other["rounds"][0]["metric"] = 0.2
    report = report_of(make("uncompressed", 0.9, 8000), other)
    assert any("not the same initial weights" in note for note in report.notes)


def test_the_readme_picture_stands_alone(report_of: Callable[..., Report]) -> None:
    svg = overview_svg(report_of(*federation()))
    assert "var(" not in svg
    assert theme.LIGHT["card"] in svg
    assert "31× fewer bytes" in svg
