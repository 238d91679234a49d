"""The registry of tasks, their models, local training and metrics."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from task_data import federated

from thinwire.lab.tasks import Training, find, tasks
from thinwire.lab.tasks.metrics import accuracy, auc

NAMES = ["digits", "adult", "fashion-mnist", "fashion-mnist-mlp", "mnist", "shakespeare", "avazu"]


# The registry


def test_tasks_are_found_by_name_and_a_wrong_name_gets_the_nearest() -> None:
    assert list(tasks()) == NAMES
    assert all(find(name).name == name and "\n" not in find(name).summary for name in NAMES)
    with pytest.raises(ValueError, match=r"'fashion-mnits'.*known: digits.*did you mean fashion-mnist\?"):
        find("fashion-mnits")


@pytest.mark.parametrize(
    "change",
    [{"optimizer": "sgd"}, {"lr": 0.0}, {"lr": float("nan")}, {"clients": 0}, {"momentum": 1.0}, {"rounds": -1}],
)
def test_training_refuses_numbers_out_of_range(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(Training(), **change)


# Models and local training


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_model_and_leaves_the_global_random_state_alone(name: str) -> None:
    before = torch.get_rng_state()
    first, second, other = (find(name).model(seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
        assert value.isfinite().all()
        assert name in ("adult", "avazu") or not torch.equal(value, other.state_dict()[key])


def test_linear_layers_start_as_pytorch_starts_them() -> None:
    layer = find("digits").model(0)[2]
    assert layer.weight.abs().max() <= 1 / 16
    assert layer.weight.std().item() == pytest.approx(1 / 16 / 3**0.5, rel=0.02)


def test_local_training_is_deterministic_changes_only_its_model_and_lowers_the_loss() -> None:
    task = find("digits")
    data = task.load(None)
    rows = tuple(column[:200] for column in data.train)
    kept = [column.clone() for column in rows]
    first, second = task.model(0), task.model(0)
    before = torch.get_rng_state()
    losses = [task.train(model, rows, task.training, seed=5) for model in (first, second)]
    assert losses[0] == losses[1] < task.evaluate(task.model(0), rows)[1]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(rows, kept, strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    task.train(second, rows, task.training, seed=6)
    assert task.evaluate(second, rows)[1] < losses[0]


def test_digits_split_is_fixed_and_stratified() -> None:
    data = find("digits").load(None)
    (x, y), (x_test, y_test) = data.train, data.test
    assert (x.shape, x_test.shape, x.dtype, y.dtype) == ((1437, 64), (360, 64), torch.float32, torch.int64)
    assert (x.min(), x.max()) == (0, 1)
    assert (torch.bincount(y_test) - torch.bincount(y) / 4).abs().max() <= 1
    assert torch.equal(find("digits").load(None).test[0], x_test)


def test_digits_federates_to_a_high_accuracy() -> None:
    task = find("digits")
    data = task.load(None)
    model = federated(task, data, dataclasses.replace(task.training, rounds=10))
    assert task.evaluate(model, data.test)[0] > 0.93


# Metrics


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=60))
def test_auc_equals_scikit_learn_with_ties(rows: list[tuple[int, bool]]) -> None:
    scores, target = [score / 3 for score, _ in rows], [int(label) for _, label in rows]
    if len(set(target)) == 1:
        with pytest.raises(ValueError, match="0s and 1s"):
            auc(torch.tensor(scores), torch.tensor(target))
    else:
        expected = roc_auc_score(target, scores)
        assert auc(torch.tensor(scores), torch.tensor(target)) == pytest.approx(expected, abs=1e-12)


def test_auc_of_constant_scores_is_a_half_and_of_nan_scores_is_nan() -> None:
    target = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    assert auc(torch.zeros(5), target) == 0.5
    assert np.isnan(auc(torch.tensor([0.0, 1.0, float("nan"), 2.0, 3.0]), target))


def test_auc_is_exact_on_many_rows() -> None:
    rng = np.random.default_rng(0)
    scores, target = rng.normal(size=50_000).astype(np.float32), rng.integers(0, 2, 50_000)
    assert auc(torch.tensor(scores), torch.tensor(target)) == pytest.approx(roc_auc_score(target, scores), abs=1e-12)


def test_accuracy_counts_the_largest_logit() -> None:
    assert accuracy(torch.tensor([[0.0, 1.0], [2.0, 1.0], [3.0, 4.0]]), torch.tensor([1, 0, 0])) == pytest.approx(2 / 3)
