"""Policies that look at data: rank 0 plans, all follow, budgets are met on average, and a resumed run is the run."""

from __future__ import annotations

import json

import planning
import pytest
import torch
from ranks import Ranks

from thinwire import (
    AdaQuantFL,
    ByEnergy,
    ByteBudget,
    Compressor,
    Deadline,
    ErrorBound,
    Fixed,
    NoFeedback,
    NonFiniteError,
    Spec,
    Step,
    TopK,
    WarmUp,
    WireError,
    zoo,
)
from thinwire.ddp.course import Course
from thinwire.ddp.method import looks, resolved
from thinwire.ddp.planner import Planner
from thinwire.ddp.spending import Spending

QUICK = "ByteBudget(ratio=16, codec=Step())"
SPECS = {"w": Spec((64, 48), torch.float32), "b": Spec((48,), torch.float32)}


def test_a_policy_that_differs_on_every_rank_is_that_of_rank_0(ranks: Ranks) -> None:
    found = ranks.run(planning.plans, planning.Wilful(), 5, {"replan_steps": 1})
    assert all(each == found[0] for each in found)
    plans, digests = found[0]
    assert len(set(digests)) == 5
    assert len({json.dumps(plan) for plan in plans}) == 5, "every step has a plan of its own"
    assert all(len({codec.partition("(")[0] for codec in plan.values()}) > 1 for plan in plans), "plans are mixed"


@pytest.mark.parametrize(
    "method",
    [
        QUICK,
        "ByteBudget(ratio=16)",
        "ErrorBound(nmse=0.1, whole=True)",
        "ByEnergy()",
        "Deadline(10.0)",
        "ByVolume()",
        "Compressor(ByteBudget(ratio=8, codec=Step()), MomentumCorrection(), Clip(value=0.5))",
    ],
)
@pytest.mark.parametrize("world", [1, 3])
def test_replicas_are_bit_identical(ranks: Ranks, method: str, world: int) -> None:
    found = ranks.run(planning.digests, method, 4, world=world)
    assert all(each == found[0] for each in found)
    assert len(set(found[0])) > 1


@pytest.mark.parametrize("method", ["dadaquant", "adaquantfl"])
def test_policies_that_follow_the_loss(ranks: Ranks, method: str) -> None:
    found = ranks.run(planning.digests, method, 4, True, world=2)
    assert found[0] == found[1]
    for each in ranks.run(planning.digests, method, 2, world=2):
        assert "call note(loss=...) before every backward" in each.text


@pytest.mark.parametrize("method", [QUICK, planning.Wilful()], ids=str)
def test_a_pipeline_changes_no_bit(ranks: Ranks, method: object) -> None:
    one, other = (
        ranks.run(planning.digests, method, 5, False, {"use_pipeline": pipe, "replan_steps": 2})
        for pipe in (True, False)
    )
    assert one == other


@pytest.mark.parametrize(("ratio", "steps"), [(8, 30), (16, 30), (64, 100)])
def test_a_budget_is_met_on_average(ranks: Ranks, ratio: int, steps: int) -> None:
    found = ranks.run(planning.spent, f"ByteBudget(ratio={ratio}, codec=Step())", steps, world=2)
    budget, encoded, sent, report, digests = found[0]
    assert budget == pytest.approx(4 * sum(p.numel() for p in planning.Net().parameters()) / ratio)
    assert 0.96 * budget < sum(encoded) / steps < 1.01 * budget
    assert 0.96 * budget < encoded[0] <= budget, "the first step is within it: it is planned before it is sent"
    # Two ranks gather: each sends its encoding once, and a plan and what ranks agree on beside it.
    assert sum(sent) < 1.05 * sum(encoded) + steps * 400
    assert digests == found[1][4]
    assert f"of its budget of {budget:,.0f} bytes" in report


def test_losses_since_the_last_plan_count_as_their_mean(ranks: Ranks) -> None:
    losses = [3.0, *[5.0] * 10, 2.0, 4.0, 9.0, 6.0]
    found = ranks.run(planning.told_losses, losses, 3, world=2)
    assert found[0] == found[1]
    # Plans are made at steps 1, 4, 7, ...
    assert found[0] == [f"Uniform(bits={bits})" for bits in (3, 3, 3, *[5] * 9, 4, 4, 4)][:15]


@pytest.mark.parametrize(
    ("method", "settings"),
    [(QUICK, {}), (planning.Wilful(), {"replan_steps": 3}), (planning.ByLoss(), {"replan_steps": 4})],
)
@pytest.mark.parametrize("at", [1, 6, 10])
def test_a_resumed_run_is_the_run(ranks: Ranks, method: object, settings: dict, at: int) -> None:
    model, state, digests = zip(*ranks.run(planning.save, method, at, 14, settings, world=2), strict=True)
    resumed = ranks.run(planning.resume, method, at, 14, model[0], list(state), settings, world=2)
    assert resumed == [each[at:] for each in digests]
    assert all(key in state[0] for key in ("plan/course", "plan/spent", "plan/losses"))
    assert all(isinstance(x, torch.Tensor) for x in state[0].values())


def test_other_ranks_or_another_policy_go_on(ranks: Ranks) -> None:
    model, state, _ = zip(*ranks.run(planning.save, QUICK, 5, 5), strict=True)
    for method, world in ((QUICK, 2), ("ByteBudget(ratio=4, codec=Step())", 3), ("topk", 2), ("Fixed(Step())", 3)):
        found = ranks.run(planning.resume, method, 5, 8, model[0], list(state), world=world)
        assert len(found[0]) == 3
        assert all(each == found[0] for each in found)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("use_pipeline", [True, False])
def test_nan_where_a_plan_is_due(ranks: Ranks, rank: int, use_pipeline: bool) -> None:
    found = ranks.run(planning.nan_where_a_plan_is_due, rank, use_pipeline, world=2)
    assert found[0] == found[1]
    assert all(f"rank {rank}: " in text and "second.weight" in text for text in found[0][:2])
    skipped = ranks.run(planning.overflow_where_a_plan_is_due, rank, world=2)
    assert skipped[0] == skipped[1]
    assert skipped[0][0]


def test_what_rank_0_cannot_plan_all_raise(ranks: Ranks) -> None:
    found = ranks.run(planning.digests, "ByteBudget(100)", 1, world=2)
    assert {each.kind for each in found} == {"PeerError"}
    assert all("rank 0: a budget of 100 bytes is too small" in each.text and len(each.text) < 250 for each in found)


def test_other_policies_on_other_ranks_are_named(ranks: Ranks) -> None:
    found = ranks.run(planning.one_has_another_policy)
    assert {(each.kind, each.text) for each in found} == {
        ("PlanMismatch", "the policy differs between ranks: rank 0: ErrorBound; rank 1, 2: ByteBudget")
    }


def test_parameters_without_gradient(ranks: Ranks) -> None:
    found = ranks.run(planning.unused, world=2)
    assert found[0][0] == found[1][0]


def test_replan_steps_are_checked(ranks: Ranks) -> None:
    assert "replan_steps is 0" in ranks.run(planning.digests, QUICK, 1, False, {"replan_steps": 0}, world=1)[0].text


@pytest.mark.parametrize("world", [1, 2, 3])
def test_auto_keeps_its_bound_on_every_rank(ranks: Ranks, world: int) -> None:
    """The mean of N errors that are each within a bound of their own gradient."""
    auto = resolved("auto", None)
    method = Compressor(auto.policy, NoFeedback())
    assert all(error < 0.2 * 2 * world for error in ranks.run(planning.mean_error, method, 3, world=world))
    assert auto.policy.codec == zoo["auto"].policy.codec.options[0]
    found = ranks.run(planning.digests, "auto", 4, world=world)
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize(
    ("policy", "leads", "loss"),
    [
        (Fixed(Step()), False, False),
        (WarmUp(TopK(0.1)), False, False),
        (ErrorBound(0.1), False, False),
        (ErrorBound(0.1, whole=True), True, False),
        (ByteBudget(1000), True, False),
        (ByEnergy(), True, False),
        (Deadline(1.0), True, False),
        (AdaQuantFL(), True, True),
        (zoo["dadaquant"].policy, True, True),
        (resolved("auto", None).policy, False, False),
    ],
    ids=str,
)
def test_what_policies_look_at(policy: object, leads: bool, loss: bool) -> None:
    assert looks(policy, SPECS) == leads
    assert looks(policy, SPECS, {"loss"}) == loss


def targets(seed: int, scale: float = 1.0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(spec.shape, generator=generator) * scale for name, spec in SPECS.items()}


def test_a_plan_follows_the_order_of_parameters_not_of_buckets() -> None:
    made = Compressor(ByteBudget(ratio=16, codec=Step()))
    one, other = (
        Planner(made, SPECS).planned(dict(pairs), 1) for pairs in (targets(0).items(), [*targets(0).items()][::-1])
    )
    assert one.text == other.text


def test_plans_are_due_at_their_steps() -> None:
    def steps(policy: object, replan_steps: int) -> tuple[list[int], list[int]]:
        planner = Planner(Compressor(policy), SPECS, replan_steps)
        due, replans = [], []
        for step in range(1, 60):
            if planner.due(step):
                due.append(step)
                replans += [step] if planner.replans(step) else []
                made = planner.planned(targets(step), step) if planner.replans(step) else planner.tuned(step)
                planner.follow(made)
            planner.spent(1000, step)
        return due, replans

    assert steps(ByEnergy(), 25) == ([1, 11, 36], [1, 11, 36])
    assert steps(ByEnergy(), 4)[0] == [*range(1, 60, 4)]
    due, replans = steps(ByteBudget(ratio=16, codec=Step()), 25)
    assert replans == [1, 11, 36]
    assert due == [1, 2, 4, 8, 11, 12, 14, 18, 26, 36, 37, 39, 43, 51]
    assert steps(Fixed(Step()), 1) == ([], [])


def test_a_later_plan_that_cannot_be_goes_on_with_the_one_before() -> None:
    planner = Planner(Compressor(ByteBudget(250, codec=Step())), SPECS, 20)
    planner.follow(planner.planned(targets(0), 1))
    before = planner.course
    for step in range(1, 11):
        planner.spent(100_000, step)
    planner.policy = ByteBudget(100, codec=Step())
    planner.follow(planner.planned(targets(1), 11))
    assert planner.course.replan == 31
    assert planner.course.codecs["w"].step == pytest.approx(2 * before.codecs["w"].step)
    with pytest.raises(NonFiniteError):
        planner.planned(targets(2, float("nan")), 31)


@pytest.mark.parametrize("drift", [0.4, 0.8, 1.0, 1.3, 3.0])
def test_spending_comes_to_its_goal_whatever_follows_a_plan(drift: float) -> None:
    """Steps take ``drift`` times the bytes, which fall with the step of the codecs to a power between 1/2 and 1."""
    for power in (0.5, 1.0):
        spending, coarse, goal = Spending(), 1.0, 1000.0
        for step in range(400):
            changed = step % 10 == 0
            if changed and step:
                coarse *= spending.coarser(goal, 10)
            spending = spending.after(round(goal * drift * coarse**-power), changed)
        assert spending.used / spending.steps == pytest.approx(goal, rel=0.02)
    assert Spending.of(spending.saved()) == spending


def test_courses_are_read_as_they_were_told() -> None:
    course = Course({"a/b\n\t": Step(step=0.1 + 0.2), "w": TopK(1 / 3, values=Step())}, 7, 2, 20)
    assert Course.of(course.text) == course
    assert course.until == 9
    assert course.checked(["w", "a/b\n\t"]) is course
    with pytest.raises(WireError, match="'w' is not in both"):
        course.checked(["a/b\n\t"])


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", "[" * 100_000, '{"step": 1, "holds": 1, "replan": 1, "codecs": []}',
        '{"step": 0, "holds": 1, "replan": 1, "codecs": {}}', '{"step": true, "holds": 1, "replan": 1, "codecs": {}}',
        '{"step": 1, "holds": 1, "replan": 1, "codecs": {"w": "none"}}',
        '{"step": 1, "holds": 1, "replan": 1, "codecs": {"w": 3}}',
        '{"step": 1, "holds": 1, "replan": 1, "codecs": {"w": "__import__(1)"}}',
    ],
)  # fmt: skip
def test_hostile_courses_are_refused(text: str) -> None:
    with pytest.raises(WireError, match="a plan cannot be read"):
        Course.of(text)


def test_the_fewest_bytes_that_a_budget_needs_are_enough() -> None:
    with pytest.raises(ValueError, match="too small") as caught:
        Planner(Compressor(ByteBudget(100, codec=Step())), SPECS).planned(targets(0), 1)
    least = int(str(caught.value).partition("total_bytes=")[2].split()[0])
    assert set(Planner(Compressor(ByteBudget(least, codec=Step())), SPECS).planned(targets(0), 1).codecs) == set(SPECS)
