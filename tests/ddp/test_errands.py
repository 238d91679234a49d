"""What users do: freeze, copy, load what is not a state, wrap what is no model; each works or says what to do."""

from __future__ import annotations

import errands
import pytest
from ranks import Raised, Ranks


def whole(found: list) -> list:
    assert not [rank.where for rank in found if isinstance(rank, Raised)]
    return found


@pytest.mark.parametrize("method", ["int8", "topk", "ByteBudget(ratio=8, codec=Step())"])
def test_what_is_frozen_after_the_wrap_rests_until_it_is_not(ranks: Ranks, method: str) -> None:
    found = whole(ranks.run(errands.frozen_late, method, {"use_pipeline": method != "topk"}))
    assert all(moved == [False, False, True, True] for _, moved in found)
    assert all(digests == found[0][0] for digests, _ in found)


def test_a_model_may_be_copied(ranks: Ranks) -> None:
    found = whole(ranks.run(errands.copied))
    assert all(len(texts) == 3 and "call compress_gradients(copy, ...)" in texts[0] for texts, *_ in found)
    assert all(same and sent for _, same, _, sent in found)
    assert len({digest for *_, digest, _ in found}) == 1


def test_what_nobody_needs_is_freed(ranks: Ranks) -> None:
    for gone, threads in whole(ranks.run(errands.dropped)):
        assert gone
        assert threads <= 0


WORDS = {
    "unwrapped": "the model is a Linear, expected a DistributedDataParallel: wrap the model first",
    "fsdp": "FSDP sends parameters and gradients in shards",
    "dp": "DataParallel is one process",
    "inside": "there is one inside it",
    "compiled": "it is compiled",
    "no model": "the model is a str",
    "none": "the model is a NoneType",
    "twice": "has a communication hook already",
    "hook of torch": "has a communication hook already",
    "sparse": "the gradient of words.weight is a sparse tensor",
}


def test_what_is_no_ordinary_model_is_a_value_error(ranks: Ranks) -> None:
    for found in whole(ranks.run(errands.refusals, world=2)):
        assert {name: kind for name, (kind, _) in found.items()} == dict.fromkeys(WORDS, "ValueError")
        assert {name for name, words in WORDS.items() if words not in found[name][1]} == set(), found


@pytest.mark.parametrize("use_pipeline", [True, False])
def test_ranks_may_run_out_of_rows(ranks: Ranks, use_pipeline: bool) -> None:
    """``Join``: a rank that is done sends zeros and what it had kept."""
    (_, plain), *_ = ranks.run(errands.uneven, None, use_pipeline)
    none = whole(ranks.run(errands.uneven, "none", use_pipeline))
    assert none[0][1] == pytest.approx(plain, abs=1e-4)
    for found in (none, *(whole(ranks.run(errands.uneven, method, use_pipeline)) for method in ("topk", "powersgd"))):
        assert len({digest for digest, _ in found}) == 1


def test_what_is_no_state_is_a_value_error(ranks: Ranks) -> None:
    for found in whole(ranks.run(errands.wrong_states, world=2)):
        assert {kind for kind, _ in found.values()} == {"ValueError"}, found
        assert "in the order of its memory" in found["earlier"][1]
        assert "it has nothing and no 'step', 'world', 'rank'" in found["empty"][1]


@pytest.mark.parametrize("use_pipeline", [True, False])
def test_a_rank_that_leaves_something_out_is_named_at_once(ranks: Ranks, use_pipeline: bool) -> None:
    for kind, text, _ in whole(ranks.run(errands.left_out, "update", use_pipeline)):
        assert kind == "PlanMismatch"
        assert "since the last step differs between ranks: rank 0, 2: changed; rank 1: as they were" in text
    for kind, _, said in whole(ranks.run(errands.left_out, "backward", use_pipeline)):
        assert not kind
        assert ["since the last step: rank 1: 2, others: 1." in each for each in said] == [True]
    for kind, _, said in whole(ranks.run(errands.left_out, "nothing", use_pipeline)):
        assert (kind, said) == ("", [])
