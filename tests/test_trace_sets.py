"""Readers of bandwidth traces, on files of a few lines, and on the real ones where a data folder has them."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from thinwire.lab.tasks.folder import ENVIRONMENT_NAME, DataNotFound
from thinwire.lab.traces import SETS, BadTrace, load, parse

LOG = """Timestamp,State,DL_bitrate
2020.02.27_23.59.58,D,1000
2020.02.27_23.59.58,D,3000
2020.02.27_23.59.59,I,999999
2020.02.28_00.00.00,D,8000
2020.02.28_00.05.00,D,500
"""


def archived(root: Path, name: str, members: dict[str, str]) -> Path:
    (root / "traces").mkdir()
    with zipfile.ZipFile(root / "traces" / name, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)
    return root


def test_packets_are_counted_by_tenths_of_a_second() -> None:
    trace = parse("0\n50\n50\n150\n200\n")
    assert trace.times_s.tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert trace.bandwidth_bps.tolist() == pytest.approx([3 * 12_000 / 0.1, 2 * 12_000 / 0.1])


def test_every_packet_is_a_packet() -> None:
    at_ms = np.sort(np.random.default_rng(0).integers(0, 12_345, 5000))
    trace = parse("\n".join(map(str, at_ms)))
    assert trace.carried_bytes(0.0, trace.duration_s) == pytest.approx(5000 * 1500)


def test_columns_are_seconds_and_megabits_each_until_the_next() -> None:
    trace = parse("3.0\t2\n4.0\t0\n6.0\t0.5\n")
    assert trace.times_s.tolist() == [0.0, 1.0, 3.0, 4.5]
    assert trace.bandwidth_bps.tolist() == [2e6, 0.0, 5e5]


def test_a_bitrate_log_counts_downloads_only_and_cuts_what_is_not_known() -> None:
    trace = parse(LOG)
    assert trace.times_s.tolist() == [0.0, 2.0, 12.0, 18.0]
    assert trace.bandwidth_bps.tolist() == [2e6, 8e6, 5e5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected milliseconds"),
        ("5\n3\n", "expected milliseconds"),
        ("0\n", "expected milliseconds"),
        ("a\nb\n", "a millisecond"),
        ("1 2 3\nx y\n", "a millisecond"),
        ("Timestamp,State,DL_bitrate\n2020.02.27_23.59.58,I,5\n", "no samples"),
        ("1 2\n3\n", "two numbers a line"),
        ("1 x\n2 3\n", "a bandwidth"),
        ("2 1\n1 1\n", "begin at 0 and rise"),
        ("1 nan\n2 1\n", "above 0"),
        ("Timestamp,DL_bitrate\n2020,5\n", "Timestamp is '2020'"),
        ("Timestamp,DL_bitrate\n2020.02.27_23.59.58\n", "DL_bitrate is None"),
        ("DL_bitrate\n5\n", "Timestamp is None"),
    ],
)
def test_what_is_of_no_format_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadTrace, match=words):
        parse(text)


def test_a_set_is_read_from_its_zip_file(tmp_path: Path) -> None:
    root = archived(
        tmp_path,
        "mahimahi_cellular.zip",
        {"README": "no trace", "A.up": "0\n100\n", "A.down": "0\n50\n100\n"},
    )
    traces = load("cellular", root)
    assert list(traces) == ["A.down", "A.up"]
    assert traces["A.down"].mean_bps == pytest.approx(1.5 * traces["A.up"].mean_bps)


def test_what_a_zip_file_holds_beside_traces_is_left_alone(tmp_path: Path) -> None:
    members = {"5G/Download/a.csv": LOG, "__MACOSX/5G/Download/._a.csv": "\0", "5G/Netflix/b.csv": "no", "5G/": ""}
    assert list(load("5g", archived(tmp_path, "5G-production-dataset.zip", members))) == ["5G/Download/a.csv"]


def test_the_name_of_a_bad_member_is_said(tmp_path: Path) -> None:
    root = archived(tmp_path, "norway_3g_hsdpa.zip", {"hsdpa_full/bus.log": "no trace", "cooked_3gp/bus": "no"})
    with pytest.raises(BadTrace, match=r"bus\.log"):
        load("commutes", root)


def test_phones_are_drawn_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "flash_speed_distri.json").write_text(json.dumps({"a": {"up_u": 1000, "up_sigma": 100}}))
    first, again = load("phones", tmp_path)["a"], load("phones", tmp_path)["a"]
    assert first.bandwidth_bps.tolist() == again.bandwidth_bps.tolist()
    assert first.mean_bps == pytest.approx(8e6, rel=0.05)


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"a": {}}', '{"a": 3}', '{"a": {"up_u": "x", "up_sigma": 1}}'])
def test_phones_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "flash_speed_distri.json").write_text(text)
    with pytest.raises(BadTrace, match="up_u"):
        load("phones", tmp_path)


def test_missing_files_and_unknown_names_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_NAME, raising=False)
    with pytest.raises(DataNotFound, match=ENVIRONMENT_NAME):
        load("cellular")
    with pytest.raises(DataNotFound, match=r"fcc_broadband\.zip"):
        load("fixed-lines", tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'cellular'"):
        load("celular", tmp_path)
    with zipfile.ZipFile(tmp_path / "fcc_broadband.zip", "w") as archive:
        archive.writestr("LICENSE", "")
    with pytest.raises(BadTrace, match="no trace in it"):
        load("fixed-lines", tmp_path)
    (tmp_path / "fcc_broadband.zip").write_text("no zip file")
    with pytest.raises(BadTrace, match="fcc_broadband"):
        load("fixed-lines", tmp_path)


@pytest.mark.skipif(ENVIRONMENT_NAME not in os.environ, reason="needs the data folder")
@pytest.mark.parametrize(
    ("name", "count"), [("cellular", 12), ("commutes", 68), ("fixed-lines", 59), ("5g", 21), ("phones", 19)]
)
def test_the_real_sets(name: str, count: int) -> None:
    try:
        traces = load(name)
    except DataNotFound:
        pytest.skip(f"the data folder has no {SETS[name].file}")
    assert len(traces) == count
    if name == "cellular":
        assert traces["TMobile-LTE-short.down"].mean_bps / 1e6 == pytest.approx(16.7, abs=0.05)
