"""Avazu: a click log read in chunks, learned from, and explained when it is damaged."""

from __future__ import annotations

import csv
import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.lab.tasks import avazu, find


def write_avazu(path: Path, rows: int, seed: int = 0) -> None:
    """A click log in Avazu's own format, in which clicks depend on the site and on the hour."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(avazu.HEADER)
        for row in range(rows):
            hour, site = row * 24 // rows, int(rng.integers(20))
            click = rng.random() < (0.6 if site < 6 else 0.1) * (1.2 if hour > 12 else 0.8)
            others = [f"{rng.integers(50):08x}" for _ in avazu.CATEGORIES[3:]]
            fields = [1000 + rng.integers(3), rng.integers(2), f"{site:08x}", *others]
            writer.writerow([10**18 + row, int(click), f"141021{hour:02}", *fields])


@pytest.mark.parametrize("file", ["avazu/train.csv", "avazu/train.gz", "train"])
def test_avazu_reads_each_layout_and_tests_on_the_last_tenth(tmp_path: Path, file: str) -> None:
    write_avazu(tmp_path / file, rows=100)
    data = find("avazu").load(tmp_path)
    assert [tuple(column.shape) for column in data.train] == [(90, 27), (90, 0), (90,)]
    ids, clicks = avazu.read(tmp_path / file)
    assert torch.equal(data.test[0], torch.tensor(ids[90:]))
    assert data.test[2].tolist() == clicks[90:].tolist()


@settings(deadline=None, max_examples=20)
@given(chunk_rows=st.integers(1, 60), row_limit=st.integers(2, 60))
def test_avazu_chunks_do_not_change_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, chunk_rows: int, row_limit: int
) -> None:
    path = tmp_path_factory.mktemp("avazu") / "train.csv"
    write_avazu(path, rows=50)
    ids, clicks = avazu.read(path, row_limit, chunk_rows)
    whole_ids, whole_clicks = avazu.read(path)
    assert len(clicks) == min(row_limit, 50)
    assert np.array_equal(ids, whole_ids[:row_limit])
    assert np.array_equal(clicks, whole_clicks[:row_limit])
    assert max(len(table) for _, table in avazu.chunks(path, row_limit, chunk_rows)) <= chunk_rows


def test_avazu_learns_and_leaves_unseen_rows_alone(tmp_path: Path) -> None:
    write_avazu(tmp_path / "train.csv", rows=4000)
    task = find("avazu")
    data = task.load(tmp_path)
    model = task.model(0)
    before = model.embedding.weight.clone()
    task.train(model, data.train, dataclasses.replace(task.training, batch_size=32, local_epochs=3), seed=0)
    assert task.evaluate(model, data.test)[0] > 0.65
    unseen = torch.ones(avazu.BUCKETS, dtype=torch.bool)
    unseen[data.train[0].long().unique()] = False
    assert torch.equal(model.embedding.weight[unseen], before[unseen])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: lines[1:], "expected the header id,click,hour"),
        (lambda lines: [], "expected the header"),
        (lambda lines: lines[:1], "two rows or more"),
        (lambda lines: [*lines, "1,0,14102100"], "line 12: expected 24 fields.*"),
        (lambda lines: [*lines, lines[1].replace(",0,", ",2,", 1).replace(",1,", ",2,", 1)], "line 12.*second 0 or 1"),
        (lambda lines: [line.replace("141021", "149921") for line in lines], "expected YYMMDDHH, got '149921"),
    ],
)
def test_bad_avazu_files_are_explained(tmp_path: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    write_avazu(tmp_path / "train.csv", rows=10)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    (tmp_path / "train.csv").write_text("".join(f"{line}\n" for line in spoil(lines)))
    with pytest.raises(ValueError, match=message):
        find("avazu").load(tmp_path)


def test_a_cut_off_avazu_file_is_explained(tmp_path: Path) -> None:
    write_avazu(tmp_path / "train.gz", rows=100)
    (tmp_path / "train.gz").write_bytes((tmp_path / "train.gz").read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"train\.gz: damaged file"):
        find("avazu").load(tmp_path)
