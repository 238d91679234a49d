"""Data sets of distributed training: images, text, and batches that depend on seed, epoch and step alone."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from training_files import packed

from thinwire.lab.tasks import DataNotFound
from thinwire.lab.tasks.folder import ENVIRONMENT_NAME
from thinwire.lab.training.data import DATASETS, DEFAULT, Batches, find, in_order, texts
from thinwire.lab.training.data.pictures import Pictures, cropped
from thinwire.lab.training.data.windows import LINE_END, UNKNOWN, Windows, tokens
from thinwire.lab.training.limited import limited

REAL = Path(os.environ.get(ENVIRONMENT_NAME, "no folder"))


def numbered(count: int, side: int = 8, mirrors: bool = True) -> Pictures:
    """Return images whose label is their row number."""
    rng = np.random.default_rng(count)
    images = torch.tensor(rng.integers(0, 256, (count, 2, side, side), dtype=np.uint8))
    return Pictures(images, torch.arange(count), (1.0, 2.0), (3.0, 4.0), mirrors)


sizes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 30), st.integers(0, 2**63))


@given(sizes, st.integers(0, 50))
def test_ranks_share_the_batches_that_one_rank_would_take(shape: tuple[int, int, int, int], epoch: int) -> None:
    world, batch_size, more, seed = shape
    whole = Batches(numbered(world * batch_size + more, side=1), batch_size, seed)
    alone = Batches(whole.rows, batch_size * world, seed)
    ranks = [whole.shard(rank, world) for rank in range(world)]
    assert {len(rank) for rank in ranks} == {len(alone)}
    seen = []
    for step in range(len(alone)):
        labels = torch.cat([rank.at(epoch, step)[1] for rank in ranks])
        assert torch.equal(labels, alone.at(epoch, step)[1])
        seen += labels.tolist()
    assert len(set(seen)) == len(seen) == len(alone) * world * batch_size


def test_a_batch_is_the_same_whatever_was_read_before() -> None:
    used = Batches(numbered(50), 4, seed=3, augment=True, rank=1, world=2)
    for epoch in (2, 0, 1):
        read = [*used.epoch(epoch)]
        for step, (images, labels) in enumerate(read):
            fresh = Batches(numbered(50), 4, seed=3, augment=True, rank=1, world=2).at(epoch, step)
            assert torch.equal(images, fresh[0])
            assert torch.equal(labels, fresh[1])
        assert all(torch.equal(a[0], b[0]) for a, b in zip(read[4:], used.epoch(epoch, 4), strict=True))


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    rows = numbered(100)
    orders = {tuple(Batches(rows, 100, seed).at(epoch, 0)[1].tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_rows_are_changed_alike_on_any_number_of_ranks() -> None:
    rows = numbered(24)
    alone, shared = Batches(rows, 24, 1, augment=True), Batches(rows, 3, 1, augment=True)
    images, labels = alone.at(5, 0)
    row = dict(zip(labels.tolist(), images, strict=True))
    for rank in range(4):
        for image, label in zip(*shared.shard(rank, 4).at(5, 1), strict=True):
            assert torch.equal(image, row[int(label)])
    assert torch.equal(labels, Batches(rows, 24, 1).at(5, 0)[1]), "the order is not that without augmentation"


def by_hand(image: Tensor, start: Tensor, mirrored: bool, padding: int) -> Tensor:
    channels, height, width = image.shape
    padded = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=image.dtype)
    padded[:, padding : padding + height, padding : padding + width] = image
    cut = padded[:, start[0] : start[0] + height, start[1] : start[1] + width]
    return cut.flip(2) if mirrored else cut


@pytest.mark.parametrize("side", [1, 8, 28, 32])
def test_crops_are_those_made_by_hand(side: int) -> None:
    rows = numbered(20, side).augmented(np.random.default_rng(0))
    assert rows.crops is not None
    starts, mirrored = rows.crops.starts, rows.crops.mirrored
    assert mirrored.any()
    assert not mirrored.all()
    made = cropped(rows.images, starts, mirrored)
    for at in range(20):
        assert torch.equal(made[at], by_hand(rows.images[at], starts[at], bool(mirrored[at]), side // 8))
    assert 0 <= starts.min() <= starts.max() == 2 * (side // 8)
    assert torch.equal(rows.images, numbered(20, side).images)


def test_digits_are_never_mirrored() -> None:
    crops = numbered(50, mirrors=False).augmented(np.random.default_rng(0)).crops
    assert crops is not None
    assert not crops.mirrored.any()


@pytest.mark.parametrize(("count", "batch_size", "world"), [(10, 3, 1), (10, 3, 3), (2, 5, 4), (7, 7, 2)])
def test_evaluation_sees_every_row_once(count: int, batch_size: int, world: int) -> None:
    seen = [in_order(numbered(count), batch_size, rank, world) for rank in range(world)]
    labels = [label for batches in seen for _, part in batches for label in part.tolist()]
    assert sorted(labels) == [*range(count)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch size above 0"),
        ({"rank": 2, "world": 2}, "rank 2 of 2"),
        ({"seed": -1}, "seed -1"),
        ({"batch_size": 6, "world": 2}, "10 rows do not fill one step of 2 ranks.*batch of at most 5"),
    ],
)
def test_bad_batches_are_explained(given: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Batches(numbered(10), **({"batch_size": 1} | given))  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="step 10 of an epoch of 10"):
        Batches(numbered(10), 1).at(0, 10)


def test_the_default_data_ship_and_are_standardised() -> None:
    data = find(DEFAULT).load()
    images, labels = data.train.take(torch.arange(len(data.train)))
    assert images.shape[1:] == (data.options["channels"], 8, 8)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert images.mean().item() == pytest.approx(0, abs=1e-4)
    assert images.std().item() == pytest.approx(1, abs=1e-3)
    assert set(labels.tolist()) == set(range(data.outputs))


@pytest.mark.parametrize("unit", ["characters", "words"])
def test_windows_are_the_text_and_what_follows(tmp_path: Path, unit: str) -> None:
    text = "one two\nthree  two one\n" * 20
    (tmp_path / "a.txt").write_text(text, encoding="utf8")
    data = find("a.txt").load(tmp_path, context=5, unit=unit)
    read = tokens(text[: len(text) - len(text) // 10], unit)
    symbols = sorted({*read, UNKNOWN})
    assert data.outputs == len(symbols)
    for row in range(len(data.train)):
        given, following = data.train.take(torch.tensor([row]))
        assert [symbols[i] for i in given[0]] == read[row * 5 : row * 5 + 5]
        assert [symbols[i] for i in following[0]] == read[row * 5 + 1 : row * 5 + 6]
    assert len(data.train) == (len(read) - 1) // 5


def test_every_line_ends_in_a_word_of_its_own() -> None:
    assert tokens("a b\n\nc", "words") == ["a", "b", LINE_END, LINE_END, "c", LINE_END]


def test_what_only_the_test_part_has_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ab" * 45 + "cb" * 5, encoding="utf8")
    data = find(str(tmp_path / "a.txt")).load(context=1)
    ids = data.test.take(torch.arange(len(data.test)))[0].flatten().tolist()
    assert data.outputs == 3
    assert ids == [0, 2] * 4 + [0]  # "<unk>" sorts before letters


@pytest.mark.parametrize("count", [0, 1, 5, 6, 11])
def test_windows_never_reach_beyond_the_text(count: int) -> None:
    windows = Windows(torch.arange(count), 5)
    assert len(windows) == max(0, count - 1) // 5
    windows.take(torch.arange(len(windows)))


def test_corpora_are_read_from_their_files(tmp_path: Path) -> None:
    for folder, name in (("ptb", "ptb.{}.txt"), ("wikitext-2-raw", "wiki.{}.raw")):
        (tmp_path / folder).mkdir()
        for part, text in (("train", "the cat <unk> \n" * 40), ("test", "the dog \n" * 40)):
            (tmp_path / folder / name.format(part)).write_text(text, encoding="utf8")
    for name in ("ptb", "wikitext2"):
        data = find(name).load(tmp_path)
        assert (data.kind, data.outputs, data.options["context"]) == ("text", 4, 35)


def test_wikitext_is_downloaded_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "wikitext-2"
    source.mkdir()
    for part in ("train", "test"):
        (source / f"wiki.{part}.tokens").write_text("a b c \n" * 20, encoding="utf8")
    archive = tmp_path / "wikitext-2-v1.zip"
    packed(source, archive)
    monkeypatch.setattr(texts, "WIKI_MD5", {archive.name: hashlib.md5(archive.read_bytes()).hexdigest()})
    monkeypatch.setattr(texts, "WIKI_URL", f"{tmp_path.as_uri()}/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(ENVIRONMENT_NAME, raising=False)
    assert find("wikitext2").load().outputs == 5
    assert not (tmp_path / "cache" / "outside").exists()


def test_bad_text_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short", encoding="utf8")
    with pytest.raises(ValueError, match=r"dataset a\.txt: 5 characters in one part, expected over 64"):
        find("a.txt").load(tmp_path)
    with pytest.raises(ValueError, match="context is 0"):
        find("a.txt").load(tmp_path, context=0)
    with pytest.raises(ValueError, match=r"unknown unit 'word'. Did you mean 'words'"):
        find("a.txt").load(tmp_path, unit="word")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not a text in UTF-8"):
        find("a.txt").load(tmp_path)
    with pytest.raises(ValueError, match="augmentation is for images"):
        Batches(Windows(torch.arange(9), 2), 1, augment=True).at(0, 0)


def test_names_that_are_not_known_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown dataset 'cifar'. Did you mean 'cifar10'.*ends in \.txt"):
        find("cifar")
    with pytest.raises(DataNotFound, match=r"expected a text file no\.txt or .*/no\.txt; .*--data FOLDER"):
        find("no.txt").load(tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar10-part", "ptb", "wikitext2", "mnist"])
def test_a_folder_that_does_not_exist_is_explained_and_not_created(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataNotFound, match=r"typo.*--data FOLDER or THINWIRE_DATA"):
        find(name).load(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(("name", "train", "mean"), [("cifar10-part", 10_000, 0.02), ("fashion-mnist", 60_000, 0.01)])
def test_real_images_are_standardised(name: str, train: int, mean: float) -> None:
    try:
        data = find(name).load(REAL)
    except DataNotFound as error:
        pytest.skip(str(error))
    images, labels = data.train.take(torch.arange(0, train, 2))
    assert len(data.train) == train
    assert images.mean().item() == pytest.approx(0, abs=mean)
    assert images.std().item() == pytest.approx(1, abs=0.02)
    assert labels.bincount().tolist() == pytest.approx([train / 20] * 10, rel=0.1)


def test_every_data_set_says_what_it_is() -> None:
    assert DEFAULT in DATASETS
    assert all(spec.summary and spec.kind in ("image", "text") for spec in DATASETS.values())


class Numbered:
    """Rows that are their numbers."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def take(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return rows, rows


@pytest.mark.parametrize(
    ("rows", "world", "advice"),
    [
        (100, 4, "take a batch of at most 25"),
        (5, 4, "take a batch of at most 1"),
        (3, 4, "take at most 3 ranks, or more rows"),
        (0, 4, "there is nothing to train on"),
    ],
)
def test_rows_that_fill_no_step_are_refused_with_what_would(rows: int, world: int, advice: str) -> None:
    with pytest.raises(ValueError, match=f"{rows} rows do not fill one step of {world} ranks.*; {advice}$"):
        Batches(Numbered(rows), 64, world=world)  # type: ignore[arg-type]


def test_the_first_rows_are_those_of_both_sets() -> None:
    whole = find("digits").load(None)
    some = limited(whole, 40)
    assert (len(some.train), len(some.test)) == (40, 40)
    assert torch.equal(some.test.take(torch.arange(40))[0], whole.test.take(torch.arange(40))[0])
    assert limited(whole, None) is whole
    assert len(limited(whole, 10**6).test) == len(whole.test)
