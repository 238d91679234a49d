"""Recorded updates: real, repeatable, what one client would send, and from the data that is there."""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from thinwire.lab.tasks.base import Training, shuffled_batches
from thinwire.lab.updates import UPDATES, BadData, recipes, record, tables

recording = importlib.import_module("thinwire.lab.updates.record")
"""The module, whose name in the package is that of the function."""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rounds of two steps by two clients: the same code, in a moment."""
    short = {name: replace(recipe, steps=2, clients=2, rounds=2) for name, recipe in UPDATES.items()}
    monkeypatch.setattr(recording, "UPDATES", short)


@pytest.mark.parametrize("name", UPDATES)
def test_the_same_seed_records_the_same_update_and_leaves_the_global_random_state_alone(name: str) -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first, second, other = (record(name, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert (first.losses, len(first.losses), first.round) == (second.losses, 2, 2)
    for key, x in first.tensors.items():
        assert torch.equal(x, second.tensors[key])
        assert torch.equal(first.previous[key], second.previous[key])
        assert x.shape == first.previous[key].shape
        assert x.dtype == torch.float32
        assert x.isfinite().all()
    large = max(first.tensors, key=lambda key: first.tensors[key].numel())
    assert not torch.equal(first.tensors[large], other.tensors[large])
    assert first.elements == sum(x.numel() for x in first.tensors.values())


@pytest.mark.parametrize("name", UPDATES)
def test_optimizers_are_the_ones_that_the_names_say(name: str) -> None:
    kind = type(UPDATES[name].optimizer([torch.nn.Parameter(torch.zeros(1))])).__name__
    assert kind.lower() == (name.split("-")[1] if name != "wide-deep" else "sgd")


def test_plain_descent_sends_the_sum_of_its_gradients() -> None:
    """One round of one client, step by step: the update is minus the learning rate times the gradients."""
    recipe = replace(UPDATES["mlp-sgd"], steps=3, clients=1, rounds=1, partition="iid")
    prepared = recipe.prepare(None)
    update = recording._federated("mlp-sgd", recipe, prepared, seed=4)
    model = recording.initialised(prepared.architecture, 4)
    total = [torch.zeros_like(p) for p in model.parameters()]
    seed = recording.derive_seed(recording._seed(4, 1, 0), "0")
    batches = shuffled_batches(prepared.rows, Training(batch_size=recipe.batch_rows), seed)
    for _, (inputs, target) in zip(range(3), batches, strict=False):
        found = torch.autograd.grad(recipe.loss(model(inputs), target), list(model.parameters()))
        with torch.no_grad():
            for sum_, parameter, gradient in zip(total, model.parameters(), found, strict=True):
                sum_ -= 0.1 * gradient
                parameter -= 0.1 * gradient
    torch.testing.assert_close(list(update.tensors.values()), total, rtol=1e-3, atol=1e-6)
    assert all(not x.any() for x in update.previous.values())


def test_the_server_averages_by_rows() -> None:
    trained = [{"w": torch.full((2,), 1.0)}, {"w": torch.full((2,), 5.0)}]
    assert recording._averaged(trained, [3, 1])["w"].tolist() == [2.0, 2.0]


def test_the_mlp_is_the_wide_one() -> None:
    update = record("mlp-sgd")
    assert [tuple(x.shape) for x in update.tensors.values() if x.dim() > 1] == [(1024, 64), (1024, 1024), (10, 1024)]
    assert update.data == "digits"


def test_embedding_rows_that_no_step_looked_up_stay_zero() -> None:
    table = record("wide-deep").tensors["embedding.weight"]
    rows = table.ne(0).any(dim=1).float().mean()
    assert 0 < rows < 0.5


def test_the_table_that_ships_has_the_census_shape() -> None:
    ids, numeric, target = tables.tumours()
    assert (ids.shape, numeric.shape, target.shape) == ((569, 22), (569, 5), (569,))
    assert 0.3 < float(target.mean()) < 0.7
    assert int(ids.max()) < tables.adult.BUCKETS
    torch.testing.assert_close(numeric.mean(dim=0), torch.zeros(5), atol=1e-5, rtol=0)


def test_what_cannot_be_recorded_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"did you mean mlp-sgd\?"):
        record("mlp-sdg")
    (tmp_path / "adult.data").write_text("1, 2\n")
    (tmp_path / "adult.test").write_text("1, 2\n")
    with pytest.raises(BadData, match=r"adult\.data, line 1"):
        record("wide-deep", tmp_path)


def test_a_folder_without_files_is_no_obstacle(tmp_path: Path) -> None:
    assert [recipe.has_data(tmp_path) for recipe in UPDATES.values()] == [False] * 6
    assert recipes._incomes(tmp_path).data == "breast-cancer"


@pytest.mark.skipif("THINWIRE_DATA" not in os.environ, reason="no THINWIRE_DATA")
@pytest.mark.parametrize(
    ("name", "data", "elements"),
    [
        ("cnn-adamw", "fashion-mnist", 3_309_578),
        ("gpt-sgd", "tiny-shakespeare", 1_817_088),
        ("wide-deep", "adult", 123_777),
    ],
)
def test_real_data(name: str, data: str, elements: int) -> None:
    update = record(name, Path(os.environ["THINWIRE_DATA"]))
    assert (update.data, update.elements) == (data, elements)
