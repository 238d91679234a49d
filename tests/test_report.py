"""The report: its rule, its honesty about what is missing, and that its three files say the same."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.lab.report import flags, labels, overview_svg, theme, units, write_report
from thinwire.lab.report.load import load_runs
from thinwire.lab.report.model import Metric, Report
from thinwire.lab.report.summary import summarise

ROUNDS = 4
Json = dict[str, Any]


def one_round(number: int, metric: float, up: int, down: int, lossy: bool) -> Json:
    busy = 1.0 if number else 0.0
    sizes = {"up_bytes": up, "down_bytes": down, "up_payload_bytes": up, "down_payload_bytes": down}
    sizes = {key: value if number else 0 for key, value in sizes.items()}
    errors = {"up_nmse": 0.02 if lossy and number else None, "down_nmse": 0.01 if lossy and number else None}
    times = {"encode_s": 0.02 * lossy, "decode_s": 0.01 * lossy, "train_s": busy, "round_s": busy}
    return {"round": number, "metric": metric, "loss": 0.1, "replies": 2, "failures": 0} | sizes | errors | times


def make(group: str, metric: float, size: int, seed: int = 0, **config: object) -> Json:
    """Return a run of `size` bytes in all, a quarter of them up, that ends at `metric`."""
    lossy = group != "uncompressed"
    up = size // 4 // ROUNDS
    down = size // ROUNDS - up
    rounds = [one_round(at, 0.1 + (metric - 0.1) * at / ROUNDS, up, down, lossy) for at in range(ROUNDS + 1)]
    keys = ("up_bytes", "down_bytes", "up_payload_bytes", "down_payload_bytes", "encode_s", "decode_s")
    totals = {key: sum(item[key] for item in rounds) for key in keys}
    settings = {"task": "digits", "clients": 2, "rounds": ROUNDS, "optimizer": "SGD(lr=0.05)", "seed": seed}
    return {
        "schema": "thinwire.run/1",
        "name": f"{group} in words",
        "slug": f"{group}-seed{seed}",
        "group": group,
        "source": "thinwire 0.1.0",
        "config": settings | {"uplink": f"{group} up", "downlink": f"{group} down"} | config,
        "metric": {"name": "accuracy", "higher_is_better": True},
        "environment": {"python": "3.11", "machine": "x86_64"},
        "model": {
            "parameters": 10,
            "dense_bytes": 40,
            "tensors": {"fc.weight": {"shape": [2, 5], "up_bytes": totals["up_bytes"], "down_bytes": 3}},
        },
        "rounds": rounds,
        "totals": totals | {"total_bytes": totals["up_bytes"] + totals["down_bytes"], "wall_s": 5.0},
        "final": {"metric": metric, "loss": 0.1},
    }


def save(folder: Path, *runs: Json) -> Path:
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    for at, run in enumerate(runs):
        (folder / "runs" / f"{at:02}.json").write_text(json.dumps(run), encoding="utf-8")
    return folder


@pytest.fixture
def report_of(tmp_path: Path) -> Callable[..., Report]:
    return lambda *runs: summarise(load_runs(save(tmp_path, *runs)))


def federation(seeds: int = 3) -> list[Json]:
    """Return five configurations that differ a little from seed to seed."""
    table = [("uncompressed", 0.97, 40_000_000), ("auto", 0.969, 1_300_000), ("quantize+lowrank", 0.968, 3_400_000)]
    table += [("lowrank+quantize", 0.95, 900_000), ("sparsify+quantize", 0.9651, 2_100_000)]
    return [
        make(group, metric + 0.001 * seed, size + 40 * seed, seed)
        for group, metric, size in table
        for seed in range(seeds)
    ]


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


def test_a_gain_is_called_no_loss(report_of: Callable[..., Report]) -> None:
    assert "at no loss of accuracy" in report_of(make("uncompressed", 0.9, 8000), make("a", 0.91, 800)).verdict.rest


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
    assert report_of(*runs).verdict.winner == "fine"


def test_auc_is_in_units_of_its_own(tmp_path: Path) -> None:
    runs = [make("uncompressed", 0.9, 8000), make("a", 0.8979, 800)]
    for run in runs:
        run["metric"]["name"] = "auc"
    written = write_report(save(tmp_path, *runs))
    assert written.report.verdict.rest.endswith("within 0.003 AUC.")
    text = written.markdown.read_text(encoding="utf-8")
    assert "| a | 0.8979 | −0.0021 |" in text
    assert "pp" not in text
    assert "percentage" not in text


HOSTILE = "<img src=x onerror=alert(1)>|*b*\n'\"&"


def test_user_text_is_text_everywhere(tmp_path: Path) -> None:
    run = make(HOSTILE, 0.9, 800, uplink=HOSTILE, note=HOSTILE)
    run |= {"name": HOSTILE, "source": HOSTILE, "environment": {HOSTILE: HOSTILE}}
    run["model"]["tensors"] = {HOSTILE: {"shape": [HOSTILE], "up_bytes": 1, "down_bytes": 1}}
    base = make("uncompressed", 0.9, 8000, note=HOSTILE)
    written = write_report(save(tmp_path, base, run))
    assert written.report.verdict.winner == HOSTILE
    for text in (written.html.read_text("utf-8"), written.markdown.read_text("utf-8"), overview_svg(written.report)):
        assert "<img" not in text
    rows = table_of(written.markdown.read_text("utf-8"))
    assert {len(row) for row in rows} == {16}


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    page = write_report(save(tmp_path, *federation())).html.read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script|<link|@import|url\(|\bsrc=|\bhref=", page)
    assert "prefers-color-scheme: dark" in page


def test_every_picture_is_whole(tmp_path: Path) -> None:
    written = write_report(save(tmp_path, *federation()))
    pictures = re.findall(r'<svg viewBox="0 0 .*?</svg>(?=</div>)', written.html.read_text("utf-8"), re.S)
    assert len(pictures) == 2 * (2 + 4 + 5)
    for picture in [*pictures, overview_svg(written.report)]:
        assert ElementTree.fromstring(picture).tag.endswith("svg")
        assert not re.search(r"\b(nan|inf|None)\b", picture)


def test_the_readme_picture_stands_alone(report_of: Callable[..., Report]) -> None:
    svg = overview_svg(report_of(*federation()))
    assert "var(" not in svg
    assert theme.LIGHT["card"] in svg
    assert "31× fewer bytes" in svg


class Cells(HTMLParser):
    """The body cells of the main table."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = self._cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside |= tag == "table" and ("class", "figures") in attrs
        self._cell = self._inside and tag in ("td", "span")
        if self._inside and tag in ("tr", "td"):
            self.rows.append([]) if tag == "tr" else self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "table"
        self._cell &= tag == "span"

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data.replace("\u00a0", " ").strip()


def table_of(markdown: str) -> list[list[str]]:
    lines = markdown.split("## Figures")[1].split("\n\n")[1].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if "---" not in line]


def test_the_three_files_agree(tmp_path: Path) -> None:
    written = write_report(save(tmp_path, *federation()))
    data = json.loads(written.json.read_text(encoding="utf-8"))
    markdown = table_of(written.markdown.read_text(encoding="utf-8"))[1:]
    cells = Cells()
    cells.feed(written.html.read_text(encoding="utf-8"))
    page = [row for row in cells.rows if row]
    assert data["schema"] == "thinwire.report/1"
    assert len(page) == len(markdown) == len(data["configurations"]) == 5
    for row, line, item in zip(page, markdown, data["configurations"], strict=True):
        assert [re.sub("[ ✓✗]+$", "", cell) for cell in row] == [re.sub(r"\\", "", c) for c in line[:3] + line[4:]]
        assert line[0] == item["group"]
        assert line[1].startswith(f"{100 * item['metric']['mean']:.2f}%")
        assert line[4:7] == [units.size(item[key]) for key in ("total_bytes", "up_bytes", "down_bytes")]
        ratios = ("total_ratio", "up_ratio", "down_ratio", "payload_ratio")
        assert line[7:11] == [units.ratio(item[key]) for key in ratios]
        assert line[13:15] == [units.seconds(item["codec_s"]), units.share(item["codec_share"])]
    assert data["verdict"]["sentence"] in written.markdown.read_text(encoding="utf-8").replace("*", "")
    assert [item["total_ratio"] for item in data["configurations"]] == sorted(
        (item["total_ratio"] for item in data["configurations"]), reverse=True
    )


def test_ratios_come_from_the_bytes_of_the_same_seeds(report_of: Callable[..., Report]) -> None:
    report = report_of(*federation())
    for row in report.configurations:
        assert row.baseline_bytes is not None
        assert row.total_ratio == pytest.approx(row.baseline_bytes / row.total_bytes)


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

    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full)
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


def test_other_initial_weights_are_said(report_of: Callable[..., Report]) -> None:
    other = make("a", 0.9, 800)
    other["rounds"][0]["metric"] = 0.2
    report = report_of(make("uncompressed", 0.9, 8000), other)
    assert any("not the same initial weights" in note for note in report.notes)


@pytest.mark.parametrize("count", [1, 2, 16])
def test_any_number_of_configurations_is_drawn(tmp_path: Path, count: int) -> None:
    runs = [make(f"method number {at}", 0.9 - at / 100, 800 * (at + 1)) for at in range(count)]
    assert write_report(save(tmp_path, make("uncompressed", 0.9, 80_000), *runs)).html.exists()


def test_zero_bytes_zero_errors_and_no_rounds_are_drawn(tmp_path: Path) -> None:
    silent = make("a", 0.9, 0)
    for item in silent["rounds"]:
        item |= {"up_nmse": 0.0, "down_nmse": None, "train_s": 0.0}
    written = write_report(save(tmp_path, make("uncompressed", 0.9, 8000), silent))
    assert written.html.exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1.00 kB"),
        (1310000, "1.31 MB"),
        (41_200_000, "41.2 MB"),
        (999_600, "1.00 MB"),
    ],
)
def test_bytes_are_decimal_with_three_digits(value: float, text: str) -> None:
    assert units.size(value) == text


@given(st.floats(0, 0.5))
def test_within_never_promises_too_much(loss: float) -> None:
    kind = Metric("accuracy", True)
    promised = units.ceiling(kind, loss)
    assert loss <= promised + 1e-9
    assert promised < loss + 0.00101


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(10, 120)), min_size=1, max_size=12))
def test_no_pole_crosses_a_name(flagged: list[tuple[float, float]]) -> None:
    starts, widths = [x for x, _ in flagged], [wide for _, wide in flagged]
    steps = flags.levels(starts, widths)
    for one, other in combinations(range(len(starts)), 2):
        for left, right in ((one, other), (other, one)):
            covers = starts[left] < starts[right] < starts[left] + widths[left]
            assert not covers or steps[left] > steps[right]


@given(st.lists(st.floats(0, 300), min_size=1, max_size=12))
def test_spread_names_keep_their_order_and_distance(wanted: list[float]) -> None:
    placed = labels.spread(wanted, 15, 0, 300)
    order = sorted(range(len(wanted)), key=lambda at: placed[at])
    assert [wanted[at] for at in order] == sorted(wanted)
    assert all(placed[b] - placed[a] >= 15 - 1e-9 for a, b in pairwise(order))


DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
TO_XYZ = np.array([[0.4338, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]])


def linear(colour: str) -> np.ndarray:
    part = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    x, y, z = np.cbrt(np.maximum(TO_XYZ @ np.clip(rgb, 0, 1), 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("scheme", [theme.LIGHT, theme.DARK])
def test_series_stay_apart_for_the_colour_blind_and_from_the_page(scheme: dict[str, str]) -> None:
    names = [name for name in scheme if name == "base" or re.fullmatch(r"c\d", name)]
    for view in (np.eye(3), DEUTERANOPIA, PROTANOPIA):  # Machado, Oliveira and Fernandes 2009, full severity
        seen = [lab(np.array(view) @ linear(scheme[name])) for name in names]
        assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 10
    lights = {name: float(TO_XYZ[1] @ linear(scheme[name])) + 0.05 for name in (*names, "ink", "muted", "card")}
    contrast = {name: max(value, lights["card"]) / min(value, lights["card"]) for name, value in lights.items()}
    assert min(contrast[name] for name in names) >= 3
    assert min(contrast["ink"], contrast["muted"]) >= 4.5
