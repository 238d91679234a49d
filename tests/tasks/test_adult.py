"""Adult: its two files, its published counts, and what training leaves untouched."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from task_data import federated, real

from thinwire.lab.tasks import adult, find

PERSON = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, {}, 0, 40, ?, {}"
)


def write_adult(folder: Path, rows: int = 40) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [PERSON.format(5000 * (row % 2), (">50K", "<=50K")[row % 2]) for row in range(rows)]
    (folder / "adult.data").write_text("\n".join(lines) + "\n\n")
    (folder / "adult.test").write_text("|1x3 Cross validator\n" + "".join(f"{line}.\n" for line in lines) + "\n")


@pytest.mark.parametrize("folder", ["adult", "."])
def test_adult_reads_both_files_alike(tmp_path: Path, folder: str) -> None:
    write_adult(tmp_path / folder)
    data = find("adult").load(tmp_path)
    assert [tuple(column.shape) for column in data.train] == [(40, 22), (40, 5), (40,)]
    assert all(torch.equal(a, b) for a, b in zip(data.train, data.test, strict=True))
    assert data.train[2][:4].tolist() == [1, 0, 1, 0]
    assert data.train[1][:2, 2].tolist() == pytest.approx([-1, 1])
    assert data.train[1][:, 0].abs().max() == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("39, State-gov", "line 41: expected 15 fields.*got 2"),
        (PERSON.format(0, "50K"), "line 41.*the last one '50K'"),
        (PERSON.format("many", ">50K"), "column capital-gain: could not convert"),
        (PERSON.format("-1", ">50K"), "column capital-gain: expected finite numbers from 0 up"),
        (PERSON.format("nan", ">50K"), "column capital-gain: expected finite"),
    ],
)
def test_bad_adult_lines_are_explained(tmp_path: Path, line: str, message: str) -> None:
    write_adult(tmp_path)
    text = (tmp_path / "adult.data").read_text().strip()
    (tmp_path / "adult.data").write_text(f"{text}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        find("adult").load(tmp_path)


def test_an_empty_adult_file_is_explained(tmp_path: Path) -> None:
    write_adult(tmp_path, rows=0)
    with pytest.raises(ValueError, match="no rows"):
        find("adult").load(tmp_path)


def test_real_adult_has_its_published_counts_and_learns() -> None:
    task = find("adult")
    data = task.load(real("adult"))
    assert [(len(rows[2]), int(rows[2].sum())) for rows in (data.train, data.test)] == [(32561, 7841), (16281, 3846)]
    model = task.model(0)
    assert sum(parameter.numel() for parameter in model.parameters()) == 123_777
    task.train(model, data.train, dataclasses.replace(task.training, local_epochs=1), seed=0)
    assert task.evaluate(model, data.test)[0] > 0.90


@pytest.mark.slow
def test_real_adult_federates_close_to_central_training() -> None:
    task = find("adult")
    data = task.load(real("adult"))
    assert task.evaluate(federated(task, data, task.training), data.test)[0] > 0.911


def test_embedding_rows_that_a_client_never_looks_up_have_exactly_zero_update() -> None:
    task = find("adult")
    rows = tuple(column[:500] for column in task.load(real("adult")).train)
    before = task.model(0)
    after = copy.deepcopy(before)
    task.train(after, rows, task.training, seed=0)
    seen = torch.zeros(adult.BUCKETS, dtype=torch.bool)
    seen[rows[0].long().unique()] = True
    assert seen.float().mean() < 0.5
    for name in ("wide.weight", "embedding.weight"):
        update = after.state_dict()[name] - before.state_dict()[name]
        assert (update[~seen] == 0).all()
        assert (update[seen] != 0).any(dim=1).float().mean() > 0.99
