"""The charts: whole at any size, labels that do not collide, colours that stay apart."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_data import federation, make, save

from thinwire.lab.report import flags, labels, overview_svg, theme, units, write_report
from thinwire.lab.report.svg import Scale


def test_every_picture_is_whole(tmp_path: Path) -> None:
    written = write_report(save(tmp_path, *federation()))
    pictures = re.findall(r'<svg viewBox="0 0 .*?</svg>(?=</div>)', written.html.read_text("utf-8"), re.S)
    assert len(pictures) == 2 * (2 + 4 + 5)
    for picture in [*pictures, overview_svg(written.report)]:
        assert ElementTree.fromstring(picture).tag.endswith("svg")
        assert not re.search(r"\b(nan|inf|None)\b", picture)


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


@given(st.floats(1e-9, 1e9), st.floats(1.05, 1e9), st.integers(2, 8))
def test_a_logarithmic_axis_has_ticks_enough_to_be_read_and_not_too_many(low: float, ratio: float, count: int) -> None:
    scale = Scale(low, low * ratio, 0, 600, log=True)
    ticks = scale.ticks(count)
    assert 3 <= len(ticks) <= count + 4 or (len(ticks) == 2 and count == 2)
    assert ticks == sorted(set(ticks))
    assert low * 0.998 <= ticks[0] <= ticks[-1] <= low * ratio * 1.002
    texts = [units.plain_tick(tick) for tick in ticks]
    assert len(set(texts)) == len(texts)
    assert all(float(text) == pytest.approx(tick) for text, tick in zip(texts, ticks, strict=True))


@pytest.mark.parametrize("seeds", [1, 3])
def test_tables_fit_a_laptop(tmp_path: Path, seeds: int) -> None:
    """A terminal of 120 signs, and a page of 1220 pixels."""
    runs = federation(seeds) + [make(f"TopK(0.0{at})+ErrorBound(0.1)", 0.96, 10**6 + at) for at in range(1, 9)]
    for run in runs:
        run["rounds"] += [run["rounds"][-1] | {"round": number} for number in range(5, 40)]
        run["config"]["rounds"] = 39
    text = write_report(save(tmp_path, *runs)).markdown.read_text("utf-8")
    tables = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    assert tables
    assert max(map(len, tables)) <= 130
