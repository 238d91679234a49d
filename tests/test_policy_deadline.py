"""Deadline: what it sends over links of every speed, and what it does where nothing can be in time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import thinwire as tw
from thinwire.codec import generator
from thinwire.lab.traces import Trace
from thinwire.lab.traces.rounds import fleet
from thinwire.policy import ByteBudget, Deadline, Turn

BUDGET = ByteBudget(ratio=5, codec=tw.Step())
POLICY = Deadline(10.0, BUDGET)
LARGE = {"w": tw.Spec((500, 500), torch.float32), "b": tw.Spec((500,), torch.float32)}
DENSE = 4 * 250_500
TURNS = st.lists(
    st.builds(
        lambda sent, send_s, compute_s: Turn(sent, send_s, compute_s=compute_s),
        st.integers(0, 200_000), st.floats(0.01, 20), st.floats(0, 12),
    ),
    min_size=1, max_size=70,
)  # fmt: skip


def turns(bytes_per_s: float, count: int = 40, sent: int = 100_000, **times: float) -> tuple[Turn, ...]:
    return (Turn(sent, sent / bytes_per_s, **times),) * count  # type: ignore[arg-type]


def signals(bytes_per_s: float, sent: int = 100_000, **times: float) -> tw.Signals:
    return tw.Signals(turns=turns(bytes_per_s, sent=sent, **times))


def update() -> dict[str, torch.Tensor]:
    made = generator(0)
    return {"w": torch.randn(60, 60, generator=made), "b": torch.randn(60, generator=made)}


def sent(policy: Deadline, told: tw.Signals) -> tuple[bytes, tw.Report]:
    message, _, report = tw.Compressor(policy, tw.NoFeedback()).compress(update(), {}, told)
    return tw.dumps(message), report


@given(TURNS, st.integers(0, 12))
def test_more_bandwidth_is_never_fewer_bytes(earlier: list[Turn], octaves: int) -> None:
    faster = [replace(turn, send_s=turn.send_s / 2.0**octaves) for turn in earlier]
    slow, fast = (POLICY.way(LARGE, tw.Signals(turns=tuple(told))) for told in (earlier, faster))
    assert fast.frame_bytes >= slow.frame_bytes * (1 - 1e-9)
    assert fast.in_time >= slow.in_time


@given(TURNS)
def test_a_later_deadline_is_in_time_whenever_an_earlier_one_is(earlier: list[Turn]) -> None:
    told = tw.Signals(turns=tuple(earlier))
    rooms = [replace(POLICY, seconds=seconds).way(LARGE, told) for seconds in (1.0, 5.0, 30.0)]
    assert [way.in_time for way in rooms] == sorted(way.in_time for way in rooms)


def test_what_training_and_latency_leave_is_filled() -> None:
    told = replace(signals(10_000.0, compute_s=4.0), latency_s=1.0)
    way = POLICY.way(LARGE, told)
    speed = 100_000 / (10.0 - 1.0)
    assert way.name == "budget"
    assert way.frame_bytes == pytest.approx(speed * (10 - 4 - 1) * 40 / 43)


def test_measured_coding_is_time_too() -> None:
    free, slow = (POLICY.way(LARGE, signals(10_000.0, codec_s=codec_s)) for codec_s in (0.0, 5.0))
    assert slow.codec_s == 5.0
    assert slow.frame_bytes == pytest.approx(free.frame_bytes / 2)


@pytest.mark.parametrize("ratio", [2.0, 5.0, 100.0])
def test_the_template_says_how_much_is_enough(ratio: float) -> None:
    policy = replace(POLICY, budget=replace(BUDGET, ratio=ratio))
    assert policy.way(LARGE, signals(1e6, 1000)).frame_bytes == DENSE / ratio
    fewer = replace(POLICY, budget=replace(BUDGET, ratio=None, total_bytes=777))
    assert fewer.way(LARGE, signals(1e6)).frame_bytes == 777


def test_a_link_that_outruns_the_codec_gets_none() -> None:
    ways = [POLICY.way(LARGE, signals(speed, codec_s=0.5)).name for speed in (1e4, 1e5, 1e6, 1e7, 1e9)]
    assert ways == ["budget", "budget", "budget", "dense", "dense"]
    told = signals(1e9, codec_s=0.5)
    assert POLICY.options(LARGE, told) == {}
    assert set(POLICY.plan(LARGE, told).values()) == {tw.Raw()}


def test_without_a_codec_nothing_is_lost() -> None:
    frame, report = sent(POLICY, signals(1e9, 1000, codec_s=0.5))
    assert report.nmse == 0.0
    assert len(frame) > 4 * 3660


@pytest.mark.parametrize(("share", "name"), [(0.9, "budget"), (1.1, "dense")])
def test_the_break_even_is_where_coding_takes_what_it_saves(share: float, name: str) -> None:
    believed = 1e6 * 40 / 43
    saved_s = (DENSE - DENSE / 5) / believed
    assert POLICY.way(LARGE, signals(1e6, codec_s=share * saved_s)).name == name


def test_a_codec_that_nobody_measured_is_tried_where_nothing_else_is_in_time() -> None:
    assert POLICY.way(LARGE, signals(50_000.0, codec_s=9.0)).name == "cheap"
    assert POLICY.way(LARGE, signals(1e6, codec_s=9.0)).name == "dense"


def test_between_the_two_the_cheaper_codec() -> None:
    told = tw.Signals(turns=(*turns(40_000.0, 20, codec_s=9.0), *turns(40_000.0, 20, sent=DENSE // 4, codec_s=0.2)))
    assert POLICY.way(LARGE, told).name == "cheap"
    plan = POLICY.plan(LARGE, told)
    assert (plan["w"], plan["b"]) == (tw.Uniform(bits=8), tw.Raw())


def test_the_first_round_needs_no_history() -> None:
    assert POLICY.way(LARGE, tw.Signals()).frame_bytes == pytest.approx(DENSE / 128)
    stated = [POLICY.way(LARGE, tw.Signals(bandwidth_bps=bps)).frame_bytes for bps in (0.0, 1e4, 1e6, 1e12)]
    assert stated == sorted(stated)
    assert stated[1] == pytest.approx(1e4 / 8 * 5 / 4)
    assert stated[-1] == DENSE / 5
    assert len(sent(POLICY, tw.Signals())[0]) > 0


def test_a_frame_is_within_what_was_in_time() -> None:
    for speed in (200.0, 400.0, 1000.0):
        told = signals(speed, 500, compute_s=5.0)
        way = POLICY.way(tw.specs(update()), told)
        frame, _ = sent(POLICY, told)
        assert way.in_time
        assert 0.9 * way.frame_bytes <= len(frame) <= way.frame_bytes


def test_a_deadline_that_cannot_be_met_sends_the_least_and_says_so() -> None:
    told = replace(signals(1000.0, compute_s=12.0), latency_s=1.0)
    way = POLICY.way(LARGE, told)
    assert (way.in_time, way.frame_bytes) == (False, 0.0)
    least, report = sent(POLICY, told)
    assert len(least) < 600
    assert report.nmse <= 1.0
    assert len(least) <= min(len(sent(POLICY, signals(speed, 500))[0]) for speed in (100.0, 200.0))


def test_what_the_budget_keeps_outlives_rounds_that_need_none() -> None:
    uplink, state = tw.Compressor(POLICY, tw.NoFeedback()), {}
    told = {"slow": signals(200.0, 500), "fast": signals(1e9, 500, codec_s=0.5)}
    kept = []
    for link in ("slow", "fast", "slow"):
        _, state, _ = uplink.compress(update(), state, told[link])
        kept.append({key for key in state if key.startswith("policy/")})
    assert kept[0] == kept[1] == kept[2] != set()


def test_an_empty_message_is_planned() -> None:
    for told in (tw.Signals(), signals(100.0), signals(1e9)):
        assert POLICY.plan({}, told) == {}
        assert tw.Compressor(POLICY).compress({}, {}, told)[0] == {}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seconds": 0.0}, "seconds is 0.0"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"seconds": 1.0, "budget": tw.ErrorBound()}, "no total_bytes"),
        ({"seconds": 1.0, "cheap": tw.Step()}, "no fixed bits"),
        ({"seconds": 1.0, "worth": -1.0}, "worth is -1.0"),
        ({"seconds": 1.0, "most_late": 1.0}, "most_late is 1.0"),
        ({"seconds": 1.0, "start": 0.5}, "start is 0.5"),
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Deadline(**fields)  # type: ignore[arg-type]


def test_it_is_read_from_text() -> None:
    assert tw.parse("Deadline(10.0)") == Deadline(10.0)
    assert tw.parse(repr(POLICY)) == POLICY


SLOW_FIRST = {
    "coding": Turn(8000, 0.01, 1000, 0.01, compute_s=1.0, codec_s=58.0),
    "training": Turn(8000, 0.01, 1000, 0.01, compute_s=58.0),
    "nothing got through": Turn(0, 0.0, compute_s=70.0, codec_s=3.0),
    "late, and so the link was not measured": Turn(8000, 0.0, 1000, 0.0, compute_s=70.0),
    "receiving": Turn(8000, 0.01, 1000, 80.0, compute_s=1.0),
}


@pytest.mark.parametrize("case", SLOW_FIRST)
def test_a_slow_first_round_does_not_starve_a_fast_client(case: str) -> None:
    slow, steady = replace(POLICY60, seconds=60.0), (SLOW_FIRST["training"], *[Turn(8000, 0.01, compute_s=1.0)] * 60)
    usual = slow.way(HUGE, tw.Signals(turns=steady)).frame_bytes
    first = slow.way(HUGE, tw.Signals()).frame_bytes
    for bandwidth_bps in (None, 6.4e6):
        turns: tuple[Turn, ...] = (SLOW_FIRST[case],)
        for _ in range(6):
            way = slow.way(HUGE, tw.Signals(turns=turns, bandwidth_bps=bandwidth_bps))
            assert way.in_time
            assert way.frame_bytes >= min(first, usual / 8)
            turns = (*turns, Turn(8000, 0.01, compute_s=1.0, codec_s=0.1))
        assert way.frame_bytes >= usual / 2


def test_a_client_that_is_always_too_slow_is_believed_after_two_rounds() -> None:
    for case in ("training", "receiving", "nothing got through", "late, and so the link was not measured"):
        slow = replace(SLOW_FIRST[case], compute_s=70.0)
        assert [POLICY60.way(HUGE, tw.Signals(turns=(slow,) * n)).in_time for n in (1, 2, 3)] == [True, False, False]
    coding = replace(SLOW_FIRST["coding"], codec_s=70.0)
    ways = [replace(POLICY60, cheap=tw.Uniform(bits=8)).way(HUGE, tw.Signals(turns=(coding,) * n)) for n in (1, 2)]
    assert [way.codec_s for way in ways] == [0.0, 70.0]


@pytest.mark.parametrize("deviation", [0.1, 0.5, 1.0])
def test_on_links_that_vary_nearly_every_round_is_in_time(deviation: float) -> None:
    rng = np.random.default_rng(5)
    links = [Trace(np.arange(2001.0) * 5, rng.lognormal(np.log(2e5), deviation, 2000)) for _ in range(4)]
    clients = fleet(links, 4, 100, 60.0, 0.05, seed=1)
    in_time = []
    for client in range(4):
        seen: tuple[Turn, ...] = ()
        for round_ in range(clients.rounds):
            way = POLICY60.way(HUGE, tw.Signals(turns=seen, latency_s=0.05))
            turn, ok = clients.turn(client, round_, int(way.frame_bytes))
            seen = (*seen, turn)
            in_time.append(ok)
    assert np.mean(in_time) >= 0.95


POLICY60 = Deadline(60.0, BUDGET)
HUGE = {"w": tw.Spec((10_000, 10_000), torch.float32)}
