"""What compression is worth: laws of the formula, and the same measured numbers on all ranks. No timing is judged."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import probes
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ranks import Ranks

from thinwire.ddp import LinkSpeed, StepReport
from thinwire.ddp.worth import Overlap, Way, compressed, dense, judged, worth

bandwidths = st.floats(1e3, 1e12)
seconds = st.floats(1e-6, 10)
numbers = st.floats(1, 1e9)
shares = st.floats(0.01, 1)
pipelines = st.booleans()


def step(**given: Any) -> StepReport:
    usual = {
        "step": 1,
        "world": 2,
        "sent_bytes": 100_000,
        "received_bytes": 100_000,
        "dense_bytes": 4_000_000,
        "encode_s": 0.02,
        "exposed_s": 0.02,
        "lane_s": 0.02,
        "lane_rounds": 6,
        "buckets": 3,
        "last_share": 0.25,
        "backward_s": 0.01,
    }
    return StepReport(**usual | given)


def ways(draw: st.DrawFn) -> tuple[Way, Way, Overlap]:
    """Our way, that of a dense all-reduce, and what they can hide behind."""
    overlap = Overlap(draw(seconds), draw(shares))
    other = Way(draw(numbers), draw(seconds))
    # Ours takes longer beside the link: else it may pay above a bandwidth, however much it sends.
    ours = Way(draw(numbers), other.fixed_s + draw(seconds))
    return ours, other, overlap


some_ways = st.composite(ways)()


@given(some_ways, bandwidths, bandwidths, pipelines)
def test_slower_links_make_all_wait_longer(three: tuple[Way, Way, Overlap], one, other, pipelined) -> None:
    slow, fast = (judged(*three, LinkSpeed(0, bps), pipelined) for bps in sorted((one, other)))
    assert slow.dense_s >= fast.dense_s
    assert slow.compressed_s >= fast.compressed_s
    assert slow.break_even_bps == fast.break_even_bps


@given(some_ways, bandwidths, pipelines)
def test_it_pays_below_the_break_even_bandwidth_and_not_above(three, bps, pipelined) -> None:
    limit_bps = judged(*three, LinkSpeed(0, bps), pipelined).break_even_bps
    if math.isinf(limit_bps):
        assert judged(*three, LinkSpeed(0, bps), pipelined).pays
    elif limit_bps == 0:
        assert not judged(*three, LinkSpeed(0, bps), pipelined).pays
        assert not judged(*three, LinkSpeed(0, 1e-6), pipelined).pays
    else:
        assume(1e-3 < limit_bps < 1e15)
        assert judged(*three, LinkSpeed(0, limit_bps * 0.99), pipelined).pays
        assert not judged(*three, LinkSpeed(0, limit_bps * 1.01), pipelined).pays


@given(some_ways, bandwidths)
def test_what_is_exposed_is_between_the_last_share_and_all(three: tuple[Way, Way, Overlap], bps: float) -> None:
    way, _, overlap = three
    total_s = way.total_s(bps)
    assert overlap.last_share * total_s <= overlap.exposed_s(total_s) <= total_s
    assert replace(overlap, backward_s=0.0).exposed_s(total_s) == total_s


@given(some_ways, bandwidths)
def test_a_pipeline_never_makes_it_look_worse(three: tuple[Way, Way, Overlap], bps: float) -> None:
    without, within = (judged(*three, LinkSpeed(0, bps), pipelined) for pipelined in (False, True))
    assert within.compressed_s <= without.compressed_s
    assert within.dense_s == without.dense_s


def test_the_formula_by_hand() -> None:
    link, used = LinkSpeed(0.001, 8e6), [step(lane_s=s) for s in (9.0, 9.0, 0.01, 0.02, 0.06)]
    # 4 MB of two ranks: each sends 4 MB at 1 MB/s, three rings of two rounds; 10 ms of backward.
    assert worth(used, link, pipelined=False).dense_s == pytest.approx(4 + 3 * 2 * 0.001 - 0.01)
    assert worth(used, link, pipelined=False).compressed_s == pytest.approx(0.1 + 0.02 + 6 * 0.001)
    assert worth(used, link, pipelined=True).compressed_s == pytest.approx(0.1 + 0.02 + 6 * 0.001 - 0.01)
    assert worth(used[:1], link, pipelined=False).compressed_s == pytest.approx(0.1 + 9 + 6 * 0.001)


@pytest.mark.parametrize("pipelined", [True, False])
def test_what_steps_waited_beyond_the_formula_they_wait_on_any_link(pipelined: bool) -> None:
    own, faster = LinkSpeed(0.001, 8e6), LinkSpeed(0.0001, 8e9)
    without, within = (worth([step(exposed_s=0.5)], faster, pipelined, measured) for measured in (None, own))
    # 116 or 126 ms by the formula where the steps went, half a second measured.
    extra_s = 0.5 - worth([step()], own, pipelined).compressed_s
    assert extra_s == pytest.approx(0.384 if pipelined else 0.374)
    assert within.compressed_s == pytest.approx(without.compressed_s + extra_s)
    assert within.break_even_bps < without.break_even_bps
    assert worth([step(exposed_s=0.5)], own, pipelined, own).compressed_s == pytest.approx(0.5)
    assert worth([step(exposed_s=0.01)], own, pipelined, own) == worth([step(exposed_s=0.01)], own, pipelined)


def test_summing_is_not_what_a_faster_link_takes_off() -> None:
    measured = LinkSpeed(0.0, 1e9, all_reduce_latency_s=0.002, all_reduce_bps=5e8)
    way = dense([step()], measured)
    assert way.total_s(1e9) == pytest.approx(3 * 0.002 + 8 * 4e6 / 5e8)
    assert way.total_s(1e15) == pytest.approx(3 * 0.002 + 8 * 4e6 / 1e9, rel=1e-3)
    assert compressed([step()], measured).fixed_s == 0.02
    other = LinkSpeed(0.0, 5e8, all_reduce_latency_s=0.002, all_reduce_bps=1e9)
    assert dense([step()], other).fixed_s == pytest.approx(3 * 0.002)
    assert compressed([step()], other).total_s(1e9) == pytest.approx(0.02 + 8 * 1e5 / 5e8)


def test_the_verdict_is_one_sentence_with_its_numbers() -> None:
    slow, fast = (worth([step()], LinkSpeed(0.001, bps), pipelined=False) for bps in (2e7, 1e11))
    assert slow.text.startswith(
        "compress on this link (20 Mbit/s, latency 1 ms): a step waits 66 ms compressed and 1,5"
    )
    assert fast.text.startswith(
        "do not compress on this link (100 Gbit/s, latency 1 ms): a step waits 26 ms compressed"
    )
    # (4 MB - 0.1 MB) in 20 ms of codecs, 6 ms of latencies for 6, and the 10 ms that dense is hidden for.
    assert slow.text.partition(";")[2] == fast.text.partition(";")[2] == " compression pays below 1.04 Gbit/s"
    free = worth([step(lane_s=0.0, lane_rounds=0)], LinkSpeed(0.001, 1e9), pipelined=True)
    assert free.text.endswith("compression pays on any")
    more = worth([step(sent_bytes=5_000_000)], LinkSpeed(0.001, 1e3), pipelined=False)
    assert not more.pays
    assert more.text.endswith("dense; it sends no fewer bytes")


def test_a_link_that_cannot_be_is_refused() -> None:
    for wrong in ((-1, 1e9), (math.nan, 1e9), (0, 0), (0, math.nan), (0, 1e9, -1), (0, 1e9, 0, 0)):
        with pytest.raises(ValueError, match=r"is 0 or more|more than 0"):
            LinkSpeed(*wrong)


@pytest.mark.parametrize("world", [2, 3])
def test_all_ranks_measure_the_same(ranks: Ranks, world: int) -> None:
    found = ranks.run(probes.measured, world=world)
    assert len({link for link, _ in found}) == 1
    assert found[0][0].latency_s > 0
    assert all(untouched for _, untouched in found)


def test_one_rank_has_nothing_to_send(ranks: Ranks) -> None:
    assert ranks.run(probes.measured, world=1) == [(None, True)]
    steps, alone, said = ranks.run(probes.trained, "hggtopk", True, True, world=1)[0]
    assert (alone.pays, alone.dense_s, alone.compressed_s, alone.break_even_bps) == (False, 0, 0, 0)
    assert "nothing to send" in alone.text
    assert "compress on" not in said
    assert steps[-1].sent_bytes == 0


@pytest.mark.parametrize("use_pipeline", [True, False])
@pytest.mark.parametrize("name", ["hggtopk", "int8", "mixed"])
def test_what_steps_cost_is_told_part_by_part(ranks: Ranks, name: str, use_pipeline: bool) -> None:
    for steps, found, said in ranks.run(probes.trained, name, use_pipeline, True):
        assert said.endswith(found.text)
        for each in steps:
            assert 0 < each.lane_s <= each.encode_s
            assert each.buckets <= each.lane_rounds * (2 if use_pipeline else 1)
            assert 0 < each.last_share <= 1
            assert (each.backward_s > 0) == (each.buckets > 1)
        assert use_pipeline or steps[-1].lane_s == steps[-1].encode_s


def test_the_probe_is_not_among_a_step_s_bytes(ranks: Ranks) -> None:
    with_probe, without = (ranks.run(probes.trained, "hggtopk", False, True, world=2) for _ in range(2))
    assert [x.sent_bytes for x in with_probe[0][0]] == [x.sent_bytes for x in without[0][0]]
    assert with_probe[0][0][0].sent_bytes < 20_000


def test_what_was_not_measured_can_be_stated(ranks: Ranks) -> None:
    for slow, fast in ranks.run(probes.elsewhere, world=2):
        assert slow.pays
        assert not fast.pays
    assert "probe=True" in ranks.run(probes.not_measured, world=2)[0].text
    assert "no step yet" in ranks.run(probes.no_step, world=2)[0].text
