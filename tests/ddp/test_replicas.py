"""Replicas stay bit-identical and nothing is lost: every method that gradients can take, whatever they look like."""

from __future__ import annotations

import re
from typing import Any

import pytest
import replicas
from ranks import Raised, Ranks

REFUSED = {"auto-down"}
"""Methods that are not for gradients."""
ALL = list(replicas.METHODS)
SOME = [
    "none", "lossless", "fp16", "int8", "int4-block", "powersgd", "topk", "hggtopk", "randomkec", "dgc", "stc",
    "1bit", "qsgd", "ef-eden", "chunk-topk", "mixed", "topk-dense", "step",
]  # fmt: skip
"""Methods of every exchange and family: what a fast test has time for."""
NAMES = [pytest.param(SOME, id="some"), pytest.param(ALL, id="all", marks=pytest.mark.slow)]
LONG_S = 600


def by_method(found: list[Any]) -> dict[str, list[Any]]:
    """Return what each rank found, by method, but for those that all ranks refused."""
    assert not [rank.where for rank in found if isinstance(rank, Raised)]
    assert not [each for rank in found for each in rank.items() if isinstance(each[1], str)]
    assert {name for rank in found for name, each in rank.items() if each is None} <= REFUSED
    return {name: [rank[name] for rank in found] for name in found[0] if found[0][name] is not None}


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("names", NAMES)
def test_replicas_are_bit_identical(ranks: Ranks, names: list[str], world: int) -> None:
    found = ranks.run(replicas.trained, names, 3, (True, False)[: world - 1], world=world, wait_s=LONG_S)
    for name, digests in by_method(found).items():
        assert all(each == digests[0] for each in digests), name
        assert len(set(digests[0])) == 3, name


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3, 4])
def test_replicas_are_bit_identical_after_each_of_200_steps(world: int) -> None:
    made = Ranks(world)
    try:
        found = made.run(replicas.trained, ALL, 200, (world % 2 == 0,), wait_s=7200)
    finally:
        made.close()
    for name, digests in by_method(found).items():
        assert len(digests[0]) == 200, (name, digests)
        assert all(each == digests[0] for each in digests), name


@pytest.mark.parametrize("names", NAMES)
def test_what_was_not_sent_is_in_the_residuals(ranks: Ranks, names: list[str]) -> None:
    kept = [name for name in replicas.with_feedback() if name in names]
    for name, worst in by_method(ranks.run(replicas.lost, kept, 5, wait_s=LONG_S)).items():
        assert max(worst) < 2e-5, name


@pytest.mark.parametrize("names", NAMES)
def test_degenerate_gradients(ranks: Ranks, names: list[str]) -> None:
    for name, found in by_method(ranks.run(replicas.degenerate, names, wait_s=LONG_S)).items():
        assert {tuple(wrong) for _, wrong in found} == {()}, (name, found)
        assert len({tuple(hashes) for hashes, _ in found}) == 1, name


@pytest.mark.parametrize("names", NAMES)
def test_what_is_not_finite_on_one_rank_is_an_error_on_all(ranks: Ranks, names: list[str]) -> None:
    for name, found in by_method(ranks.run(replicas.spoilt, names, wait_s=LONG_S)).items():
        assert {(kind, same) for kind, _, same, _ in found} == {("NonFiniteError", True)}, (name, found)
        assert all(re.search(r"^rank 1: middle\.weight.* holds NaN or infinity", text) for _, text, *_ in found), name
        assert len({after for *_, after in found}) == 1, name


@pytest.mark.parametrize("names", NAMES)
def test_parameters_without_gradient_on_some_ranks(ranks: Ranks, names: list[str]) -> None:
    for name, found in by_method(ranks.run(replicas.missing, names, wait_s=LONG_S)).items():
        assert len({tuple(hashes) for hashes, *_ in found}) == 1, name
        assert all(nothing and kept for _, nothing, kept in found), name
