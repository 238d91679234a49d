"""Every law for every codec instance: a new codec is one file plus one row. And the suite catches codecs that lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from thinwire import registry
from thinwire.codec import Codec, Spec, State
from thinwire.testing import INSTANCES, LAWS, Row, claims, conformance


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("row", INSTANCES, ids=str)
def test_law(row: Row, law: str) -> None:
    LAWS[law](row.codec, row.domain)


def test_every_registered_codec_has_a_row() -> None:
    shipped = {id for id, cls in registry.codecs().items() if cls.tag < 128}
    assert shipped == {type(row.codec).id for row in INSTANCES}


def test_a_claim_holds_for_a_composition_only_if_every_codec_makes_it() -> None:
    assert claims(registry.parse("RandomK(0.1)"), "linear")
    assert not claims(registry.parse("RandomK(0.1, values=Uniform(bits=8))"), "linear")
    assert claims(registry.parse("Uniform(bits=8)"), "static")
    assert not claims(registry.parse("Uniform(bits=8, codes=Zstd())"), "static")


@dataclass(frozen=True)
class Halves(Codec, id="test-halves", tag=200):
    """What a plug-in author would write: float32 as bfloat16 and a correction, in the order that the layout says."""

    wide: bool = True

    wire_fields = ("wide",)
    static = True

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        coarse = x.double().clamp(-1e38, 1e38).to(torch.bfloat16)
        fine = (x.double() - coarse.double()).to(torch.bfloat16)
        return {"coarse": coarse} | ({"fine": fine} if self.wide else {}), {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        half = Spec(spec.shape, torch.bfloat16)
        return {"coarse": half} | ({"fine": half} if self.wide else {})

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        total = sum(part.double() for part in parts.values())
        most = torch.finfo(spec.dtype).max
        return total.clamp(-most, most).to(spec.dtype)  # type: ignore[union-attr]


@pytest.mark.parametrize("wide", [True, False])
def test_a_plug_in_codec_conforms(wide: bool) -> None:
    conformance(Halves(wide))


@dataclass(frozen=True)
class Liar(Codec, id="test-liar", tag=201):
    """Obeys every law until a test makes it break one."""

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        return {"data": x.clone()}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        return {"data": spec}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        return parts["data"].clone()


def writes_to_its_input(self: Codec, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
    return {"data": x.mul_(2).clone() if x._base is None and 0 not in x.stride() else x.clone()}, {}


def draws_globally(self: Codec, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
    return {"data": x + 0 * torch.rand(()).to(x.dtype)}, {}


def ignores_its_seed(self: Codec, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
    return {"data": x * next(ENDLESS)}, {}


def counting() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


ENDLESS = counting()


def trims(self: Codec, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
    return {"data": x.reshape(-1)[: int(x.count_nonzero())]}, {}


def doubles(self: Codec, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
    return parts["data"] * 2


def widens(self: Codec, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
    return parts["data"].double()


def adds_one(self: Codec, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
    return parts["data"] + 1


@pytest.mark.parametrize(
    ("law", "changes"),
    [
        ("inputs_untouched", {"to_parts": writes_to_its_input}),
        ("inputs_untouched", {"to_parts": draws_globally}),
        ("seed_decides", {"to_parts": ignores_its_seed}),
        ("static", {"to_parts": trims, "static": True}),
        ("layout_is_true", {"to_parts": trims}),
        ("layout_is_true", {"sized": True}),
        ("lossless", {"from_parts": doubles, "lossless": True}),
        ("linear", {"from_parts": adds_one, "linear": True}),
        ("unbiased", {"from_parts": doubles, "unbiased": True}),
        ("round_trip", {"from_parts": widens}),
        ("registered", {"tag": 202}),
        ("registered", {"wire_fields": ("bits",)}),
        ("subtraction", {"subtract_": lambda self, target, encoded: target.mul_(0.5)}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_codec_that_lies_is_caught(law: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    conformance(Liar())
    for name, value in changes.items():
        monkeypatch.setattr(Liar, name, value)
    with pytest.raises(AssertionError):
        LAWS[law](Liar(), "update")
    with pytest.raises(AssertionError, match="does not hold for Liar"):
        conformance(Liar())
