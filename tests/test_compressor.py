"""A compressor: state in, state out, clipping, and nobody's tensors touched."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

import thinwire as tw
from thinwire.codec import Codec, Encoded, Spec, State
from thinwire.delta import add, check_finite, subtract, zeros
from thinwire.testing import INSTANCES, Row, same_bits, suited
from thinwire.testing.strategies import FLOATS, kind

ROOT = Path(__file__).parents[1]
UPDATES = [row for row in INSTANCES if row.domain == "update"]


def model(seed: int = 1) -> dict[str, Tensor]:
    return {
        "fc.weight": suited("update", (48, 32), seed=seed),
        "fc.bias": suited("update", (48,), seed=seed + 1),
        "half": suited("update", (40, 40), torch.bfloat16, seed + 2),
        "steps": torch.tensor(seed),
        "mask": suited("update", (8, 8), seed=seed) > 0,
    }


def bits(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in tensors.items()}


def unchanged(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    return before.keys() == after.keys() and all(same_bits(before[name], after[name]) for name in before)


SENDERS = {
    "decay, clipped when sent": (tw.ErrorFeedback(0.9), tw.Clip(norm=0.05)),
    "momentum, clipped when it comes in": (tw.MomentumCorrection(), tw.Clip(value=0.01, incoming=True)),
    "nothing kept, not clipped": (tw.NoFeedback(), None),
}


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("row", UPDATES, ids=str)
def test_compressing_changes_neither_tensors_nor_state(row: Row, sender: str) -> None:
    compressor = tw.Compressor(tw.Fixed(row.codec, small=row.codec), *SENDERS[sender])
    state: dict[str, Tensor] = {}
    for round in (1, 2, 3):
        tensors = model(round)
        tensors_before, state_before = bits(tensors), bits(state)
        message, new_state, _ = compressor.compress(tensors, state, tw.Signals(round=round))
        again, _, _ = compressor.compress(tensors, state, tw.Signals(round=round))
        compressor.decompress(message)
        assert unchanged(tensors_before, tensors)
        assert unchanged(state_before, state)
        assert tw.dumps(message) == tw.dumps(again)
        state = new_state


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("row", UPDATES, ids=str)
def test_what_arrives_and_what_is_kept_is_what_came_in_and_was_kept(row: Row, dtype: torch.dtype) -> None:
    """To one unit in the last place, on what the other end decodes from the frame."""
    compressor = tw.Compressor(tw.Fixed(row.codec, small=row.codec))
    for name in ("normal", "ties", "outlier", "magnitudes", "sparse"):
        x = kind(name, (37, 40), dtype, seed=5)
        before = {"residual/x": kind("normal", (37, 40), Spec.of(x).working, seed=6) * x.abs().mean()}
        message, state, report = compressor.compress({"x": x}, before, seed=3)
        arrived = tw.decode(tw.loads(tw.dumps(message), tw.specs({"x": x}))["x"]).to(Spec.of(x).working)
        target, left = x + before["residual/x"], state.get("residual/x", torch.zeros_like(arrived))
        off = (target.double() - arrived.double() - left.double()).abs()
        largest = torch.maximum(target.abs(), arrived.abs())
        ulp = torch.nextafter(largest, torch.full_like(largest, math.inf)).double() - largest.double()
        assert bool((off <= ulp).all()), name
        expected = float(left.double().square().sum() / target.double().square().sum())
        assert report.nmse == pytest.approx(expected, rel=1e-4, abs=1e-30), name


@dataclass(frozen=True)
class Views(Codec):
    """Sends half of the tensor, and both what travels and what it remembers are views of it."""

    id = "views"

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        return {"view": x.view(-1)}, {"seen": x}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        return {"view": Spec((spec.numel,), spec.dtype)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        return (parts["view"] / 2).view(spec.shape)


def test_a_part_that_is_a_view_of_the_target_stays_what_it_was() -> None:
    x = suited("update", (40, 40))
    message, state, _ = tw.Compressor(tw.Fixed(Views())).compress({"x": x}, {})
    assert same_bits(tw.decode(message["x"]), x / 2)
    assert same_bits(state["residual/x"], x - x / 2)
    assert same_bits(state["history/x/seen"], x)


def test_a_message_keeps_nothing_that_does_not_travel() -> None:
    def held(encoded: Encoded) -> bool:
        inner = [part for part in encoded.parts.values() if isinstance(part, Encoded)]
        return bool(encoded.known) or any(map(held, inner))

    for row in UPDATES:
        message, _, _ = tw.Compressor(tw.Fixed(row.codec)).compress({"x": suited("update", (40, 40))}, {})
        assert not held(message["x"])
        assert not held(tw.encode(row.codec, suited("update", (40, 40))))


@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")
def test_compressing_takes_the_new_state_and_a_tenth_of_the_tensor() -> None:
    script = [sys.executable, "tests/compress_memory.py"]
    run = subprocess.run(script, cwd=ROOT, check=True, capture_output=True, timeout=120)
    beside = json.loads(run.stdout)
    assert len(beside) >= 6
    assert {name: share for name, share in beside.items() if share > 0.1} == {}


@pytest.mark.parametrize("row", UPDATES, ids=str)
def test_a_report_says_what_the_frame_costs_and_how_far_it_is_off(row: Row) -> None:
    tensors = model()
    message, _, report = tw.Compressor(tw.Fixed(row.codec), tw.NoFeedback()).compress(tensors, {})
    overhead = len(tw.dumps(message)) - report.payload_bytes
    assert 0 < overhead <= 64 + 16 * len(tensors)
    assert report.dense_bytes == sum(x.numel() * x.itemsize for x in tensors.values())
    for name, x in tensors.items():
        decoded, costs = tw.decode(message[name]), report.tensors[name]
        assert costs.payload_bytes == message[name].payload_bytes
        assert tw.parse(costs.codec)
        if x.dtype.is_floating_point:
            error = float((x.double() - decoded.double()).square().sum() / x.double().square().sum())
            assert costs.nmse == pytest.approx(error, rel=1e-4, abs=1e-12)
        else:
            assert costs.nmse == 0
            assert same_bits(decoded, x)


def test_state_survives_a_checkpoint_and_is_keyed_by_tensor() -> None:
    compressor = tw.Compressor(tw.Fixed(tw.LowRank(rank=2, method="range")))
    _, state, _ = compressor.compress(model(), {})
    assert set(state) == {"residual/fc.weight", "history/fc.weight/right", "residual/half", "history/half/right"}
    copied = {key: value.clone() for key, value in state.items()}
    first, second = (compressor.compress(model(2), s, tw.Signals(round=2))[0] for s in (state, copied))
    assert tw.dumps(first) == tw.dumps(second)


def test_histories_of_names_that_start_alike_stay_apart() -> None:
    compressor = tw.Compressor(tw.Fixed(tw.LowRank(rank=2, method="range")))
    tensors = {"a/b": suited("update", (64, 48), seed=1), "a": suited("update", (64, 48), seed=2)}
    _, state, _ = compressor.compress(tensors, {})
    alone = {key: value for key, value in state.items() if key.startswith(("history/a/right", "residual/a"))}
    both, _, _ = compressor.compress(tensors, state, tw.Signals(round=2))
    one, _, _ = compressor.compress({"a": tensors["a"]}, alone, tw.Signals(round=2))
    assert tw.dumps({"a": both["a"]}) == tw.dumps(one)


def test_a_lost_message_is_made_up_for_when_the_old_state_is_kept() -> None:
    compressor = tw.Compressor(tw.Fixed(tw.TopK(0.1)))
    x, state, sent = suited("update", (40, 40)), {}, torch.zeros(40, 40)
    for round in range(1, 31):
        message, new_state, _ = compressor.compress({"x": x}, state, tw.Signals(round=round))
        if round % 3:
            state, sent = new_state, sent + tw.decode(message["x"])
    assert torch.allclose(sent + state["residual/x"], 20 * x, atol=1e-5)


def test_decay_forgets_and_no_feedback_keeps_nothing() -> None:
    x = {"x": suited("update", (40, 40))}
    _, state, _ = tw.Compressor(tw.Fixed(tw.TopK(0.1)), tw.NoFeedback()).compress(x, {})
    assert state == {}
    residual = {"residual/x": torch.ones(40, 40)}
    zero = {"x": torch.zeros(40, 40)}
    message, _, _ = tw.Compressor(tw.Fixed(tw.Raw()), tw.ErrorFeedback(0.25)).compress(zero, residual)
    assert same_bits(tw.decode(message["x"]), torch.full((40, 40), 0.25))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("clip", [{"value": 0.01}, {"norm": 0.5}], ids=str)
def test_clipping_limits_what_is_sent_and_keeps_or_drops_the_rest(clip: dict[str, float], keep: bool) -> None:
    tensors = {"a": suited("update", (40, 40), seed=1), "b": suited("update", (64, 20), seed=2)}
    compressor = tw.Compressor(tw.Fixed(tw.Raw()), clip=tw.Clip(**clip, keep=keep))
    message, state, _ = compressor.compress(tensors, {})
    sent = compressor.decompress(message)
    if "value" in clip:
        assert max(float(x.abs().max()) for x in sent.values()) == pytest.approx(clip["value"])
    else:
        norm = math.sqrt(sum(float(x.double().square().sum()) for x in sent.values()))
        assert norm == pytest.approx(clip["norm"], rel=1e-6)
    for name, x in tensors.items():
        left = state.get(f"residual/{name}", torch.zeros(()))
        assert torch.allclose(left, x - sent[name] if keep else torch.zeros(()), atol=1e-8)


def test_local_clipping_divides_the_norm_among_workers() -> None:
    tensors = {"a": suited("update", (40, 40), seed=1), "b": suited("update", (64, 20), seed=2)}
    for workers, norm in ((1, 0.5), (4, 0.25), (100, 0.05)):
        clip = tw.Clip(norm=0.5, workers=workers)
        message, _, _ = tw.Compressor(tw.Fixed(tw.Raw()), tw.NoFeedback(), clip).compress(tensors, {})
        sent = torch.cat([x.view(-1) for x in tw.Compressor(tw.Fixed(tw.Raw())).decompress(message).values()])
        assert float(sent.norm()) == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("clip", [{"value": 0.01}, {"norm": 0.5, "workers": 4}], ids=str)
def test_what_comes_in_is_clipped_before_feedback_adds_to_it(clip: dict[str, float], keep: bool) -> None:
    x, residual = suited("update", (40, 40)), suited("update", (40, 40), seed=2)
    compressor = tw.Compressor(tw.Fixed(tw.TopK(0.1)), clip=tw.Clip(**clip, keep=keep, incoming=True))  # type: ignore[arg-type]
    message, state, _ = compressor.compress({"x": x}, {"residual/x": residual})
    clipped = x.clamp(-0.01, 0.01) if "value" in clip else x * (0.25 / x.norm())
    sent = tw.decode(message["x"])
    assert torch.allclose(sent + state["residual/x"], residual + (x if keep else clipped), atol=1e-7)
    assert torch.allclose(sent, tw.decode(tw.encode(tw.TopK(0.1), residual + clipped)), atol=1e-7)


def test_clipping_leaves_small_messages_and_integers_alone() -> None:
    tensors = model()
    message, state, _ = tw.Compressor(tw.Fixed(tw.Raw()), clip=tw.Clip(norm=1e6)).compress(tensors, {})
    assert unchanged(tensors, {name: tw.decode(encoded) for name, encoded in message.items()})
    assert state == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("clip", [None, tw.Clip(value=1.0), tw.Clip(norm=1.0)], ids=["plain", "value", "norm"])
def test_a_tensor_that_is_not_finite_is_named(value: float, clip: tw.Clip | None) -> None:
    tensors = model()
    tensors["fc.weight"][3, 3] = value
    with pytest.raises(tw.NonFiniteError, match=r"^fc\.weight: "):
        tw.Compressor(tw.Fixed(tw.Step()), clip=clip).compress(tensors, {})


def test_nan_under_a_lossless_codec_arrives_and_leaves_no_residual() -> None:
    x = torch.tensor([[1.0, float("nan"), float("inf")]], dtype=torch.bfloat16)
    message, state, _ = tw.Compressor(tw.Fixed(tw.Raw())).compress({"x": x}, {"residual/x": torch.full((1, 3), 1e-5)})
    assert torch.equal(tw.decode(message["x"]).nan_to_num(7.0), x.nan_to_num(7.0))
    assert all(bool(torch.isfinite(value).all()) for value in state.values())


def test_a_residual_beyond_float16_waits_instead_of_becoming_infinite() -> None:
    compressor = tw.Compressor(tw.Fixed(tw.TopK(0.5)))
    x, state = torch.full((40, 40), 60000.0, dtype=torch.float16), {}
    sent = torch.zeros(40, 40, dtype=torch.float64)
    for round in range(1, 9):
        message, state, _ = compressor.compress({"x": x}, state, tw.Signals(round=round))
        sent += tw.decode(message["x"]).double()
        assert bool((sent + state["residual/x"].double() == 60000.0 * round).all())


def test_a_residual_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"residual of 'x' is \(3,\), the tensor \(40, 40\)"):
        tw.Compressor(tw.Fixed(tw.TopK(0.1))).compress({"x": torch.ones(40, 40)}, {"residual/x": torch.ones(3)})
    with pytest.raises(ValueError, match=r"velocity of 'x' is \(1600,\), the tensor \(40, 40\)"):
        tw.Compressor(tw.Fixed(tw.TopK(0.1)), tw.MomentumCorrection()).compress(
            {"x": torch.ones(40, 40)}, {"velocity/x": torch.ones(1600)}
        )


def test_rounds_and_seeds_decide_what_random_codecs_draw() -> None:
    compressor, x = tw.Compressor(tw.Fixed(tw.RandomK(0.1)), tw.NoFeedback()), {"x": torch.ones(40, 40)}
    frames = {
        tw.dumps(compressor.compress(x, {}, tw.Signals(round=round), seed)[0]) for round in (1, 2) for seed in (0, 1)
    }
    assert len(frames) == 4


def test_references_add_up() -> None:
    old, new = model(1), model(2)
    delta = subtract(new, old)
    there = add(old, delta)
    for name, x in new.items():
        assert there[name].dtype == x.dtype
        exact = not x.dtype.is_floating_point
        assert same_bits(there[name], x) if exact else torch.allclose(there[name], x, atol=2e-3)
    assert unchanged(add(zeros(tw.specs(old)), old), old)


def test_check_finite_names_the_tensor() -> None:
    check_finite(model())
    with pytest.raises(tw.WireError, match="'half'"):
        check_finite(model() | {"half": torch.tensor([math.nan])})
