"""Shakespeare: who says what, rows that belong together, and a model that sees only what came before."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from task_data import federated, real

from thinwire.lab.run import RunConfig, prepare
from thinwire.lab.tasks import find
from thinwire.lab.tasks.shakespeare import LENGTH, SPEAKERS, CharLSTM, speeches
from thinwire.lab.tasks.weights import initialised


def write_play(folder: Path, speakers: int = SPEAKERS + 2, repeats: int = 60) -> Path:
    path = folder / "tinyshakespeare" / "input.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{chr(65 + speaker)}:\n{chr(97 + speaker) * 20}" for speaker in range(speakers)]
    path.write_text("\n\n".join(lines * repeats))
    return path


def test_speeches_are_gathered_by_who_speaks_without_the_names() -> None:
    text = "A:\nTo be,\nor not.\n\nB C:\nNo: nay\n\nA:\nAye.\n\nall leave\n\n"
    assert speeches(text) == {"A": "To be,\nor not.\n\nAye.\n\n", "B C": "No: nay\n\n"}


def test_rows_are_of_one_speaker_and_targets_are_one_ahead(tmp_path: Path) -> None:
    write_play(tmp_path)
    data = find("shakespeare").load(tmp_path)
    (given, following), groups = data.train, data.groups
    assert given.shape == following.shape == (len(groups), LENGTH)
    assert torch.equal(given[:, 1:], following[:, :-1])
    assert sorted(groups.unique().tolist()) == list(range(SPEAKERS))
    for speaker in range(SPEAKERS):
        letters = given[groups == speaker]
        assert letters[letters > 0].unique().numel() == 1
    assert len(data.test[0]) == pytest.approx(len(given) / 9, rel=0.15)


def test_clients_are_dealt_speakers_and_the_first_rows_are_a_share_of_all(tmp_path: Path) -> None:
    write_play(tmp_path)
    whole, some = (prepare(RunConfig("shakespeare", data=tmp_path, rows=rows)) for rows in (None, 200))
    for prepared in (whole, some):
        owners = [set(prepared.data.groups[part].tolist()) for part in prepared.parts]
        assert [len(own) for own in owners] == [2] * 10
        assert len(set.union(*owners)) == SPEAKERS
    assert len(some.data.groups) == len(some.data.train[0]) == 200


@pytest.mark.parametrize(("speakers", "repeats"), [(SPEAKERS - 1, 60), (SPEAKERS, 20)])
def test_another_text_is_explained(tmp_path: Path, speakers: int, repeats: int) -> None:
    write_play(tmp_path, speakers, repeats)
    with pytest.raises(ValueError, match=r"input\.txt: .*at least 20 speakers with over 640 characters"):
        find("shakespeare").load(tmp_path)


def test_too_many_symbols_are_explained(tmp_path: Path) -> None:
    path = write_play(tmp_path)
    path.write_text(path.read_text() + "".join(map(chr, range(300, 400))))
    with pytest.raises(ValueError, match=r"14\d symbols.*at most 65"):
        find("shakespeare").load(tmp_path)


def test_a_character_is_predicted_from_those_before_it_alone() -> None:
    model = initialised(lambda: CharLSTM(symbols=7, hidden=8), 0)
    ids = torch.arange(12).remainder(7).repeat(2, 1)
    other = ids.clone()
    other[:, 8] = (other[:, 8] + 1) % 7
    one, two = model(ids), model(other)
    assert one.shape == (2, 7, 12)
    torch.testing.assert_close(one[:, :, :8], two[:, :, :8])
    assert not torch.allclose(one[:, :, 8:], two[:, :, 8:])


def test_the_real_play_is_as_published_and_learns() -> None:
    task = find("shakespeare")
    data = task.load(real("tinyshakespeare"))
    assert (len(data.train[0]), len(data.test[0])) == (6007, 658)
    assert sum(parameter.numel() for parameter in task.model(0).parameters()) == 108_225
    training = dataclasses.replace(task.training, rounds=2)
    accuracy, loss = task.evaluate(federated(task, data.first(800), training), data.test)
    assert accuracy > 0.15
    assert loss < task.evaluate(task.model(0), data.test)[1] - 0.8
