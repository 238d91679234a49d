"""Goals for a whole message: budgets never exceeded and nearly used up, bounds kept, and the least of the other."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import thinwire as tw
from thinwire.policy import Point, Signals
from thinwire.policy.allocate import hull, within_bytes, within_distortion
from thinwire.policy.ladder import common_step, rungs
from thinwire.policy.resolution import coarser
from thinwire.wire import TENSOR_BYTES, frame_bytes, record_bytes
from thinwire.zoo import compressor as compressor_of

CURVE = st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 1000)), min_size=1, max_size=6)


def curve(points: list[tuple[int, int]]) -> tuple[Point, ...]:
    return tuple(Point(tw.Raw(), *point) for point in points)


def message(seed: int = 0) -> dict[str, torch.Tensor]:
    noise = torch.Generator().manual_seed(seed)

    def matrix(rows: int, cols: int, rank: int, scale: float) -> torch.Tensor:
        low = torch.randn(rows, rank, generator=noise) @ torch.randn(rank, cols, generator=noise)
        return scale * (low + 0.3 * torch.randn(rows, cols, generator=noise) ** 3)

    return {
        "in.weight": matrix(200, 60, 2, 0.01),
        "in.bias": 0.003 * torch.randn(200, generator=noise),
        "conv.weight": matrix(40, 90, 8, 0.03).view(40, 10, 3, 3),
        "steps": torch.tensor(7),
        "out.weight": matrix(10, 200, 4, 0.1),
    }


@given(CURVE)
def test_hull_is_convex_and_below_every_point(points: list[tuple[int, int]]) -> None:
    found = hull(curve(points))
    slopes = [(b.distortion - a.distortion) / (b.payload_bytes - a.payload_bytes) for a, b in itertools.pairwise(found)]
    assert slopes == sorted(slopes)
    assert all(slope < 0 for slope in slopes)
    for price in (0.01, 0.3, 1.0, 7.0):
        cost = min(p.distortion + price * p.payload_bytes for p in curve(points))
        assert min(p.distortion + price * p.payload_bytes for p in found) == pytest.approx(cost)


@given(st.lists(CURVE, min_size=1, max_size=3), st.integers(1, 2500))
@settings(max_examples=60)
def test_allocation_is_within_one_edge_of_the_exhaustive_best(lists: list[list[tuple[int, int]]], budget: int) -> None:
    curves = {str(i): curve(points) for i, points in enumerate(lists)}
    found = within_bytes(curves, budget, {})
    spent = sum(p.payload_bytes for p in found.values())
    every = [
        (sum(p.payload_bytes for p in c), sum(p.distortion for p in c)) for c in itertools.product(*curves.values())
    ]
    least = min(size for size, _ in every)
    if least > budget:
        assert spent == least
        return
    assert spent <= budget
    reached = sum(p.distortion for p in found.values())
    # The next edge of the merged hulls is all that a Lagrangian solution can lose.
    edges = (edge for points in curves.values() for edge in itertools.pairwise(hull(points)))
    slack = max((a.distortion - b.distortion for a, b in edges), default=0)
    assert reached <= min(error for size, error in every if size <= budget) + slack + 1e-9


@given(st.lists(CURVE, min_size=1, max_size=3), st.integers(0, 2500))
def test_distortion_is_met_where_it_can_be(lists: list[list[tuple[int, int]]], most: int) -> None:
    curves = {str(i): curve(points) for i, points in enumerate(lists)}
    found = within_distortion(curves, most, {})
    best = sum(min(p.distortion for p in points) for points in curves.values())
    assert sum(p.distortion for p in found.values()) <= max(most, best)


def ladder(elements: int, deviation: float) -> tuple[Point, ...]:
    """Return an ideal quantizer's curve, at steps an octave apart."""
    steps = [deviation * 2.0**-octave for octave in range(8)]
    return tuple(
        Point(tw.Rdoq(step=step), elements * (1 + math.log2(deviation / step)), elements * step**2 / 12)
        for step in steps
    )


@given(st.lists(st.tuples(st.integers(10, 10_000), st.floats(0.01, 100)), min_size=1, max_size=3), st.floats(0.1, 0.9))
@settings(max_examples=40)
def test_between_two_rungs_a_step_is_turned_until_the_goal_is_just_met(
    tensors: list[tuple[int, float]], share: float
) -> None:
    curves = {str(i): ladder(*tensor) for i, tensor in enumerate(tensors)}
    least, most = (sum(points[at].payload_bytes for points in curves.values()) for at in (0, -1))
    budget = least + share * (most - least)
    found = within_bytes(curves, budget, {})
    assert sum(p.payload_bytes for p in found.values()) == pytest.approx(budget)
    reached = sum(p.distortion for p in found.values())
    every = itertools.product(*curves.values())
    rungs_alone = min(sum(p.distortion for p in c) for c in every if sum(p.payload_bytes for p in c) <= budget)
    assert reached <= rungs_alone * (1 + 1e-9)
    again = within_distortion(curves, reached, {})
    assert sum(p.distortion for p in again.values()) <= reached * (1 + 1e-9)
    assert sum(p.payload_bytes for p in again.values()) <= budget * 1.02 + max(count for count, _ in tensors)


@pytest.mark.parametrize("ratio", [4, 16, 64, 200])
@pytest.mark.parametrize("codec", ["Smallest(options=(Rdoq(), LowRank()))", "Rdoq()", "Step()"])
def test_budget_is_kept_and_used(ratio: int, codec: str) -> None:
    update = message()
    dense = sum(x.numel() * x.element_size() for x in update.values())
    policy = tw.ByteBudget(ratio=ratio, codec=tw.parse(codec))
    sent, _, report = tw.Compressor(policy, tw.NoFeedback()).compress(update, {})
    frame = tw.dumps(sent)
    assert len(frame) <= dense / ratio
    assert len(frame) >= (0.97 if ratio <= 64 else 0.9) * dense / ratio - 64 - 16 * len(update)
    decoded = {name: tw.decode(e) for name, e in tw.loads(frame, tw.specs(update)).items()}
    error = sum(float((x.double() - decoded[name].double()).square().sum()) for name, x in update.items())
    assert error == pytest.approx(report.nmse * sum(float(x.double().square().sum()) for x in update.values()
                                                    if x.is_floating_point()), rel=1e-3)  # fmt: skip


@pytest.mark.parametrize("total_bytes", [14_000, 40_000])
def test_a_budget_holds_what_must_be_exact_too(total_bytes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "w": torch.randn(300, 200, generator=generator),
        "norm.running_var": torch.rand(3000, generator=generator),
    }
    sent, _, _ = tw.Compressor(tw.ByteBudget(total_bytes=total_bytes)).compress(tensors, {}, exact=["norm.running_var"])
    assert 0.97 * total_bytes < len(tw.dumps(sent)) <= total_bytes
    assert torch.equal(tw.decode(sent["norm.running_var"]), tensors["norm.running_var"])
    with pytest.raises(ValueError, match="of them what must be exact"):
        tw.Compressor(tw.ByteBudget(total_bytes=5000)).compress(tensors, {}, exact=["norm.running_var"])


@pytest.mark.parametrize("codec", ["Uniform()", "TopK(0.01)", "LowRank()"])
def test_templates_without_a_step_keep_the_budget_too(codec: str) -> None:
    update = message()
    dense = sum(x.numel() * x.element_size() for x in update.values())
    sent, _, _ = tw.Compressor(tw.ByteBudget(ratio=12, codec=tw.parse(codec))).compress(update, {})
    assert 0.5 * dense / 12 < len(tw.dumps(sent)) <= dense / 12


@pytest.mark.parametrize("codec", ["Rdoq()", "Step()"])
def test_what_got_nothing_gets_nothing_the_next_time_too(codec: str) -> None:
    generator, state = torch.Generator().manual_seed(0), {}
    compressor = tw.Compressor(tw.ByteBudget(ratio=100, codec=tw.parse(codec)), tw.NoFeedback())
    for _ in range(3):
        update = {f"{i}": torch.randn(64, 64, generator=generator) * (1e-5 if i else 3.0) for i in range(9)}
        sent, state, _ = compressor.compress(update, state)
        assert 0.85 * 9 * 4 * 64 * 64 / 100 < len(tw.dumps(sent)) <= 9 * 4 * 64 * 64 / 100


def test_more_bytes_never_more_error() -> None:
    update = message()
    errors = [tw.Compressor(tw.ByteBudget(ratio=r)).compress(update, {})[2].nmse for r in (128, 64, 32, 16, 8)]
    assert errors == sorted(errors, reverse=True)


def test_a_budget_beats_the_same_setting_for_every_tensor() -> None:
    update = {name: x for name, x in message().items() if x.dim() > 1}
    uniform = tw.Compressor(tw.Fixed(tw.Rdoq(nmse=0.2))).compress(update, {})
    total = len(tw.dumps(uniform[0]))
    ours = tw.Compressor(tw.ByteBudget(total_bytes=total, codec=tw.Rdoq())).compress(update, {})
    assert len(tw.dumps(ours[0])) <= total
    assert ours[2].nmse < 0.9 * uniform[2].nmse


@pytest.mark.parametrize("bound", [0.3, 0.1, 0.01, 1e-4])
def test_bound_of_the_whole_is_kept_and_used(bound: float) -> None:
    update = message()
    policy = tw.ErrorBound(
        nmse=bound, codec=tw.parse("Smallest(options=(Rdoq(), LowRank()))"), small=tw.Step(), whole=True
    )
    each = tw.ErrorBound(nmse=bound, codec=tw.Smallest(options=(tw.Rdoq(), tw.LowRank())), small=tw.Step())
    ours, separate = (tw.Compressor(p, tw.NoFeedback()).compress(update, {}) for p in (policy, each))
    assert 0.9 * bound < ours[2].nmse <= bound
    assert len(tw.dumps(ours[0])) < len(tw.dumps(separate[0]))


def test_relative_bound_of_the_whole_is_in_units_of_its_rms() -> None:
    update = {name: x for name, x in message().items() if x.dim() > 1}
    count, energy = sum(x.numel() for x in update.values()), sum(float(x.square().sum()) for x in update.values())
    sent, _, _ = tw.Compressor(tw.ErrorBound(relative=0.5, whole=True)).compress(update, {})
    worst = max(float((x - tw.decode(sent[name])).abs().max()) for name, x in update.items())
    assert 0.4 < worst / math.sqrt(energy / count) <= 0.5 + 1e-6


@pytest.mark.parametrize("kind", ["zeros", "constant", "one hot", "denormal", "large"])
def test_degenerate_messages(kind: str) -> None:
    x = {
        "zeros": torch.zeros(64, 40),
        "constant": torch.full((64, 40), 0.1),
        "one hot": torch.eye(40)[:1].expand(64, 40),
        "denormal": torch.full((64, 40), 1e-42),
        "large": torch.full((64, 40), 3e38),
    }[kind]
    update = {"x": x, "empty": torch.zeros(0, 5), "scalar": torch.tensor(0.5)}
    for policy in (tw.ByteBudget(ratio=8), tw.ErrorBound(nmse=0.1, whole=True, small=tw.Step(), codec=tw.Rdoq())):
        sent, _, report = tw.Compressor(policy).compress(update, {})
        decoded = tw.loads(tw.dumps(sent), tw.specs(update))
        assert all(tw.decode(decoded[name]).isfinite().all() for name in update)
    assert report.nmse <= 0.1


def test_nan_is_refused_by_name() -> None:
    bad = {**message(), "in.weight": torch.full((200, 60), math.nan)}
    with pytest.raises(tw.NonFiniteError, match=r"in\.weight"):
        tw.Compressor(tw.ByteBudget(ratio=8)).compress(bad, {})


def budgeted(update: dict[str, torch.Tensor], total: int, **fields: object) -> tuple[int, float]:
    """Return the length of the frame that a budget makes, and its error."""
    policy = tw.ByteBudget(total_bytes=total, **fields)  # type: ignore[arg-type]
    sent, _, report = tw.Compressor(policy, tw.NoFeedback()).compress(update, {})
    return len(tw.dumps(sent)), report.nmse


def degenerate() -> dict[str, dict[str, torch.Tensor]]:
    noise = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=noise)

    return {
        "many small": {f"v{i}": normal(8) for i in range(20)},
        "small matrices": {f"m{i}": normal(3, 4) for i in range(20)},
        "scalars": {f"s{i}": normal(1)[0] for i in range(20)},
        "one denormal": {"w": torch.full((100, 100), 1e-42)},
        "denormals": {"w": normal(60, 60) * 1e-40, "b": normal(60) * 1e-41},
        "constant": {"w": torch.full((200, 200), 0.1), "b": torch.zeros(64)},
        "zeros": {"w": torch.zeros(200, 200)},
        "one hot": {"w": torch.eye(100)},
        "sparse": {"w": normal(100, 100) * (normal(100, 100) > 2.3)},
        "few values": {"w": torch.round(normal(100, 100) * 3) / 8},
        "doubles": {"w": normal(60, 60).double(), "b": normal(7).double()},
        "halves": {"w": normal(60, 60).bfloat16(), "b": normal(70).half()},
        "huge": {"w": normal(64, 64).clamp(-3, 3) * 1e38},
        "other types": {
            "w": normal(40, 40),
            "n": torch.arange(500),
            "mask": normal(400) > 0,
            "empty": torch.zeros(0, 5),
        },
        "scales": {"w": normal(40, 40) * 0.01, "u": normal(300) * 1e-6, "v": normal(300) * 1e4, "n": torch.tensor(3)},
        "not contiguous": {"w": normal(60, 40).T, "x": normal(8, 6, 3, 3).to(memory_format=torch.channels_last)},
    }


@pytest.mark.parametrize("kind", degenerate())
def test_a_budget_reaches_what_methods_reach(kind: str) -> None:
    update = degenerate()[kind]
    for method in ("auto", "lossless"):
        sent, _, _ = tw.zoo[method].compress(update, {}, tw.Signals())  # type: ignore[attr-defined]
        total = len(tw.dumps(sent))
        frame_bytes, nmse = budgeted(update, total)
        assert frame_bytes <= total
        if method == "lossless":
            assert nmse <= 0.002


@pytest.mark.parametrize("kind", degenerate())
def test_too_small_a_budget_names_the_least_and_that_is_true(kind: str) -> None:
    update = degenerate()[kind]
    with pytest.raises(ValueError, match="too small") as caught:
        budgeted(update, 20)
    least = int(re.search(r"total_bytes=(\d+) or more", str(caught.value))[1])  # type: ignore[index]
    assert len(str(caught.value)) < 200
    assert budgeted(update, least)[0] == least
    with pytest.raises(ValueError, match=f"budget of {least - 1:,} bytes is too small: {least:,} is the fewest"):
        budgeted(update, least - 1)


@pytest.mark.parametrize("codec", ["Uniform()", "TopK(0.01)", "LowRank()", "Smallest(options=(Rdoq(), Step()))"])
def test_the_least_is_that_of_the_templates_and_of_every_bit(codec: str) -> None:
    for update in (message(), {"w": torch.full((100, 100), 0.3)}):
        fields = {"codec": tw.parse(codec), "small": tw.Raw()}
        with pytest.raises(ValueError, match="too small") as caught:
            budgeted(update, 20, **fields)
        least = int(re.search(r"total_bytes=(\d+)", str(caught.value))[1])  # type: ignore[index]
        assert budgeted(update, least, **fields)[0] <= least
        every_bit = len(tw.dumps({name: tw.encode(tw.Planes(), x) for name, x in update.items()}))
        assert least <= every_bit


def test_a_budget_that_is_held_by_every_bit_is_held_again() -> None:
    compressor, state = tw.Compressor(tw.ByteBudget(total_bytes=120), tw.NoFeedback()), {}
    for value in (0.1, 0.2, 0.3, 0.4):
        update = {"w": torch.full((200, 200), value), "b": torch.full((64,), value)}
        sent, state, report = compressor.compress(update, state)
        assert len(tw.dumps(sent)) <= 120
        assert report.nmse < 1e-12


@given(st.sampled_from([*tw.zoo]), st.integers(0, 3))
@settings(max_examples=60)
def test_a_frame_is_counted_without_being_made(name: str, seed: int) -> None:
    made = compressor_of(name)
    update = message(seed) | {"empty": torch.zeros(0, 3), "scalar": torch.tensor(0.5)}
    sent, _, _ = made.compress(update, {}, Signals(loss=1.0))
    assert frame_bytes(sent) == len(tw.dumps(sent))
    assert all(1 <= record_bytes(encoded) <= TENSOR_BYTES for encoded in sent.values())
    assert frame_bytes({}) == len(tw.dumps({}))


def test_inputs_are_untouched_and_state_is_optional() -> None:
    update = message()
    before = {name: x.clone() for name, x in update.items()}
    compressor = tw.Compressor(tw.ByteBudget(ratio=30))
    _, state, _ = compressor.compress(update, {})
    compressor.compress(update, state)
    assert all(torch.equal(before[name], x) for name, x in update.items())


@given(st.floats(0.01, 12.0))
def test_common_step_spends_about_the_bits(bits: float) -> None:
    sizes = {"a": (4000, 4000.0), "b": (1000, 1e-6)}
    finer, coarser = common_step(sizes, 5000 * bits * 1.1), common_step(sizes, 5000 * bits)
    assert 0 < finer < coarser


def test_rungs_and_scales() -> None:
    found = rungs(tw.Rdoq(), 100, 4.0, 0.1, (-1.0, 0.0))
    assert found == (tw.Rdoq(step=0.05), tw.Rdoq(step=0.1), tw.Rdoq(step=8.0))
    assert [coarser(codec, 2.0) for codec in found[:2]] == [tw.Rdoq(step=0.1), tw.Rdoq(step=0.2)]
    assert coarser(tw.LowRank(nmse=0.1), 2.0) == tw.LowRank(nmse=0.4)
    assert coarser(tw.TopK(0.1), 2.0) == tw.TopK(0.1)
    assert Signals().curves == {}


@pytest.mark.parametrize("total_bytes", [1200, 1500, 3000])
def test_bits_that_were_settled_on_are_those_of_the_next_messages(total_bytes: int) -> None:
    """Vectors have no step to scale: between two measurements their bits are remembered, and the budget used."""
    compressor, state = tw.Compressor(tw.ByteBudget(total_bytes=total_bytes)), dict[str, torch.Tensor]()
    for round_ in range(1, 6):
        noise = torch.Generator().manual_seed(round_)
        tensors = {f"v{i}": torch.randn(60, generator=noise) for i in range(20)}
        tensors["w"] = torch.randn(60, 60, generator=noise) ** 3
        message, state, report = compressor.compress(tensors, state, Signals(round=round_))
        bits = {getattr(sent.codec, "bits", None) for name, sent in message.items() if name != "w"}
        assert 0.95 * total_bytes < len(tw.dumps(message)) <= total_bytes, (round_, report)
        assert 7 not in bits
