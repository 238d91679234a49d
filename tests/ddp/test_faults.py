"""Faults end on all ranks: a damaged message in an error that everybody raises, a killed rank in torch's own."""

from __future__ import annotations

import re

import faults
import pytest
from ranks import Raised, Ranks, answer

DAMAGED = [
    ("topk", "gather", 0, 0, True),
    ("topk", "gather", 0, 0, False),
    ("topk", "gather", 1, 0, False),
    ("int8", "all-to-all", 0, 0, True),
    ("int8", "gather", 0, 1, True),
    ("int8", "gather", 0, 0, False),
]


@pytest.mark.parametrize(("name", "kind", "number", "lane", "use_pipeline"), DAMAGED)
def test_a_damaged_frame_is_an_error_on_all_ranks(
    ranks: Ranks, name: str, kind: str, number: int, lane: int, use_pipeline: bool
) -> None:
    """Also in the last exchange of a bucket, which only one rank cannot read: the step counts nowhere."""
    found = ranks.run(faults.corrupted, name, kind, number, lane, use_pipeline)
    assert not [each for each in found if isinstance(each, Raised)], found
    assert {each[0] for each in found} == {"WireError"}
    assert all("rank 1: what rank 0 sent cannot be read" in text for _, text, *_ in found)
    assert all(same for *_, same, _ in found)
    assert len({after for *_, after in found}) == 1
    assert "Error" not in found[0][3]


@pytest.mark.parametrize("use_pipeline", [True, False])
def test_sums_that_differ_are_an_error_on_all_ranks(ranks: Ranks, use_pipeline: bool) -> None:
    """The second half of a sum gives all ranks the same bits, or one of them was damaged."""
    found = ranks.run(faults.corrupted, "none", "sum", 1, 0, use_pipeline)
    assert {each[0] for each in found} == {"WireError"}
    assert all(text.startswith("the average of ") and " differs between ranks: " in text for _, text, *_ in found)
    assert all(same and "Error" not in after for *_, same, after in found)


@pytest.mark.parametrize(
    ("name", "flipped", "use_pipeline"),
    [("topk", False, True), ("topk", True, False), ("int8", False, False), ("1bit", False, True)],
)
def test_a_rank_that_reads_other_values_in_a_whole_frame_is_named(
    ranks: Ranks, name: str, flipped: bool, use_pipeline: bool
) -> None:
    """All ranks hash what they averaged: replicas never part unseen. A flip is the same values at other places."""
    found = ranks.run(faults.misunderstood, name, flipped, use_pipeline)
    assert not [each for each in found if isinstance(each, Raised)], found
    assert {each[0] for each in found} == {"WireError"}
    assert all(
        re.search("the average of .* differs between ranks: rank 0, 2: 0x.*; rank 1: 0x", each[1]) for each in found
    )
    assert all(same for *_, same, _ in found)
    assert len({after for *_, after in found}) == 1
    assert "Error" not in found[0][3]


@pytest.mark.parametrize("use_pipeline", [True, False])
def test_damaged_terms_end_the_link(ranks: Ranks, use_pipeline: bool) -> None:
    found = ranks.run(faults.corrupted, "int8", "terms", 1, 0, use_pipeline)
    assert [each[0] for each in found] == ["RuntimeError", "WireError", "RuntimeError"]
    assert "what rank 0 said of the next exchange was damaged" in found[1][1]
    assert all(same for *_, same, _ in found)
    assert {after for *_, after in found} == {"RuntimeError"}


KILLS = [
    ("topk", "backward", True), ("int8", "all-to-all", False), ("int8", "all-to-all", True),
    ("topk", "backward", False), ("topk", "terms", True), ("none", "sum", False), ("topk", "gather", True),
    ("topk", "gather", False), ("powersgd", "sum", True),
]  # fmt: skip
"""After the all-to-all is between the two shots; after the terms, in an exchange."""


@pytest.mark.parametrize("plan", [KILLS[:3], pytest.param(KILLS[3:], marks=pytest.mark.slow)], ids=["some", "more"])
def test_when_a_rank_is_killed_the_others_end(plan: list[tuple[str, str, bool]]) -> None:
    """Ranks 0 and 1 survive one after the other of those that die, each in a group of three."""
    made = Ranks(2 + len(plan))
    try:
        pipes = made.start(faults.in_turn, plan)
        found = [answer(pipes[rank], 200) for rank in (0, 1)]
    finally:
        made.close()
    for survivor in found:
        assert not isinstance(survivor, Raised), survivor
        assert [kind for kind, _ in survivor] == ["RuntimeError"] * len(plan), survivor
        # Who survives longer may see the other survivor leave, too.
        assert all(re.search(r"rank (0, |1, )?2 (is|are) gone", text) for _, text in survivor), survivor
