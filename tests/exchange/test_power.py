"""PowerSGD: a basis from sums of thin factors, warm from the last call."""

from __future__ import annotations

import pytest
import torch
from exchanged_buckets import float64_mean
from torch import Tensor

from thinwire import parse
from thinwire.codec import Codec, Spec, State, generator
from thinwire.errors import WireError
from thinwire.exchange.drive import SumAll, driven
from thinwire.exchange.power import power
from thinwire.exchange.product import Product
from thinwire.exchange.requests import Place
from thinwire.exchange.simulate import Simulation, simulated
from thinwire.kernels.linalg import orthonormal, orthonormal_rows
from thinwire.testing.tensors import suited

RANK2 = parse("LowRank(rank=2)")


def of_rank(rank: int, m: int, n: int) -> Tensor:
    left, right = (torch.randn(side, rank, generator=generator(side), dtype=torch.float64) for side in (m, n))
    return (left @ right.T).float()


def stepped(tensors: list[Tensor], codec: Codec, steps: int, past: State | None = None) -> Simulation:
    history = past or {}
    for step in range(steps):
        done = simulated([{"x": x} for x in tensors], codec, step, [{"x": history}] * len(tensors))
        assert done.choices["x"].name == "power"
        history = done.averages[0]["x"].history
    return done


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("shape", [(40, 30), (30, 70), (8, 4, 5)])
def test_a_matrix_of_the_rank_is_exact_after_two_steps(world: int, shape: tuple[int, ...]) -> None:
    x = of_rank(2, shape[0], torch.Size(shape[1:]).numel()).reshape(shape)
    for scale in (1.0, 1e-25, 1e25):
        mean = stepped([x * scale] * world, RANK2, 2).averages[0]["x"].mean
        assert float((mean - x * scale).double().norm()) <= 1e-5 * float((x * scale).double().norm())


def test_zeros_give_zeros_and_never_nan_and_do_not_haunt_the_next_step() -> None:
    zeros, x = torch.zeros(40, 30), of_rank(2, 40, 30)
    done = stepped([zeros] * 3, RANK2, 2)
    past = done.averages[0]["x"].history
    assert all(not averages["x"].mean.any() and not averages["x"].contributed.any() for averages in done.averages)
    mean = stepped([x, zeros, x], RANK2, 2, past).averages[0]["x"].mean
    assert torch.allclose(mean, x * 2 / 3, atol=1e-4)


def test_warm_starts_come_near_the_best_matrix_of_the_rank() -> None:
    tensors = [suited("update", (60, 40), seed=rank) for rank in range(3)]
    truth = float64_mean(tensors)
    best = float(torch.linalg.svdvals(truth)[4:].norm())
    errors = [
        float((stepped(tensors, parse("LowRank(rank=4)"), n).averages[0]["x"].mean - truth).norm()) for n in (1, 20)
    ]
    assert best <= errors[1] <= 1.02 * best
    assert errors[1] < errors[0]


def test_ratio_and_half_precision() -> None:
    tensors = [suited("update", (40, 32), torch.bfloat16, seed) for seed in range(2)]
    done = stepped(tensors, parse("LowRank(ratio=0.1)"), 1)
    assert done.averages[0]["x"].mean.dtype == torch.float32
    assert done.averages[0]["x"].history["right"].shape == (32, 4)


@pytest.mark.parametrize("past", [torch.full((30, 2), float("nan")), torch.zeros(30, 3), torch.zeros(30, 2)])
def test_a_past_that_does_not_fit_is_ignored(past: Tensor) -> None:
    x = of_rank(2, 40, 30)
    assert torch.allclose(stepped([x, x], RANK2, 1, {"right": past}).averages[0]["x"].mean, x, atol=1e-3)


def test_a_sum_that_is_not_finite_is_refused() -> None:
    driving = driven({"w": power(RANK2, torch.ones(40, 30), Place(0, 2), 1, {})}, 2)
    operation = next(driving)
    assert isinstance(operation, SumAll)
    again = driving.send([operation.flats[0] * float("inf")])
    assert isinstance(again, SumAll)
    with pytest.raises(WireError, match=r"^w: a sum over ranks is not finite"):
        driving.send([again.flats[0] * float("inf")])


def matrix(m: int, k: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(m, k, generator=generator(m + k), dtype=torch.float64).to(dtype)


def dependent(share: float) -> Tensor:
    """Return columns that differ by a share of themselves."""
    y = matrix(50, 3, torch.float64)
    return y[:, :1] + share * y


@pytest.mark.parametrize(
    "y",
    [
        *(matrix(m, k) for m, k in [(40, 1), (40, 2), (7, 3), (40, 4), (40, 9), (1, 1), (2, 2)]),
        *(matrix(40, 2, torch.float64) * scale for scale in (1e-300, 1e-160, 1e160, 1e300)),
        *(matrix(40, 2) * scale for scale in (1e-40, 1e38)), matrix(2, 40).T,
        *(dependent(10.0**-digits).to(dtype) for digits in range(2, 16, 2) for dtype in (torch.float32, torch.float64)),
        torch.zeros(6, 2), torch.ones(6, 2), torch.eye(6, 2), torch.eye(6, 3)[:, [0, 0, 2]],
    ],
)  # fmt: skip
def test_an_orthonormal_basis_of_few_columns_is_as_good_as_that_of_a_qr_decomposition(y: Tensor) -> None:
    rows, wide = orthonormal_rows(y), y.double()
    assert rows.dtype == y.dtype
    assert rows.is_contiguous()
    rows = rows.double()
    exact = 1e-6 if y.dtype == torch.float32 else 1e-7
    assert torch.allclose(rows @ rows.T, torch.eye(len(rows), dtype=torch.float64), atol=exact)
    unit = float(wide.abs().max()) or 1.0
    left, truth = ((wide / unit - b.T @ (b @ (wide / unit))).norm() for b in (rows, orthonormal(wide).T))
    assert float(left) <= float(truth) + exact * float((wide / unit).norm())


@pytest.mark.parametrize("shape", [(8, 6), (6, 2, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_is_written_and_subtracted_as_its_dense_form(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    right = torch.Size(shape[1:]).numel()
    product = Product(Spec(shape, dtype), matrix(shape[0], 2, dtype).T, matrix(right, 2, dtype).T.contiguous())
    dense, x = product.dense(), matrix(48, 1, dtype).view(shape)
    assert torch.allclose(dense.view(shape[0], right), product.left.T @ product.right)
    assert torch.equal(product.encoded().decoded(), dense)
    out = torch.full(shape, float("nan"), dtype=dtype)
    product.write(out, 4.0)
    assert torch.equal(out, dense * 4.0)
    target = x.clone()
    product.subtract_from(target)
    assert torch.allclose(target, x - dense)
    assert not product.fits(out.transpose(0, 1))
    assert not product.fits(out.half())


def test_a_past_stays_as_it_was() -> None:
    x = of_rank(2, 40, 30).double()
    past = {"right": matrix(30, 2, torch.float64)}
    kept = past["right"].clone()
    stepped([x, x], RANK2, 1, past)
    assert torch.equal(past["right"], kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_mean_is_written_into_any_tensor_of_its_shape(dtype: torch.dtype) -> None:
    average = stepped([suited("update", (40, 30), seed=rank) for rank in range(2)], RANK2, 1).averages[0]["x"]
    for out in (torch.empty(40, 30, dtype=dtype), torch.empty(30, 40, dtype=dtype).T):
        average.write(out, 0.5)
        assert torch.equal(out, (average.mean * 0.5).to(dtype))


def test_a_block_that_the_past_had_nothing_in_enters() -> None:
    first, both = torch.zeros(40, 30), torch.zeros(40, 30)
    first[:20, :15] = both[:20, :15] = of_rank(1, 20, 15)
    both[20:, 15:] = of_rank(1, 20, 15)
    past = stepped([first, first], RANK2, 3).averages[0]["x"].history
    mean = stepped([both, both], RANK2, 2, past).averages[0]["x"].mean
    assert torch.allclose(mean, both, atol=1e-3)
