"""Bytes between ranks: exact sizes, sums in one order, and what ranks agree on first."""

from __future__ import annotations

import links
import pytest
import torch
from ranks import Ranks

from thinwire.collective import Plan


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_rank_gets_what_each_had_for_it(ranks: Ranks, world: int) -> None:
    for rank, (gathered, swapped, sent, received) in enumerate(ranks.run(links.exchanged, world=world)):
        assert gathered == [[other] * links.length(other) for other in range(world)]
        assert swapped == [[10 * other + rank] * (other * rank) for other in range(world)]
        others = [other for other in range(world) if other != rank]
        assert sent == links.length(rank) * len(others) + sum(rank * other for other in others)
        assert received == sum(links.length(other) for other in others) + sum(rank * other for other in others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000])
def test_sums_are_in_the_order_of_ranks(ranks: Ranks, dtype: torch.dtype, count: int) -> None:
    """An element's sum does not depend on its place: that of the reversed tensor is the reverse."""
    found = ranks.run(links.summed, dtype, count)
    given = [links.addend(rank, dtype, count) for rank in range(3)]
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    expected = ((given[0].to(wide) + given[1].to(wide)) + given[2].to(wide)).to(dtype)
    for total, reverse, _ in found:
        assert torch.equal(total, expected)
        assert torch.equal(reverse.flip(0), expected)
    assert sum(sent for *_, sent in found) == 4 * count * dtype.itemsize


def test_ranks_that_agree_learn_the_sizes(ranks: Ranks) -> None:
    assert ranks.run(links.agreed, [Plan({"a": "x"})] * 3, ["gather"] * 3) == [[0, 10, 20], [1, 11, 21], [2, 12, 22]]


def test_a_difference_names_its_line_and_the_ranks(ranks: Ranks) -> None:
    one, other = Plan({"a": "x", "b": "y"}), Plan({"a": "x", "b": "z", "c": "w"})
    found = ranks.run(links.agreed, [one, other, one], ["gather"] * 3)
    assert {(each.kind, each.text) for each in found} == {
        ("PlanMismatch", "b differs between ranks: rank 0, 2: y; rank 1: z")
    }
    found = ranks.run(links.agreed, [one, one, Plan({"a": "x"})], ["gather"] * 3)
    assert {each.text for each in found} == {"b differs between ranks: rank 0, 1: y; rank 2: nothing"}
    found = ranks.run(links.agreed, [one] * 3, ["gather", "sum", "sum"])
    assert {each.text for each in found} == {"ranks are at different exchanges: rank 0: gather; rank 1, 2: sum"}


@pytest.mark.parametrize("name", ["NonFiniteError", "WireError"])
def test_what_one_rank_refuses_all_raise(ranks: Ranks, name: str) -> None:
    found = ranks.run(links.refused, {1: (name, "w holds NaN")})
    assert {(each.kind, each.text) for each in found} == {(name, "rank 1: w holds NaN")}


def test_several_refusals_are_all_told(ranks: Ranks) -> None:
    found = ranks.run(links.refused, {0: ("KeyError", "ä"), 2: ("WireError", "")})
    assert {(each.kind, each.text) for each in found} == {("PeerError", "KeyError: rank 0: 'ä'; rank 2: ")}


def test_a_corrupt_shard_is_an_error_on_all_ranks(ranks: Ranks) -> None:
    found = ranks.run(links.corrupted)
    assert {each.kind for each in found} == {"WireError"}
    assert all("rank 0: what rank 1 sent cannot be read" in each.text for each in found)


def test_a_peer_cannot_ask_for_more_memory_than_tensors_take(ranks: Ranks) -> None:
    assert ranks.run(links.outsized, world=1)[0].kind == "WireError"


@pytest.mark.parametrize(
    ("row", "then", "words"),
    [
        ([0, 0, 1 << 40, 1 << 40, 1 << 40], None, "rank 1 has 1099511627776 bytes of text to tell, expected at most"),
        ([0, 0, -1, -1, -1], None, "rank 1 has -1 bytes of text"),
        ([17], None, "rank 1 is at an exchange of a kind that there is not: 17"),
        ([-1], None, "rank 1 is at an exchange of a kind that there is not: -1"),
        ([2, 5, 0, 0, 0], [1 << 40], "rank 1 has 1099511627776 bytes of text to tell"),
    ],
)
def test_what_a_peer_claims_is_bounded(ranks: Ranks, row: list[int], then: list[int] | None, words: str) -> None:
    """On the ranks that do not lie; the liar's own says the same, or that the others left."""
    found = ranks.run(links.lying, row, then)
    assert [each.kind for each in (found[0], found[2])] == ["WireError"] * 2, found
    assert all(words in each.text for each in (found[0], found[2]))
    assert found[1].kind in {"WireError", "RuntimeError"}


def test_a_refusal_is_cut_where_it_leaves(ranks: Ranks) -> None:
    found = ranks.run(links.refused, {1: ("WireError", "w" * 100_000 + "\ud800")})
    assert {each.kind for each in found} == {"WireError"}
    # On the wire at most 64 KiB; what an error shows of it is shorter still.
    assert all(each.text.startswith("rank 1: www") and 1000 < len(each.text) < 2100 for each in found)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_message_that_began_with_the_terms_comes_whole(ranks: Ranks, world: int) -> None:
    assert all(map(all, ranks.run(links.begun, world=world)))


@pytest.mark.parametrize("settling", [True, False])
def test_what_failed_after_the_last_exchange_all_raise(ranks: Ranks, settling: bool) -> None:
    found = ranks.run(links.untold, settling)
    assert {(each.kind, each.text) for each in found} == {("PeerError", "KeyError: rank 1: 'a'")}
