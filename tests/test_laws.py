"""docs/laws.md, held to its word: degenerate tensors, error bounds and error feedback."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import thinwire as tw
from thinwire.codec import Codec, Spec
from thinwire.testing import INSTANCES, Row, degenerate, same_bits, suited
from thinwire.testing.strategies import FLOATS, finite, kind

LAWS = Path(__file__).parents[1] / "docs" / "laws.md"
UPDATES = [row for row in INSTANCES if row.domain == "update"]


BOUNDED = [("Step", ""), ("Step", ", dead_zone=1.0"), ("Uniform", ""), ("LowRank", ""), ("Smallest", "")]


def documented() -> dict[str, dict[str, str]]:
    """Return codec class name -> tensor name -> outcome, as the table says."""
    lines = LAWS.read_text().split("## Degenerate tensors")[1].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {name: {row[0]: row[i] for row in rows} for i, cell in enumerate(head[1:], 1) for name in cell.split(", ")}


@pytest.mark.parametrize("row", UPDATES, ids=str)
def test_degenerate_tensors_do_what_the_table_says(row: Row) -> None:
    outcomes = documented()[type(row.codec).__name__]
    tensors = degenerate()
    assert set(outcomes) == set(tensors)
    for name, x in tensors.items():
        if outcomes[name] == "!":
            with pytest.raises(tw.NonFiniteError, match="NaN"):
                tw.encode(row.codec, x)
            continue
        decoded = tw.decode(tw.loads(tw.dumps({"x": tw.encode(row.codec, x)}), {"x": Spec.of(x)})["x"])
        assert Spec.of(decoded) == Spec.of(x), name
        assert same_bits(decoded, x) if outcomes[name] == "=" else bool(torch.isfinite(decoded).all()), name


@pytest.mark.parametrize("text", ["Symbols()", "Huffman()", "Indices()"])
def test_codecs_of_integers_refuse_floats(text: str) -> None:
    with pytest.raises(ValueError, match="takes"):
        tw.encode(tw.parse(text), torch.ones(8))


def error_energy(x: Tensor, y: Tensor) -> float:
    """NMSE computed apart from the library: scaled first, so that no square over- or underflows."""
    largest = float(x.abs().max()) if x.numel() else 0.0
    if largest == 0.0:
        return 0.0 if not bool(y.any()) else math.inf
    a, b = x.double() / largest, y.double() / largest
    return float((a - b).square().sum()) / float(a.square().sum())


def through_bytes(codec: Codec, x: Tensor) -> Tensor:
    return tw.decode(tw.loads(tw.dumps({"x": tw.encode(codec, x)}), {"x": Spec.of(x)})["x"])


@given(finite(), st.floats(-45, 30))
def test_an_absolute_bound_is_never_exceeded(x: Tensor, exponent: float) -> None:
    bound = 10.0**exponent
    error = (through_bytes(tw.Step(absolute=bound), x).double() - x.double()).abs()
    assert bool((error <= bound).all())


@given(finite(), st.floats(-7, 1))
def test_a_relative_bound_is_never_exceeded(x: Tensor, exponent: float) -> None:
    bound = 10.0**exponent
    largest = float(x.abs().max()) if x.numel() else 0.0
    scaled = x.double() / (largest or 1.0)
    rms = math.sqrt(float(scaled.square().mean())) if x.numel() else 0.0
    error = (through_bytes(tw.Step(relative=bound), x).double() / (largest or 1.0) - scaled).abs()
    assert bool((error <= bound * rms * (1 + 1e-12)).all())


@pytest.mark.parametrize("text", [f"{name}(nmse={{}}{rest})" for name, rest in BOUNDED])
@given(x=finite(), exponent=st.floats(-13, -0.05))
def test_an_nmse_is_never_exceeded(text: str, x: Tensor, exponent: float) -> None:
    bound = 10.0**exponent
    assert error_energy(x, through_bytes(tw.parse(text.format(bound)), x)) <= bound * (1 + 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("bound", [1e-3, 1e-4, 1e-5])
def test_an_absolute_bound_holds_over_ten_million_values(bound: float) -> None:
    x = torch.randn(10_000_000, generator=torch.Generator().manual_seed(1))
    assert bool(((through_bytes(tw.Step(absolute=bound), x).double() - x.double()).abs() <= bound).all())


def ulp(*tensors: Tensor) -> Tensor:
    """One unit in the last place of the largest of some magnitudes, in the working dtype, as float64."""
    largest = torch.stack([t.abs() for t in tensors]).amax(0)
    return torch.nextafter(largest, torch.full_like(largest, math.inf)).double() - largest.double()


@pytest.mark.parametrize("row", UPDATES, ids=str)
def test_target_is_sent_plus_residual_in_every_round(row: Row) -> None:
    for dtype in FLOATS:
        for name in ("normal", "ties", "outlier", "magnitudes", "sparse"):
            x = kind(name, (37, 40), dtype, seed=5)
            target = x.to(Spec.of(x).working)
            sent = tw.encode(row.codec, x, seed=3)
            residual, decoded = target.clone(), tw.decode(sent).to(target.dtype)
            sent.codec.subtract_(residual, sent)
            off = (target.double() - decoded.double() - residual.double()).abs()
            assert bool((off <= ulp(target, decoded)).all()), (dtype, name)


@pytest.mark.parametrize("row", UPDATES, ids=str)
def test_feedback_telescopes_over_twenty_rounds(row: Row) -> None:
    compressor = tw.Compressor(tw.Fixed(row.codec, small=row.codec))
    for dtype in (torch.float32, torch.bfloat16):
        state: dict[str, Tensor] = {}
        given_sum = sent_sum = allowed = torch.zeros(24, 20, dtype=torch.float64)
        for round in range(1, 21):
            x = suited("update", (24, 20), dtype, seed=round)
            before = state.get("residual/x", torch.zeros(24, 20))
            message, state, _ = compressor.compress({"x": x}, state, tw.Signals(round=round))
            sent = compressor.decompress(message)["x"].float()
            given_sum, sent_sum = given_sum + x.double(), sent_sum + sent.double()
            allowed = allowed + 2 * ulp(x.float() + before, sent)
        off = (given_sum - sent_sum - state.get("residual/x", torch.zeros(24, 20)).double()).abs()
        assert bool((off <= allowed + 1e-15).all()), dtype
