"""Feedback: what each keeps, held against the papers in slow motion and against torch's own optimizer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import thinwire as tw
from thinwire.codec import Spec, State, generator
from thinwire.feedback.residual import plus, plus_each
from thinwire.testing import INSTANCES, Row, same_bits, suited

UPDATES = [row for row in INSTANCES if row.domain == "update"]
SHAPE = (12, 11)
N = 132
VARIANTS = [(nesterov, masking) for nesterov in (False, True) for masking in (False, True)]


def gradients(rounds: int, shape: tuple[int, ...] = SHAPE) -> list[Tensor]:
    return [suited("update", shape, torch.float64, seed) for seed in range(rounds)]


def run(compressor: tw.Compressor, rounds: list[Tensor]) -> tuple[list[Tensor], State]:
    """Return what every round sent, and the last state."""
    state: State = {}
    sent = []
    for round, x in enumerate(rounds, 1):
        message, state, _ = compressor.compress({"x": x}, state, tw.Signals(round=round))
        sent.append(tw.decode(message["x"]))
    return sent, state


def in_slow_motion(
    rounds: list[Tensor], k: int, m: float, nesterov: bool, masking: bool
) -> tuple[list[list[float]], list[float], list[float]]:
    """Algorithm 1 of Deep Gradient Compression with momentum correction, element by element."""
    u, v, sent = [0.0] * N, [0.0] * N, []
    for round in rounds:
        g = round.view(-1).tolist()
        for i in range(N):
            u[i] = m * (u[i] + g[i]) if nesterov else m * u[i] + g[i]
            v[i] += u[i] + g[i] if nesterov else u[i]
        chosen = sorted(range(N), key=lambda i: -abs(v[i]))[:k]
        sent.append([v[i] if i in chosen else 0.0 for i in range(N)])
        for i in chosen:
            v[i] = 0.0
            u[i] = 0.0 if masking else u[i]
    return sent, v, u


@pytest.mark.parametrize(("nesterov", "masking"), VARIANTS)
@pytest.mark.parametrize("density", [0.02, 0.2])
def test_momentum_correction_is_the_papers(density: float, nesterov: bool, masking: bool) -> None:
    feedback = tw.MomentumCorrection(0.9, nesterov, masking)
    sent, state = run(tw.Compressor(tw.Fixed(tw.TopK(density), below=0), feedback), gradients(50))
    expected, v, u = in_slow_motion(gradients(50), int(density * N), 0.9, nesterov, masking)
    for ours, theirs in zip(sent, expected, strict=True):
        assert torch.allclose(ours.view(-1), torch.tensor(theirs, dtype=torch.float64), rtol=1e-12, atol=1e-15)
    for key, theirs in (("residual/x", v), ("velocity/x", u)):
        assert torch.allclose(state[key].view(-1), torch.tensor(theirs, dtype=torch.float64), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("nesterov", "masking"), VARIANTS)
@pytest.mark.parametrize("row", UPDATES, ids=str)
def test_the_ledger_of_momentum_correction_balances_in_every_round(row: Row, nesterov: bool, masking: bool) -> None:
    m, worth = 0.75, 1 / (1 - 0.75)
    compressor = tw.Compressor(
        tw.Fixed(row.codec, small=row.codec), tw.MomentumCorrection(m, nesterov=nesterov, masking=masking)
    )
    state: State = {}
    zero = torch.zeros(48, 40, dtype=torch.float64)
    for round, g in enumerate(gradients(6, (48, 40)), 1):
        v, u = state.get("residual/x", zero), state.get("velocity/x", zero)
        message, state, _ = compressor.compress({"x": g}, state, tw.Signals(round=round))
        sent = tw.decode(tw.loads(tw.dumps(message), tw.specs({"x": g}))["x"])
        velocity = m * (u + g) if nesterov else m * u + g
        came, went = v + m * worth * u + worth * g, sent + state.get("residual/x", zero) + m * worth * velocity
        assert torch.allclose(went, came, rtol=1e-9, atol=1e-12)
        kept = state.get("velocity/x", zero)
        stopped = ~torch.isclose(kept, velocity, rtol=1e-9, atol=0)
        sparse = masking and message["x"].codec.nonzeros(message["x"]) is not None
        assert int(stopped.sum()) <= (message["x"].size if sparse else 0)
        assert not sparse or bool((kept[sent != 0] == 0).all())


@pytest.mark.parametrize("nesterov", [False, True])
def test_what_is_sent_in_full_is_the_momentum_of_torchs_own_optimizer(nesterov: bool) -> None:
    feedback = tw.MomentumCorrection(0.9, nesterov=nesterov)
    sent, state = run(tw.Compressor(tw.Fixed(tw.Raw()), feedback), gradients(20))
    weight = torch.nn.Parameter(torch.zeros(SHAPE, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.9, nesterov=nesterov)
    total = torch.zeros(SHAPE, dtype=torch.float64)
    for g, ours in zip(gradients(20), sent, strict=True):
        weight.grad = g
        optimizer.step()
        total += ours
        assert torch.allclose(total, -weight.detach(), rtol=1e-12, atol=1e-15)
    assert set(state) == {"velocity/x"}


@pytest.mark.parametrize("row", UPDATES, ids=str)
def test_without_momentum_it_is_error_feedback(row: Row) -> None:
    policy = tw.Fixed(row.codec, small=row.codec)
    plain, plain_state = run(tw.Compressor(policy), gradients(5))
    corrected, state = run(tw.Compressor(policy, tw.MomentumCorrection(0.0)), gradients(5))
    assert all(same_bits(a, b) for a, b in zip(plain, corrected, strict=True))
    assert {key: value for key, value in state.items() if not key.startswith("velocity/")}.keys() == plain_state.keys()


def test_every_element_is_sent_in_the_end_and_counts_its_momentum_once() -> None:
    """Sending 5 % a round for long enough after the last gradient leaves nothing behind, without masking."""
    quiet = [torch.zeros(SHAPE, dtype=torch.float64)] * 400
    feedback = tw.MomentumCorrection(0.9, masking=False)
    sent, _ = run(tw.Compressor(tw.Fixed(tw.TopK(0.05), below=0), feedback), gradients(10) + quiet)
    assert torch.allclose(sum(sent), sum(gradients(10)) * 10, rtol=1e-9, atol=1e-9)  # type: ignore[arg-type]


def test_nan_under_a_lossless_codec_arrives_and_is_forgotten() -> None:
    x = torch.tensor([[1.0, float("nan"), float("inf")]])
    compressor = tw.Compressor(tw.Fixed(tw.Raw()), tw.MomentumCorrection(0.5))
    message, state, _ = compressor.compress({"x": x}, {})
    assert same_bits(tw.decode(message["x"]), x)
    assert same_bits(state["velocity/x"], torch.tensor([[1.0, 0.0, 0.0]]))
    assert set(state) == {"velocity/x"}


def test_integers_and_lost_messages_leave_no_trace() -> None:
    compressor = tw.Compressor(tw.Fixed(tw.TopK(0.1)), tw.MomentumCorrection())
    tensors = {"x": suited("update", (40, 40)), "steps": torch.tensor(3)}
    _, state, _ = compressor.compress(tensors, {})
    assert set(state) == {"residual/x", "velocity/x"}
    first, again = (compressor.compress(tensors, state, tw.Signals(round=2))[0] for _ in range(2))
    assert tw.dumps(first) == tw.dumps(again)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_gradients_are_accumulated_wide(dtype: torch.dtype) -> None:
    draws = [torch.randn(40, 40, generator=generator(seed)).to(dtype) for seed in range(30)]
    feedback = tw.MomentumCorrection(0.9, masking=False)
    _, state = run(tw.Compressor(tw.Fixed(tw.TopK(0.1)), feedback), draws)
    velocity = torch.zeros(40, 40, dtype=torch.float64)
    for g in draws:
        velocity = 0.9 * velocity + g.double()
    assert state["velocity/x"].dtype == torch.float32
    assert torch.allclose(state["velocity/x"].double(), velocity, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_many_sums_are_those_of_each(dtype: torch.dtype, factor: float) -> None:
    xs = [suited("update", shape, dtype, seed) for seed, shape in enumerate([(), (0, 3), (7,), (40, 30), (5, 4, 3)])]
    xs[3] = xs[3].T
    working = Spec.of(xs[0]).working
    kept = [None if seed == 1 else suited("update", tuple(x.shape), working, 9 + seed) for seed, x in enumerate(xs)]
    outs = [torch.full(tuple(x.shape), 7.0, dtype=working) for x in xs]
    before = [x.clone() for x in xs]
    plus_each(xs, kept, factor, outs)
    assert all(same_bits(out, plus(x, old, factor)) for out, x, old in zip(outs, xs, kept, strict=True))
    assert all(map(same_bits, xs, before))
    plus_each(xs, [None] * len(xs), factor, outs)
    assert all(same_bits(out, x.to(working)) for out, x in zip(outs, xs, strict=True))
