"""Limits are the same on both sides: what is written is read, and what is not says why."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import thinwire as tw
from thinwire import wire
from thinwire.codec import Spec
from thinwire.wire import DEFAULT_LIMITS, Limits

PAIR = Spec((2,), torch.float32)


def frame(names: list[str], spec: Spec, limits: Limits | None = None, schema: bool = True) -> bytes:
    encoded = tw.encode(tw.Raw(), torch.zeros(spec.shape, dtype=spec.dtype))
    return wire.dumps(dict.fromkeys(names, encoded), schema, limits)


@pytest.mark.parametrize(
    ("name", "spec", "words"),
    [
        ("n" * 1025, PAIR, "a name of 1025 bytes"),
        ("é" * 513, PAIR, "a name of 1026 bytes"),
        ("a\ud800", PAIR, "surrogate"),
        ("x", Spec((1,) * 9, torch.float32), "9 dimensions"),
        ("x", Spec((2,), torch.complex64), "complex64"),
        ("x", Spec((2,), torch.uint16), "uint16"),
        ("x", Spec((0, 2**50), torch.float32), "over the limit"),
        ("x", Spec((2**40,), torch.float32), "over the limit"),
    ],
)
def test_one_place_says_why_a_tensor_is_not_carried(name: str, spec: Spec, words: str) -> None:
    why = wire.refusal(name, spec)
    assert why is not None
    assert words in why
    assert wire.split_specs({"good": PAIR, name: spec, "last": PAIR}) == ({"good": PAIR, "last": PAIR}, {name: why})
    with pytest.raises(ValueError, match=words):
        wire.dump_schema({name: spec})


def test_whatever_is_carried_is_read() -> None:
    for names, spec in ((["n" * 1024, "é" * 512, ""], PAIR), (["x"], Spec((1,) * 8, torch.bfloat16))):
        assert all(wire.refusal(name, spec) is None for name in names)
        assert list(wire.loads_any(frame(names, spec))) == names


@pytest.mark.parametrize(
    "limits",
    [
        replace(DEFAULT_LIMITS, tensors=3),
        replace(DEFAULT_LIMITS, decoded_bytes=24),
        replace(DEFAULT_LIMITS, header_bytes=250),
        replace(DEFAULT_LIMITS, name_bytes=2),
    ],
    ids=str,
)
def test_the_totals_of_a_message_are_limits_of_both_sides(limits: Limits) -> None:
    expect = {f"t{i}" if i % 4 else f"tensor{i}": PAIR for i in range(12)}
    carried, rest = wire.split_specs(expect, limits)
    assert {*carried, *rest} == set(expect)
    assert rest
    assert list(wire.loads_any(frame(list(carried), PAIR, limits), limits)) == list(carried)
    with pytest.raises(ValueError, match="frames carry at most"):
        frame(list(expect), PAIR, limits)
    with pytest.raises(tw.WireError):
        wire.loads_any(frame(list(expect), PAIR), limits)


def test_headers_follow_the_schema() -> None:
    names = [f"{i:05}." + "e" * 86 for i in range(12_000)]
    assert len(wire.loads_any(frame(names, PAIR))) == 12_000


def test_more_codecs_than_a_table_holds_are_an_error_of_the_sender() -> None:
    encoded = tw.encode(tw.Uniform(bits=8), torch.zeros(64))
    parts = [replace(encoded, codec=tw.Uniform(bits=8, block=100 + i)) for i in range(65_536)]
    with pytest.raises(ValueError, match="65536 different codecs"):
        tw.dumps({str(i): part for i, part in enumerate(parts)})
