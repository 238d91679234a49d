"""AdaComp against a plain loop of its paper, and what it remembers against the residual that feedback keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from thinwire import AdaComp, Compressor, Fixed, Signals, parse
from thinwire.codec import State, decode, encode, generator

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def gradient(step: int, n: int) -> Tensor:
    quiet = torch.arange(n) % 1000 < 300  # some bins are zeros at first
    return torch.randn(n, generator=generator(step), dtype=torch.float64) ** 3 * (quiet if step < 2 else 1.0)


def paper(residue: list[float], newest: list[float], bin: int) -> list[int]:
    """Chen et al. 2018, section 2: one list at a time."""
    g = [r + d for r, d in zip(residue, newest, strict=True)]
    h = [a + d for a, d in zip(g, newest, strict=True)]
    packed = []
    for start in range(0, len(g), bin):
        places = range(start, min(start + bin, len(g)))
        most = max(abs(g[i]) for i in places)
        packed += [i for i in places if abs(h[i]) >= most > 0]
    return packed


@pytest.mark.parametrize("bin", [1, 50, 333, 500, 5000])
def test_it_is_what_the_paper_packs(bin: int) -> None:
    n = 3001
    codec, residual = AdaComp(bin), torch.zeros(n, dtype=torch.float64)
    history: State = {}
    for step in range(8):
        newest = (gradient(step, n) * 1024).round()  # exact sums, so that both ways add up to the same floats
        expected = paper(residual.tolist(), newest.tolist(), bin)
        direct, nothing = codec.accumulate(residual.clone(), newest, 0, {})
        residual += newest
        selected, history = codec.select(residual, 0, history)
        assert selected.tolist() == direct.tolist() == expected
        assert not nothing
        residual[selected] = 0
        assert torch.equal(history["unsent"], residual)


def test_many_bins_and_more_than_one_part() -> None:
    n = 200_123
    residue, newest = gradient(5, n).round(), gradient(6, n).round()
    selected, _ = AdaComp(500).select(residue + newest, 0, {"unsent": residue})
    assert selected.tolist() == paper(residue.tolist(), newest.tolist(), 500)


def test_a_first_call_sends_something_of_every_bin_that_is_not_zero() -> None:
    x = gradient(0, 100_000)
    sent = decode(encode(AdaComp(100), x)).view(-1, 100).count_nonzero(1)
    assert torch.equal(sent > 0, x.view(-1, 100).count_nonzero(1) > 0)
    assert bool((decode(encode(AdaComp(100), torch.full((5000,), 0.5))) == 0.5).all())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("values", ["Raw()", "Sign()", "Uniform(bits=8)", "Uniform(bits=4, rounding='stochastic')"])
def test_it_remembers_what_feedback_keeps(values: str, dtype: torch.dtype) -> None:
    compressor = Compressor(Fixed(parse(f"AdaComp(50, values={values})")))
    state: State = {}
    for round_ in range(1, 6):
        x = gradient(round_, 6000).to(dtype).reshape(60, 100)
        _, state, _ = compressor.compress({"w": x}, state, Signals(round=round_), seed=3)
        kept, remembered = state["residual/w"].view(-1), state["history/w/unsent"]
        assert remembered.dtype == dtype
        rounding = 4 * torch.finfo(dtype).eps * float(x.abs().max() + kept.abs().max())
        assert float((kept - remembered).abs().max()) <= (rounding if dtype.itemsize == 2 else 0)


@pytest.mark.parametrize(
    "unsent", [torch.zeros(3), torch.zeros(40, 50), torch.full((2000,), torch.nan), torch.arange(2000), torch.zeros(0)]
)
def test_a_history_that_is_wrong_is_never_invalid(unsent: Tensor) -> None:
    x = gradient(3, 2000).float()
    encoded = encode(AdaComp(50), x, history={"unsent": unsent})
    sent = decode(encoded)
    assert bool(((sent == x) | (sent == 0)).all())
