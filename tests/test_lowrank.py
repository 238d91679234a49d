"""Laws of `LowRank`: near the optimal error, bounded when asked, exact on every machine, deaf to hostile parts."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import thinwire as tw
from thinwire.codec import decode, encode, encode_with_history, generator
from thinwire.codecs.lowrank import LowRank
from thinwire.errors import WireError
from thinwire.kernels.distortion import nmse

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are faster on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def decaying(m: int, n: int, rate: float = 0.7, seed: int = 0) -> torch.Tensor:
    """A matrix whose i-th singular value is rate**i: as steep as a model update's."""
    k = min(m, n)
    u, v = (torch.linalg.qr(noise(side, k, seed=seed + i))[0] for i, side in enumerate((m, n)))
    return ((u * rate ** torch.arange(k)) @ v.T).float()


def cut_off(x: torch.Tensor, rank: int) -> float:
    """The least NMSE of any matrix of this rank (Eckart and Young 1936)."""
    energies = torch.linalg.svdvals(x.double().reshape(len(x), -1)).square()
    return float(energies[rank:].sum() / energies.sum())


@pytest.mark.parametrize("method", ["auto", "svd", "range"])
@pytest.mark.parametrize("shape", [(96, 64), (31, 127), (200, 300), (24, 16, 3, 3)])
def test_the_error_is_the_optimal_truncation_error_within_a_few_percent(shape: tuple[int, ...], method: str) -> None:
    x = decaying(shape[0], math.prod(shape[1:])).reshape(shape)
    for rank in (1, 3, 6):
        error = nmse(x, decode(encode(LowRank(rank=rank, method=method), x, seed=3)))
        assert cut_off(x, rank) <= error <= 1.03 * cut_off(x, rank) + 1e-4


def test_more_bits_mean_less_error() -> None:
    x = noise(40, 5) @ noise(5, 60, seed=1)
    errors = [nmse(x, decode(encode(LowRank(rank=5, bits=bits), x))) for bits in (2, 3, 4, 6, 8, 10, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 70),
    st.integers(2, 70),
    st.floats(0.2, 1.0),
    st.sampled_from([0.5, 0.1, 0.03, 1e-2, 1e-3, 1e-5]),
    st.sampled_from(DTYPES),
    st.integers(0, 2**32 - 1),
)
def test_an_error_bound_is_never_exceeded(
    m: int, n: int, rate: float, bound: float, dtype: torch.dtype, seed: int
) -> None:
    x = (decaying(m, n, rate, seed % 1000) * 10.0 ** (seed % 5 - 2)).to(dtype)
    encoded = encode(LowRank(nmse=bound), x, seed=seed)
    assert nmse(x, decode(encoded)) <= bound
    assert encoded.payload_bytes <= x.numel() * x.element_size()


@pytest.mark.parametrize("bound", [0.3, 0.1, 0.01, 0.001])
def test_a_bound_costs_no_more_than_any_other_rank_within_it(bound: float) -> None:
    x = decaying(80, 64, 0.8)
    found = encode(LowRank(nmse=bound), x)
    assert isinstance(found.codec, LowRank)
    rivals = [encode(LowRank(rank=r, bits=b), x) for r in range(1, 32, 2) for b in (3, 4, 5, 6, 7, 8)]
    within = [e.payload_bytes for e in rivals if nmse(x, decode(e)) <= bound]
    assert found.payload_bytes <= 1.03 * min(within)
    assert nmse(x, decode(found)) >= 0.9 * bound


def test_a_bound_holds_where_components_come_from_a_sketch() -> None:
    x = decaying(600, 530, 0.9)
    encoded = encode(LowRank(nmse=0.05), x, seed=5)
    assert isinstance(encoded.codec, LowRank)
    assert nmse(x, decode(encoded)) <= 0.05
    assert encoded.payload_bytes < encode(tw.Step(nmse=0.05), x).payload_bytes


def test_a_matrix_without_low_rank_goes_to_step_under_a_bound_and_raw_under_a_rank() -> None:
    x = noise(64, 64).float()
    assert encode(LowRank(nmse=0.01), x).codec.id == "step"
    assert encode(LowRank(nmse=1e-30), x).codec.lossless
    assert encode(LowRank(nmse=0.0), x).codec.lossless
    assert encode(LowRank(rank=64, bits=12), x.half()).codec == tw.Raw()


@pytest.mark.parametrize("shape", [(), (7,), (0, 5), (5, 0, 3)])
@pytest.mark.parametrize("codec", [LowRank(rank=2), LowRank(ratio=0.5), LowRank(nmse=0.1)])
def test_what_is_no_matrix_still_arrives(shape: tuple[int, ...], codec: LowRank) -> None:
    x = noise(*shape).float()
    y = decode(encode(codec, x))
    assert y.shape == x.shape
    assert nmse(x, y) <= 0.1


def test_the_ratio_is_of_the_smaller_side_and_rounds_up() -> None:
    def rank(ratio: float, m: int, n: int) -> int:
        fitted = LowRank(ratio=ratio).fit(torch.ones(m, n), 0)
        assert isinstance(fitted, LowRank)
        assert fitted.rank is not None
        return fitted.rank

    assert [rank(0.05, 100, 300), rank(0.051, 300, 100), rank(0.001, 100, 300)] == [5, 6, 1]
    assert rank(0.07, 100, 300) == 7
    assert encode(LowRank(rank=99), decaying(8, 90)).size == 8


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("codec", [LowRank(rank=3), LowRank(nmse=0.01), LowRank(rank=2, method="range")])
def test_zeros_decode_to_zeros(codec: LowRank, dtype: torch.dtype) -> None:
    x = torch.zeros(40, 50, dtype=dtype)
    encoded = encode(codec, x)
    assert torch.equal(decode(encoded), x)
    assert encoded.payload_bytes < 16


@pytest.mark.parametrize("scale", [1e-300, 1e-37, 1e-3, 1e30, 1e300])
@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (37, 41)])
def test_rank_one_matrices_of_any_magnitude(shape: tuple[int, int], scale: float) -> None:
    x = torch.outer(noise(shape[0]), noise(shape[1], seed=1)) * scale
    for codec in (LowRank(rank=1), LowRank(rank=min(shape), method="svd"), LowRank(nmse=0.01)):
        assert nmse(x / scale, decode(encode(codec, x)) / scale) <= 0.01


def test_constants_and_strided_views() -> None:
    constant = torch.full((30, 40), 0.125)
    assert nmse(constant, decode(encode(LowRank(rank=1), constant))) < 1e-6
    x = decaying(60, 80)
    for view in (x.T, x[::2, 1::3], x.reshape(60, 4, 20).transpose(1, 2)):
        before = view.clone()
        assert torch.equal(decode(encode(LowRank(rank=4), view)), decode(encode(LowRank(rank=4), view.contiguous())))
        assert torch.equal(view, before)


def test_decoding_saturates_and_stays_finite() -> None:
    x = decaying(40, 40).half()
    x = x / x.abs().max() * 65504
    assert bool(torch.isfinite(decode(encode(LowRank(rank=1, bits=2), x))).all())


def by_hand(parts: dict[str, torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """The decoder in Python integers."""
    left, right = (np.array(parts[name].tolist(), dtype=object) for name in ("left", "right"))
    product = (left @ right.T).astype(np.float64) * float(parts["scale"])
    return torch.from_numpy(product).to(torch.float64 if dtype == torch.float64 else torch.float32).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_decoding_equals_integer_arithmetic_whatever_the_threads(dtype: torch.dtype) -> None:
    x = decaying(130, 170, 0.98).to(dtype)
    codec = LowRank(rank=60, bits=12)
    parts, _ = codec.to_parts(x, 0, {})
    decoded = []
    for count in (1, 2):
        torch.set_num_threads(count)
        decoded.append(codec.from_parts(parts, tw.Spec.of(x), 0))
    assert torch.equal(decoded[0], decoded[1])
    assert torch.equal(decoded[0], by_hand(parts, dtype))


def test_the_largest_products_are_exact() -> None:
    spec = tw.Spec((64, 64), torch.float64)
    parts = {name: torch.full((64, 64), 2047, dtype=torch.int32) for name in ("left", "right")}
    parts["right"][0, 0] = 2046
    parts["scale"] = torch.ones(1, dtype=torch.float64)
    decoded = LowRank(rank=64).from_parts(parts, spec, 0)
    assert torch.equal(decoded, by_hand(parts, torch.float64))
    assert int(decoded[0, 1] - decoded[0, 0]) == 2047


def test_frames_carry_it_and_any_codec_may_code_the_factors() -> None:
    x = {"w": decaying(60, 80).reshape(60, 8, 10)}
    for codec in (LowRank(rank=4), LowRank(nmse=0.01), tw.parse("LowRank(rank=4, left=Huffman(), right=Raw())")):
        sent = encode(codec, x["w"])
        received = tw.loads(tw.dumps({"w": sent}), expect=tw.specs(x))["w"]
        assert torch.equal(decode(received), decode(sent))
        assert tw.parse(repr(codec)) == codec


def test_a_warm_start_follows_a_drifting_subspace_and_survives_zeros() -> None:
    codec, history = LowRank(rank=4, method="range"), {}
    for step in range(5):
        x = decaying(90, 120, 0.8) + 0.1 * step * decaying(90, 120, 0.8, seed=9)
        encoded, history = encode_with_history(codec, x if step != 2 else torch.zeros_like(x), step, history)
    assert history["right"].shape[0] == 120
    assert nmse(x, decode(encoded)) <= 1.03 * cut_off(x, 4) + 1e-4
    _, none = encode_with_history(LowRank(rank=4), x, 0, {})
    assert none == {}


def test_a_warm_start_sees_what_the_past_had_nothing_of() -> None:
    before, after = torch.zeros(90, 120), torch.zeros(90, 120)
    before[:40, :50] = decaying(40, 50, 0.9)
    after[40:, 50:] = 10 * decaying(50, 70, 0.5)
    codec = LowRank(rank=4, method="range")
    _, history = encode_with_history(codec, before, 0, {})
    x = before + after
    encoded, _ = encode_with_history(codec, x, 1, history)
    assert nmse(x, decode(encoded)) <= 1.1 * cut_off(x, 4)


def test_an_encoder_that_does_not_converge_takes_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    x = decaying(40, 50)
    expected = encode(LowRank(nmse=0.01), x).payload_bytes

    def fails(matrix: torch.Tensor) -> None:
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(torch.linalg, "eigh", fails)
    monkeypatch.setattr(torch.linalg, "eigvalsh", fails)
    encoded = encode(LowRank(nmse=0.01), x)
    assert nmse(x, decode(encoded)) <= 0.01
    assert encoded.payload_bytes == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("part", "value"),
    [("scale", -1.0), ("scale", math.nan), ("scale", math.inf), ("left", 2048), ("right", -(2**31)), ("left", -2048)],
)
def test_hostile_parts_are_refused(part: str, value: float) -> None:
    x = decaying(20, 30)
    parts, _ = LowRank(rank=2).to_parts(x, 0, {})
    parts[part] = parts[part].clone()
    parts[part].view(-1)[0] = value
    with pytest.raises(WireError, match="lowrank"):
        LowRank(rank=2).from_parts(parts, tw.Spec.of(x), 0)


@pytest.mark.parametrize("size", [-1, 0, 21, 2**40])
def test_hostile_ranks_and_schemas_are_refused(size: int) -> None:
    with pytest.raises(WireError):
        LowRank(rank=2).layout(tw.Spec((20, 30), torch.float32), size)
    for shape, dtype in (((20,), torch.float32), ((), torch.float32), ((0, 4), torch.float32), ((20, 30), torch.int64)):
        with pytest.raises(WireError):
            LowRank(rank=2).layout(tw.Spec(shape, dtype), 1)


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=1, max_size=64), st.integers(0, 2**32 - 1))
def test_damaged_streams_decode_or_are_refused(damage: bytes, seed: int) -> None:
    encoded = encode(LowRank(rank=3), decaying(20, 30, seed=seed % 50))
    stream = next(iter(encoded.leaves()))
    at = seed % stream.numel()
    hit = torch.frombuffer(bytearray(damage), dtype=torch.uint8)[: stream.numel() - at]
    stream[at : at + hit.numel()] = hit
    with contextlib.suppress(WireError):
        assert bool(torch.isfinite(decode(encoded)).all())


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 0}, {"rank": True}, {"rank": 2.5}, {"ratio": 0.0}, {"ratio": 1.5}, {"nmse": 1.0}, {"nmse": -0.1},
        {"rank": 2, "ratio": 0.1}, {"rank": 2, "bits": 1}, {"rank": 2, "bits": 13}, {"rank": 2, "bits": math.nan},
        {"rank": 2, "method": "qr"}, {"nmse": 0.1, "bits": 8}, {"nmse": 0.1, "method": "range"},
    ],
)  # fmt: skip
def test_wrong_fields_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        LowRank(**wrong)  # type: ignore[arg-type]


def test_a_policy_may_set_the_bound() -> None:
    x = {"w": decaying(64, 64)}
    policy = tw.ErrorBound(nmse=0.05, codec=LowRank())
    message, _, report = tw.Compressor(policy).compress(x, {})
    assert message["w"].codec.id == "lowrank"
    assert report.nmse <= 0.05
