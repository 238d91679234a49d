"""Plateau: DAdaQuant's time-adaptive rule, against the recursion as the paper writes it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import thinwire as tw
from thinwire.codec import State
from thinwire.policy import Policy

LOSSES = st.lists(st.one_of(st.none(), st.floats(-1, 10), st.just(0.5), st.just(float("nan"))), max_size=60)


def levels(policy: tw.Plateau | tw.AdaQuantFL, losses: list[float | None], rounds: int | None = None) -> list[int]:
    """Return the levels of every round: in round t the loss of round t - 1 is known."""
    kept: State = {}
    found = []
    for number, loss in enumerate(losses, 1):
        signals = tw.Signals(number, rounds, loss=loss, kept=kept)
        found.append(policy.level(signals).levels)  # type: ignore[attr-defined]
        kept = policy.keep(signals)
    return found


def by_the_paper(losses: list[float], least: int, most: int, psi: float, phi: int) -> list[int]:
    """q_t doubles where t > phi, running[t - 1] >= running[t - 1 - phi], and q_t-1 was the level for phi rounds."""
    running: list[float] = []
    q = [least]  # q[t] is the level of round t, counted from 0
    for t, loss in enumerate(losses, 1):  # losses[t - 1] is that of round t - 1
        running.append(psi * running[-1] + (1 - psi) * loss if running else loss)
        settled = t > phi and q[t - 1] == q[t - phi]
        stuck = settled and running[t - 1] >= running[t - 1 - phi]
        q.append(min(2 * q[-1], most) if stuck and q[-1] < most else q[-1])
    return q[1:]


@given(
    st.lists(st.one_of(st.floats(0, 3), st.just(1.0)), max_size=50),
    st.integers(1, 3),
    st.integers(1, 16),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.integers(1, 7),
)
def test_levels_are_those_of_the_paper(losses: list[float], least: int, times: int, psi: float, phi: int) -> None:
    policy = tw.Plateau(tw.Qsgd(levels=least), most=times, patience=phi, smoothing=psi)
    assert levels(policy, [*losses]) == by_the_paper(losses, least, least * times, psi, phi)


@given(LOSSES, st.integers(1, 5))
def test_levels_never_fall_never_pass_the_cap_and_double_at_most_every_patience_rounds(
    losses: list[float | None], patience: int
) -> None:
    found = levels(tw.Plateau(tw.Qsgd(levels=3), most=16, patience=patience), losses)
    assert found == sorted(found)
    assert set(found) <= {3 * 2**n for n in range(5)}
    changes = [at for at in range(1, len(found)) if found[at] != found[at - 1]]
    assert all(later - earlier >= patience for earlier, later in pairwise(changes))


def test_a_falling_loss_stays_coarse_and_a_flat_one_doubles() -> None:
    policy = tw.Plateau(patience=2)
    assert levels(policy, [5.0 - 0.1 * t for t in range(20)]) == [1] * 20
    assert levels(policy, [2.0] * 8) == [1, 1, 2, 2, 4, 4, 8, 8]


def test_rounds_without_a_loss_do_not_count() -> None:
    policy, nothing = tw.Plateau(patience=2), [None, float("nan"), float("inf")]
    with_gaps = levels(policy, [loss for known in [2.0] * 8 for loss in (known, *nothing)])
    assert with_gaps[::4] == levels(policy, [2.0] * 8)
    assert levels(policy, [None] * 9) == [1] * 9


def test_patience_is_a_tenth_of_the_run_unless_stated() -> None:
    flat: list[float | None] = [1.0] * 50
    assert levels(tw.Plateau(), flat, rounds=50).index(2) == 5
    assert levels(tw.Plateau(), flat).index(2) == 10
    assert levels(tw.Plateau(), flat, rounds=3).index(2) == 1
    assert levels(tw.Plateau(patience=7), flat, rounds=50).index(2) == 7


@pytest.mark.parametrize(
    ("codec", "expected"),
    [
        (tw.Qsgd(levels=5), [5, 10, 20]),
        (tw.Uniform(bits=3), [3, 4, 5]),
        (tw.Step(nmse=0.4), [0.4, 0.1, 0.025]),
        (tw.Step(absolute=0.1), [0.1, 0.05, 0.025]),
        (tw.Eden(bits=7), [7, 8, 8]),
    ],
)
def test_a_doubling_means_twice_the_levels_whatever_the_codec(codec: tw.Codec, expected: list[float]) -> None:
    policy, kept, found = tw.Plateau(codec, patience=1), {}, []  # type: ignore[var-annotated]
    for number in range(1, 4):
        signals = tw.Signals(number, loss=1.0, kept=kept)
        level = policy.level(signals)
        kept = policy.keep(signals)
        found.append(next(getattr(level, n) for n in ("levels", "bits", "nmse", "absolute") if getattr(level, n, None)))
    assert found == pytest.approx(expected)


def test_the_state_is_small_and_nothing_given_is_changed() -> None:
    policy: Policy = tw.Plateau(patience=3)
    signals = tw.Signals(loss=1.0)
    for _ in range(50):
        before = {name: value.clone() for name, value in signals.kept.items()}
        kept = policy.keep(signals)  # type: ignore[attr-defined]
        assert before.keys() == signals.kept.keys()
        assert all(bool((signals.kept[name] == value).all()) for name, value in before.items())
        assert sum(value.numel() for value in kept.values()) <= 5
        signals = replace(signals, kept=kept)


def test_small_tensors_stay_as_they_are() -> None:
    specs = tw.specs({"w": torch.zeros(64, 32), "b": torch.zeros(64)})
    assert tw.Plateau().plan(specs, tw.Signals()) == {"w": tw.Qsgd(levels=1), "b": tw.Raw()}
    assert tw.AdaQuantFL(small=tw.Planes()).plan(specs, tw.Signals()) == {"w": tw.Qsgd(levels=2), "b": tw.Planes()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Plateau(TopK(0.1))", "cannot be made finer"),
        ("Plateau(most=0)", "most is 0"),
        ("Plateau(patience=0)", "patience is 0"),
        ("Plateau(smoothing=1.0)", "smoothing is 1.0"),
        ("AdaQuantFL(Raw())", "cannot be made finer"),
        ("AdaQuantFL(most=0.5)", "most is 0.5"),
        ("ByImportance(Qsgd())", "is not a policy"),
        ("ByEnergy(most=0)", "most is 0"),
    ],
)
def test_what_cannot_be_is_refused_at_once(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tw.parse(text)
