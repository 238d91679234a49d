"""The hook on real ranks: replicas stay alike, nothing is lost, and errors reach everybody."""

from __future__ import annotations

import cases
import pytest
import torch
from ranks import Ranks, answer

from thinwire import Uniform


@pytest.mark.parametrize("name", ["mixed", "topk"])
def test_a_pipeline_changes_no_bit(ranks: Ranks, name: str) -> None:
    assert ranks.run(cases.digests, name, 4, True) == ranks.run(cases.digests, name, 4, False)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_no_method_is_plain_ddp(ranks: Ranks, world: int) -> None:
    assert max(ranks.run(cases.against_plain, world == 2, world=world)) < 1e-6


@pytest.mark.parametrize("name", ["topk", "powersgd", "int4-block", "mixed", "1bit"])
def test_what_was_not_sent_is_kept_across_the_rebuild_of_buckets(ranks: Ranks, name: str) -> None:
    """The ledger of error feedback: over all steps, what came is what was there but for the residuals."""
    found = ranks.run(cases.ledger, *cases.METHODS[name])
    assert all(rebuilt != 0 for *_, rebuilt in found)
    for parameter, given in found[0][1].items():
        own = sum(sums[parameter] for sums, *_ in found) / 3
        left = sum(state.get(f"residual/{parameter}", torch.zeros(1)).double() for *_, state, _ in found) / 3
        torch.testing.assert_close(given + left, own, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({"method": "topk"}, {"method": "topk", "density": 0.02}, "weight differs between ranks: rank 0: TopK(0.01)"),
        ({"method": "topk"}, {"method": "powersgd"}, "LowRank"),
        ({"method": "topk"}, {"method": "topk", "seed": 5}, "the seed differs between ranks: rank 0: 0; rank 1, 2: 5"),
    ],
)
def test_plans_that_differ_are_named_on_all_ranks(ranks: Ranks, one: dict, other: dict, words: str) -> None:
    found = ranks.run(cases.own_settings, [one, other, other])
    assert {each.kind for each in found} == {"PlanMismatch"}
    assert len({each.text for each in found}) == 1
    assert words.replace("TopK(0.01)", "") in found[0].text.replace("TopK(density=0.01)", "")


def test_empty_selections_are_legal(ranks: Ranks) -> None:
    found = ranks.run(cases.empty_selections)
    assert len({digest for digest, _ in found}) == 1
    assert found[0][1] < found[1][1]


def test_parameters_without_gradient_lose_nothing(ranks: Ranks) -> None:
    found = ranks.run(cases.unused_parameters)
    assert len({digest for digest, *_ in found}) == 1
    assert all(facts == [True, True, True] and not frozen for _, facts, frozen in found)


@pytest.mark.parametrize("use_pipeline", [True, False])
def test_a_bug_on_one_rank_reaches_the_user_on_all(ranks: Ranks, use_pipeline: bool) -> None:
    found = ranks.run(cases.a_bug_on_rank_1, use_pipeline)
    assert {each.kind for each in found} == {"PeerError"}
    assert all("rank 1: a bug in a codec" in each.text for each in found)


@pytest.mark.slow
def test_a_silent_rank_is_waited_for_once() -> None:
    """Not once a bucket: a lane that waited in vain gives up."""
    three = Ranks(3, timeout_s=6)
    try:
        pipes = three.start(cases.silent, 2, 40.0)
        assert all(5 < answer(pipes[rank]) < 15 for rank in (0, 1))
    finally:
        three.close()


@pytest.mark.parametrize("settings", [{}, {"gradient_as_bucket_view": True}, {"static_graph": True}])
def test_settings_of_ddp(ranks: Ranks, settings: dict) -> None:
    assert max(ranks.run(cases.against_plain_with, settings, True)) < 1e-6


def test_no_sync_accumulates(ranks: Ranks) -> None:
    for difference, steps in ranks.run(cases.accumulated):
        assert difference < 1e-6
        assert steps == 1


@pytest.mark.parametrize("method", ["none", "int8", "Compressor(Fixed(TopK(0.05), small=TopK(0.5), below=1))"])
def test_dtypes_may_be_mixed(ranks: Ranks, method: str) -> None:
    found = ranks.run(cases.two_dtypes, method)
    assert len({digest for digest, _ in found}) == 1
    assert {dtype for _, kept in found for dtype in kept.values()} <= {"torch.float32"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "Compressor(Fixed(TopK(0.1)), clip=Clip(norm=1.0))"}, "before their norm is known"),
        ({"method": Uniform(bits=8), "density": 0.1}, "density goes with the name of a method"),
        ({"method": "int8", "density": 0.1}, "has no density"),
        ({"method": "topk", "lanes": 0}, "lanes is 0"),
        ({"method": "no-such"}, "no-such"),
    ],
)
def test_what_cannot_be_is_refused(ranks: Ranks, settings: dict, words: str) -> None:
    found = ranks.run(cases.own_settings, [settings], world=1)[0]
    assert found.kind == "ValueError"
    assert words in found.text


@pytest.mark.parametrize("use_pipeline", [True, False])
def test_a_step_is_reported(ranks: Ranks, use_pipeline: bool) -> None:
    for steps, text in ranks.run(cases.reports, use_pipeline):
        assert [step.step for step in steps] == [1, 2, 3]
        assert {step.dense_bytes for step in steps} == {4 * 9128}
        assert all(step.exposed_s >= 0 and step.encode_s >= 0 for step in steps)
        assert {choice.name for choice in steps[-1].exchanges.values()} == {"gather", "sum"}
        assert text.startswith("3 steps on each of 3 ranks\n  sent ")


@pytest.mark.parametrize("name", ["none", "topk", "int8", "powersgd", "mixed"])
def test_the_bytes_reported_are_those_sent(ranks: Ranks, name: str) -> None:
    found = ranks.run(cases.counted, name)
    assert all(sent == said_sent > 0 for sent, said_sent, _ in found)
    assert sum(received for *_, received in found) == sum(sent for sent, *_ in found)
