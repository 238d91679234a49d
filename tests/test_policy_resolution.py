"""Finer and coarser by a factor, whatever the field: as far as asked, back again, and never beyond the limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import thinwire as tw
from thinwire.policy.resolution import (
    LEAST_NMSE,
    MOST_NMSE,
    coarser,
    coarser_by,
    finer,
    resolution_bits,
    resolution_field,
    smooth_field,
)

SMOOTH = ("Step(step=0.1)", "Rdoq(step=0.1)", "LowRank(nmse=0.01)")
OTHERS = ("Raw()", "TopK(0.1)", "Qsgd(levels=4)", "Uniform(bits=4)", "Eden(bits=3)", "Step(nmse=0.1)", "Rdoq(nmse=0.1)")
FACTORS = st.floats(0.2, 5.0)


@pytest.mark.parametrize("text", SMOOTH)
@given(FACTORS)
def test_a_factor_is_found_again(text: str, factor: float) -> None:
    codec = tw.parse(text)
    assert coarser_by(codec, coarser(codec, factor)) == pytest.approx(factor)
    assert coarser_by(codec, finer(codec, factor)) == pytest.approx(1 / factor)
    assert resolution_bits(codec) - resolution_bits(coarser(codec, factor)) == pytest.approx(math.log2(factor))


@pytest.mark.parametrize("text", SMOOTH)
@given(FACTORS)
def test_values_are_the_plain_products(text: str, factor: float) -> None:
    codec = tw.parse(text)
    field = resolution_field(codec)
    power = 2 if field == "nmse" else 1
    expected = getattr(codec, field) * factor**power
    assert getattr(coarser(codec, factor), field) == pytest.approx(expected)
    assert getattr(finer(codec, 1 / factor), field) == pytest.approx(expected)


@pytest.mark.parametrize("text", OTHERS)
def test_what_a_search_does_not_vary_stays(text: str) -> None:
    codec = tw.parse(text)
    assert smooth_field(codec) is None
    assert coarser(codec, 3.0) is codec
    assert coarser_by(codec, codec) is None


def test_one_codec_says_nothing_of_another_kind() -> None:
    assert coarser_by(tw.Rdoq(step=0.1), tw.Rdoq(nmse=0.1)) is None


@given(st.floats(1e-12, 0.999), st.floats(1e-6, 1e6))
def test_errors_stay_between_the_limits_or_where_they_were(nmse: float, factor: float) -> None:
    codec = tw.LowRank(nmse=nmse)
    found = finer(codec, factor)
    assert min(nmse, LEAST_NMSE) <= found.nmse <= max(nmse, MOST_NMSE)
    assert factor == 1 or (found.nmse <= nmse) == (factor > 1) or found.nmse == nmse
    if not LEAST_NMSE < found.nmse < MOST_NMSE:
        assert coarser_by(codec, found) is None


@pytest.mark.parametrize("text", ["Qsgd(levels=4)", "Uniform(bits=4)", "Eden(bits=3)", "Step(relative=0.1)"])
def test_every_other_field_takes_powers_of_two(text: str) -> None:
    codec = tw.parse(text)
    assert resolution_bits(finer(codec, 2.0)) - resolution_bits(codec) == pytest.approx(1.0)
    assert resolution_bits(codec) - resolution_bits(finer(codec, 0.5)) == pytest.approx(1.0)
