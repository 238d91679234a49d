"""Recorded gradients: real, repeatable, and from the data that is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from thinwire.lab.gradients import RECIPES, BadData, flat, record, text
from thinwire.lab.gradients.recipes import CONTEXT
from thinwire.lab.models import CharGPT, TextBag, image_cnn
from thinwire.lab.tasks.base import Training, shuffled_batches
from thinwire.lab.tasks.shakespeare import characters
from thinwire.lab.tasks.weights import initialised


@pytest.mark.parametrize("model", RECIPES)
def test_the_same_seed_records_the_same_gradients_and_leaves_the_global_random_state_alone(model: str) -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first, second, other = (record(model, {1, 2}, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert list(first.gradients) == [1, 2]
    assert first.losses == second.losses
    for step, gradient in first.gradients.items():
        assert torch.equal(flat(gradient), flat(second.gradients[step]))
        assert not torch.equal(flat(gradient), flat(other.gradients[step]))
        assert all(x.dtype == torch.float32 and x.isfinite().all() for x in gradient.values())


@pytest.mark.parametrize("model", RECIPES)
def test_the_first_gradient_is_that_of_the_first_batch(model: str) -> None:
    recipe = RECIPES[model]
    prepared = recipe.prepare(None)
    fresh = initialised(prepared.architecture, 5)
    *inputs, target = next(shuffled_batches(prepared.rows, Training(batch_size=recipe.batch_rows), 5))
    expected = torch.autograd.grad(recipe.loss(fresh(*inputs), target), list(fresh.parameters()))
    found = record(model, [1], seed=5).gradients[1]
    assert list(found) == [name for name, _ in fresh.named_parameters()]
    torch.testing.assert_close(list(found.values()), list(expected))


def test_a_flat_gradient_is_all_tensors_in_order() -> None:
    gradient = {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor(5.0)}
    assert flat(gradient).tolist() == [1, 2, 3, 4, 5]


def test_training_learns() -> None:
    losses = record("cnn", [90]).losses
    assert len(losses) == 90
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


@pytest.mark.parametrize("step", [1, 5])
def test_the_embedding_gradient_has_few_rows_and_those_are_full(step: int) -> None:
    table = record("embedding", [step]).gradients[step]["embedding.weight"]
    rows = table.ne(0).any(dim=1)
    assert table.shape[0] == text.BUCKETS
    assert 0.001 < rows.float().mean() < 0.1
    assert table[rows].ne(0).float().mean() > 0.99
    assert not rows[0]


@pytest.mark.parametrize(("model", "steps"), [("cnm", [1]), ("cnn", [0, 1]), ("cnn", [])])
def test_what_cannot_be_recorded_is_said(model: str, steps: list[int]) -> None:
    with pytest.raises(ValueError, match=r"did you mean cnn|counted from 1"):
        record(model, steps)


# Data


def test_text_in_a_data_folder_is_used(tmp_path: Path) -> None:
    write(tmp_path / "tinyshakespeare" / "input.txt", "To be, or not to be: " * 50)
    write(tmp_path / "ag_news_csv" / "test.csv", '"1","Peace talks","Two sides, met."\n"4","Chips","Chips shrink"\n')
    assert [RECIPES[model].has_data(tmp_path) for model in RECIPES] == [False, True, True]
    assert [record(model, [1], tmp_path).data for model in RECIPES] == ["digits", "tiny-shakespeare", "ag-news"]


@pytest.mark.parametrize(
    ("model", "file", "content", "said"),
    [
        ("embedding", "ag_news_csv/test.csv", '"5","a","b"\n', "row 1: expected a class from 1 to 4"),
        ("embedding", "ag_news_csv/test.csv", '"1","a","b"\n"2"\n', "row 2"),
        ("embedding", "ag_news_csv/test.csv", "", "no rows"),
        ("gpt", "tinyshakespeare/input.txt", "too short", f"more than {CONTEXT}"),
        ("gpt", "tinyshakespeare/input.txt", "\udc80", "utf-8"),
    ],
)
def test_files_that_are_not_what_they_should_be(model: str, file: str, content: str, said: str, tmp_path: Path) -> None:
    write(tmp_path / file, content)
    with pytest.raises(BadData, match=said):
        record(model, [1], tmp_path)


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode(errors="surrogateescape"))


def test_features_are_words_and_pairs_in_buckets() -> None:
    ids = text.features([["a", "b", "a", "b"], [], ["b", "a"]])
    words_then_pairs = ids[0, :7].tolist()
    assert words_then_pairs[:2] == words_then_pairs[2:4]
    assert words_then_pairs[4] == words_then_pairs[6] != words_then_pairs[5]
    assert words_then_pairs[5] == ids[2, 2]
    assert ids[0, 7:].eq(0).all()
    assert ids[1].eq(0).all()
    assert ids.max() < text.BUCKETS
    assert ids[2, :3].gt(0).all()


def test_the_data_that_ships_is_text_of_some_length() -> None:
    ids, symbols = characters("".join(text.descriptions()))
    assert len(ids) > 10_000
    assert 30 < symbols < 200
    passages = text.described()
    assert passages.classes == 1 + max(passages.labels) > 5
    assert len(passages.texts) > 200


@pytest.mark.skipif("THINWIRE_DATA" not in os.environ, reason="no THINWIRE_DATA")
@pytest.mark.parametrize(
    ("model", "data"), [("cnn", "fashion-mnist"), ("gpt", "tiny-shakespeare"), ("embedding", "ag-news")]
)
def test_real_data(model: str, data: str) -> None:
    recording = record(model, [2], Path(os.environ["THINWIRE_DATA"]))
    assert recording.data == data
    assert flat(recording.gradients[2]).numel() > 1_500_000


# Models


def test_a_character_is_predicted_from_those_before_it_alone() -> None:
    model = initialised(lambda: CharGPT(symbols=11, context=16, width=24, depth=2, heads=3), 0)
    ids = torch.arange(16).remainder(11).repeat(2, 1)
    other = ids.clone()
    other[:, 9] = (other[:, 9] + 1) % 11
    one, two = model(ids), model(other)
    assert one.shape == (2, 16, 11)
    torch.testing.assert_close(one[:, :9], two[:, :9])
    assert not torch.allclose(one[:, 9:], two[:, 9:])


def test_a_bag_does_not_mind_order_or_padding() -> None:
    model = initialised(lambda: TextBag(buckets=20, classes=3, width=4), 0)
    ids = torch.tensor([[3, 7, 0, 0], [7, 3, 0, 0], [0, 0, 0, 0]])
    logits = model(ids)
    torch.testing.assert_close(logits[0], logits[1])
    torch.testing.assert_close(logits[2], model.head.bias)
    torch.testing.assert_close(logits[0], model.head(model.embedding.weight[[3, 7]].mean(0)))


def test_sizes_are_as_documented() -> None:
    with torch.device("meta"):
        sizes = [size(model) for model in (image_cnn(8, 10), image_cnn(28, 10), CharGPT(65), TextBag(1 << 16, 4))]
    assert [round(count, -4) for count in sizes] == [360_000, 3_310_000, 1_820_000, 2_100_000]
    with pytest.raises(ValueError, match="side is 3"):
        image_cnn(3, 10)


def size(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
