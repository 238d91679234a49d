"""Partitions: every row to one client, as even or uneven as their text says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.lab.tasks import find, partition

SPECS = ["iid", "dirichlet(0.001)", "dirichlet(0.5)", "dirichlet(100)", "by-size(0)", "by-size(1.5)", "by-size(10)"]


@settings(deadline=None)
@given(
    spec=st.sampled_from(SPECS),
    targets=st.lists(st.integers(0, 4), min_size=1, max_size=300),
    clients=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_every_row_goes_to_exactly_one_client_and_none_is_short(
    spec: str, targets: list[int], clients: int, seed: int
) -> None:
    rule = partition(spec)
    if len(targets) < clients:
        with pytest.raises(ValueError, match="each needs a row"):
            rule(targets, clients, seed)
        return
    parts = rule(np.array(targets), clients, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(targets)))
    assert len(parts) == clients
    assert min(map(len, parts)) >= min(8, len(targets) // clients) >= 1
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)
    again = rule(torch.tensor(targets), clients, seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


@settings(deadline=None)
@given(held=st.integers(1, 5), clients=st.integers(1, 12), seed=st.integers(0, 99))
def test_by_label_gives_each_client_at_most_its_number_of_classes(held: int, clients: int, seed: int) -> None:
    targets = np.arange(5 * 40) % 5
    rule = partition(f"by-label({held})")
    if held * clients < 5:
        with pytest.raises(ValueError, match="none is left"):
            rule(targets, clients, seed)
        return
    parts = rule(targets, clients, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(200))
    assert all(1 <= len(set(targets[part].tolist())) <= held for part in parts)


def test_by_label_says_when_a_client_would_stay_empty() -> None:
    with pytest.raises(ValueError, match=r"leaves clients \[.*\] without a row"):
        partition("by-label(1)")([0] * 10 + [1], clients=6, seed=0)


def test_a_smaller_alpha_makes_clients_less_alike_and_seeds_differ() -> None:
    targets = find("digits").load(None).train[1].numpy()

    def purity(alpha: float) -> float:
        parts = partition(f"dirichlet({alpha})")(targets, clients=10, seed=1)
        return float(np.mean([np.bincount(targets[part]).max() / len(part) for part in parts]))

    assert purity(0.05) > purity(0.5) > purity(50)
    rule = partition("dirichlet(0.5)")
    assert not np.array_equal(rule(targets, 10, seed=0)[0], rule(targets, 10, seed=1)[0])


@given(st.floats(0.001, 1e6))
def test_a_partition_reads_its_own_text(alpha: float) -> None:
    rule = partition(f" dirichlet({alpha!r}) ")
    assert rule.value == alpha
    assert partition(str(rule)) == rule


@pytest.mark.parametrize("spec", ["iid", "dirichlet(0.5)", "by-label(2)", "by-size(1.5)"])
def test_a_partition_prints_as_it_was_written(spec: str) -> None:
    assert str(partition(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dirchlet(0.5)", r"known: iid, dirichlet\(alpha\).*did you mean dirichlet\(alpha\)\?"),
        ("", "known: iid"),
        ("dirichlet(0.5", "known: iid"),
        ("dirichlet", r"dirichlet\(alpha\) takes a number from 0.001"),
        ("dirichlet(0)", "takes a number"),
        ("dirichlet(nan)", "takes a number"),
        ("dirichlet(a)", "takes a number"),
        ("iid(3)", "iid takes no number"),
        ("by-label(1.5)", "whole number"),
        ("by-label(inf)", "whole number"),
        ("by-size(-1)", "from 0 to 10"),
    ],
)
def test_a_wrong_partition_is_explained(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        partition(spec)
