"""The laws of exchanges, for every codec and 1 to 4 ranks, through real frames."""

from __future__ import annotations

import pytest
import torch
from exchanged_buckets import buckets, float64_mean, mean_contributed, near
from torch import Tensor

from thinwire import parse
from thinwire.codec import Codec, Spec, State
from thinwire.errors import NonFiniteError
from thinwire.exchange.choice import EXCHANGES, Name
from thinwire.exchange.simulate import Simulation, simulated
from thinwire.testing import INSTANCES
from thinwire.testing.tensors import same_bits, suited

CODECS = [row.codec for row in INSTANCES if row.domain == "update"]
WORLDS = (1, 2, 3, 4)
SLOW = {"rdoq", "smallest"}
FEW = ("rows", "zeros", "0-d", "empty", "bfloat16")
EVERYWHERE: tuple[tuple[Name, str], ...] = (
    ("gather", "Uniform(bits=4)"), ("gather", "TopK(0.05)"), ("gather", "RandomK(0.1, rescale=False)"),
    ("two-shot", "Uniform(bits=4)"), ("two-shot", "TopK(0.2, values=Uniform(bits=8))"), ("two-shot", "Sign()"),
    ("two-shot", "HggTopK(0.2)"), ("two-shot", "Step(nmse=0.1)"), ("sum", "RandomK(0.2, rescale=False)"),
)  # fmt: skip


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_ranks_agree_and_nothing_is_lost(codec: Codec) -> None:
    check_laws(codec, (1, 3), FEW)


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_ranks_agree_and_nothing_is_lost_of_any_tensor(codec: Codec) -> None:
    check_laws(codec, WORLDS, FEW if type(codec).id in SLOW else ())


def check_laws(codec: Codec, worlds: tuple[int, ...], names: tuple[str, ...]) -> None:
    for world in worlds:
        given = buckets(world, names)
        before = [{name: x.clone() for name, x in tensors.items()} for tensors in given]
        done = simulated(given, codec, seed=5)
        for name in given[0]:
            check_agreement(done, name, Spec.of(given[0][name]))
            check_contributions(done, name, given[0][name].dtype)
            if codec.lossless:
                check_exact(done, name, [tensors[name] for tensors in given])
        assert all(same_bits(x, old[n]) for new, old in zip(given, before, strict=True) for n, x in new.items())


def check_agreement(done: Simulation, name: str, spec: Spec) -> None:
    expected = Spec(spec.shape, spec.working)
    for averages in done.averages:
        assert Spec.of(averages[name].mean) == Spec.of(averages[name].contributed) == expected
        assert same_bits(averages[name].mean, done.averages[0][name].mean), name
        assert bool(torch.isfinite(averages[name].mean).all()), name


def check_contributions(done: Simulation, name: str, dtype: torch.dtype) -> None:
    """A sum of half precision rounds to it, as a dense all-reduce does; all others in the working dtype only."""
    mean = done.averages[0][name].mean
    largest = max((float(a[name].contributed.abs().max()) for a in done.averages if mean.numel()), default=0.0)
    rounded = dtype if done.choices[name].name == "sum" else mean.dtype
    assert near(mean, mean_contributed(done.averages, name), largest, 4, rounded), (name, done.choices[name])


def check_exact(done: Simulation, name: str, tensors: list[Tensor]) -> None:
    truth, largest = float64_mean(tensors), max((float(x.abs().max()) for x in tensors if x.numel()), default=0.0)
    rounded = tensors[0].dtype if len(tensors) > 1 else torch.float64
    assert near(done.averages[0][name].mean, truth, largest, 2, rounded), name


def repeated(name: Name, text: str, gradients: list[Tensor], steps: int) -> tuple[list[Tensor], Tensor]:
    """Return the running sums of the means, step by step of error feedback, and the mean residual in the end."""
    residuals = [torch.zeros_like(x) for x in gradients]
    histories: list[dict[str, State]] = [{} for _ in gradients]
    sums = [torch.zeros_like(gradients[0], dtype=torch.float64)]
    for step in range(steps):
        targets = [x + left for x, left in zip(gradients, residuals, strict=True)]
        done = simulated([{"x": x} for x in targets], parse(text), step, histories, name)
        residuals = [x - a["x"].contributed for x, a in zip(targets, done.averages, strict=True)]
        histories = [{"x": averages["x"].history} for averages in done.averages]
        sums.append(sums[-1] + done.averages[0]["x"].mean)
    return sums, float64_mean(residuals)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize(("name", "text"), [*EVERYWHERE, ("power", "LowRank(rank=3)")])
def test_error_feedback_sends_all_of_a_repeated_gradient(name: Name, text: str, world: int) -> None:
    gradients = [suited("update", (64, 20), seed=rank) for rank in range(world)]
    sums, residual = repeated(name, text, gradients, 50)
    truth = float64_mean(gradients)
    early, late = (float((sums[n] / n - truth).norm() / truth.norm()) for n in (12, 50))
    assert late < 0.5
    assert late < 0.7 * early
    assert torch.allclose(sums[50] + residual, truth * 50, atol=1e-4)


@pytest.mark.parametrize(("name", "text"), EVERYWHERE)
def test_a_history_of_another_world_or_exchange_is_legal(name: Name, text: str) -> None:
    many = buckets(4, FEW)
    for other in EXCHANGES:
        if other in ("gather", "two-shot"):
            past = simulated(many, parse(text), exchange=other).averages
            histories = [{key: average.history for key, average in averages.items()} for averages in past]
            done = simulated(many[:3], parse(text), histories=histories[:3], exchange=name)
            for key in many[0]:
                check_agreement(done, key, Spec.of(many[0][key]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(("name", "text"), [*EVERYWHERE, ("power", "LowRank(rank=2)")])
def test_what_is_not_finite_is_refused_by_name_before_anything_is_sent(name: Name, text: str, bad: float) -> None:
    given = [{"fine": torch.ones(40, 40), "layer.weight": torch.ones(40, 40)} for _ in range(2)]
    given[1]["layer.weight"][3, 3] = bad
    with pytest.raises(NonFiniteError, match=r"^layer\.weight: "):
        simulated(given, parse(text), exchange=name)


def test_lossless_codecs_carry_nan_as_a_dense_all_reduce_does() -> None:
    for text in ("Raw()", "Planes()"):
        given = [{"x": torch.tensor([1.0, float("nan"), float("inf")])} for _ in range(3)]
        mean = simulated(given, parse(text)).averages[0]["x"].mean
        assert same_bits(mean.isfinite(), torch.tensor([True, False, False]))
