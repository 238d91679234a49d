"""Text and JSON to codecs and back, without evaluating anything."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

import thinwire as tw
from thinwire import registry
from thinwire.codec import Codec
from thinwire.testing import INSTANCES
from thinwire.zoo import METHODS, compressor

COMPOSED = [
    *(str(row.codec) for row in INSTANCES),
    *(method.text for method in METHODS.values()),
    "ByVolume(fine_rounds=3, coarse=TopK(density=0.01), below=10)",
    "ErrorBound(nmse=0.1, codec=Uniform(block=128))",
    "Compressor(Fixed(Step()), ErrorFeedback(decay=0.9), Clip(norm=2.5, keep=False))",
    "Compressor(Fixed(Step()), NoFeedback(), Clip(value=1e-3))",
    "WarmUp(TopK(density=0.001), densities=(0.5, 1/8), every=2, small=Planes(), below=10)",
    "Compressor(WarmUp(TopK(0.001)), MomentumCorrection(momentum=0.5, nesterov=True, masking=False))",
    "Compressor(Fixed(TopK(0.01)), MomentumCorrection(), Clip(norm=2.5, keep=False, workers=4, incoming=True))",
]


@pytest.mark.parametrize("text", COMPOSED)
def test_repr_text_and_json_read_back_as_the_same_object(text: str) -> None:
    value = tw.parse(text)
    assert tw.parse(repr(value)) == value
    assert tw.parse(registry.text(value)) == value
    assert registry.from_config(json.loads(json.dumps(registry.to_config(value)))) == value


def test_text_leaves_out_what_is_at_its_default() -> None:
    assert str(tw.TopK(0.01, values=tw.Uniform(bits=8))) == "TopK(density=0.01, values=Uniform(bits=8))"
    assert str(tw.Raw()) == "Raw()"


def test_positional_and_bare_names_are_understood() -> None:
    assert tw.parse(" TopK(0.01, Uniform(bits=8)) ") == tw.TopK(0.01, values=tw.Uniform(bits=8))
    assert tw.parse("Raw") == tw.parse("raw") == tw.Raw()
    assert tw.parse("TopK(0.5, values=int8)") == tw.TopK(0.5, values=tw.parse("int8"))
    assert tw.parse("ErrorFeedback(decay=+1)") == tw.ErrorFeedback(decay=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot read"),
        ("TopK(", "cannot read"),
        ("TopKK(0.1)", "Did you mean 'TopK'"),
        ("topkk", "Did you mean 'TopK'"),
        ("TopK(densty=0.1)", "Did you mean 'density'"),
        ("TopK(0.1, bits=8)", "unknown field 'bits'"),
        ("TopK", "takes"),
        ("TopK()", "takes"),
        ("TopK(0.1, density=0.2)", "takes"),
        ("Raw(1, 2)", "takes"),
        ("TopK(0)", "density is 0"),
        ("TopK(2)", "at most 1"),
        ("TopK(True)", "density is True"),
        ("TopK('0.1')", "density is '0.1'"),
        ("TopK(0.1, values=8)", "values is 8, expected a codec"),
        ("TopK(0.1, values=None)", "values is None, expected a codec"),
        ("Fixed(Raw(), small=0)", "small is 0, expected a codec"),
        ("TopK(0.1, values=Fixed(Raw()))", "expected a codec"),
        ("Uniform(bits=17)", "expected 1 to 16"),
        ("Uniform(bits=1, symmetric=True)", "expected 2 to 16"),
        ("Uniform(bits=4, nmse=0.1)", "either bits or nmse"),
        ("Uniform(rounding='up')", "rounding is 'up'"),
        ("Uniform(block=1)", "block is 1"),
        ("Uniform(step=-1.0)", "step is -1.0"),
        ("Step(nmse=1.0)", "less than 1"),
        ("Step(nmse=0.1, absolute=0.1)", "one of"),
        ("Step(absolute=0)", "positive number"),
        ("Step(absolute=1e999)", "positive number"),
        ("Step(dead_zone=0.4)", "dead_zone is 0.4"),
        ("Cast('float8')", "dtype is 'float8'"),
        ("Threshold(0)", "positive number"),
        ("ErrorBound(codec=TopK(0.1))", "no error bound"),
        ("ErrorFeedback(decay=0)", "decay is 0"),
        ("Clip()", "expected one positive number"),
        ("Clip(value=1, norm=1)", "expected one positive number"),
        ("Clip(norm=1, workers=0)", "workers is 0, expected an integer from 1"),
        ("Clip(value=1, workers=2)", "workers=2 scales a norm"),
        ("MomentumCorrection(momentum=1)", "momentum is 1, expected 0 <= momentum < 1"),
        ("WarmUp(Step())", "has no density"),
        ("WarmUp(Step(), densities=(1.0, 0.5))", "has no density"),
        ("WarmUp(TopK(0.1), densities=(0.5, 0))", "numbers above 0 and up to 1"),
        ("WarmUp(TopK(0.1), every=0)", "every is 0, expected a number of rounds from 1"),
        ("__import__('os')", "unknown codec"),
        ("Raw().__class__", "neither a literal nor a known name"),
        ("Raw.__init__()", "not a plain name"),
        ("(lambda: 0)()", "not a plain name"),
        ("Raw(**{'a': 1})", "not possible"),
        ("Raw(*[1])", "neither a literal nor a known name"),
        ("TopK(0.1 if 1 else 0.2)", "neither a literal nor a known name"),
        ("TopK(1j)", "not a number"),
        ("TopK({})", "not a number"),
        ("TopK({[]: 1})", "neither a literal nor a known name"),
        ("[i for i in 'abc']", "neither a literal nor a known name"),
        ("a" + ".b" * 2000, "neither a literal nor a known name"),
        ("not " * 1000 + "1", "neither a literal nor a known name"),
        ("TopK(1," * 9 + "1" + ")" * 9, "nested more than 8 deep"),
        ("(" * 300, "cannot read"),
        ("x" * 4097, "too long"),
        ("\0", "cannot read"),
    ],
    ids=lambda text: text[:40],
)
def test_what_cannot_be_read_is_a_value_error_that_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tw.parse(text)


@given(st.text(max_size=60) | st.text("TopKRaw()=,.'[]{}*-+01 \n", max_size=60))
def test_any_text_is_read_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        tw.parse(text)


@pytest.mark.parametrize(
    "config",
    [{}, {"type": "Nope"}, {"type": "TopK"}, {"type": "TopK", "density": 0.1, "bits": 3}, {"type": ["TopK"]}],
    ids=str,
)
def test_a_wrong_config_is_a_value_error(config: object) -> None:
    with pytest.raises(ValueError, match=r"unknown|takes"):
        registry.from_config(config)


@pytest.mark.parametrize(
    ("id", "tag", "name", "words"),
    [
        ("topk", 210, "Other", "already taken"),
        ("other", 20, "Other", "already taken"),
        ("other", 210, "TopK", "already taken"),
        ("other", -1, "Other", "expected 1 to 255"),
        ("other", 256, "Other", "expected 1 to 255"),
    ],
)
def test_no_two_codecs_share_an_id_a_tag_or_a_name(id: str, tag: int, name: str, words: str) -> None:
    known = registry.codecs(), registry.names()
    with pytest.raises(ValueError, match=words):
        type(name, (Codec,), {}, id=id, tag=tag)
    assert (registry.codecs(), registry.names()) == known


def test_ids_and_tags_never_change() -> None:
    assert {id: cls.tag for id, cls in registry.codecs().items() if 0 < cls.tag < 128} == {
        "raw": 1, "cast": 2, "planes": 3, "uniform": 4, "step": 5, "rdoq": 6, "symbols": 8, "zstd": 9, "indices": 16,
        "huffman": 17, "ans": 18, "topk": 20, "randomk": 21, "threshold": 22, "sparse": 23, "lowrank": 24,
        "sign": 25, "onebit": 26, "ternary": 27, "natural": 28, "bitround": 29,
        "eden": 32, "nf4": 33, "ranges": 34, "qsgd": 35, "segments": 36,
    }  # fmt: skip


def test_an_unknown_id_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'uniform'"):
        registry.codec_class("uniforn")
    assert registry.codec_for_tag(0) is None


def test_policies_and_feedbacks_register_by_name() -> None:
    @registry.register
    @dataclass(frozen=True)
    class Sometimes:
        chance: float = 0.5

    assert tw.parse("Sometimes(chance=0.1)") == Sometimes(0.1)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_zoo_makes_a_compressor_for_both_directions(name: str) -> None:
    assert tw.zoo[name] == tw.parse(name)
    for direction in ("up", "down"):
        assert isinstance(compressor(name, direction), tw.Compressor)


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(KeyError, match="Did you mean 'topk-int8'"):
        tw.zoo["topk-int"]
    with pytest.raises(ValueError, match="neither a codec, a policy nor a compressor"):
        compressor("3")


def test_parsing_imports_nothing() -> None:
    before = set(sys.modules)
    tw.parse("TopK(0.1, values=Uniform(bits=8))")
    with pytest.raises(ValueError, match="unknown"):
        tw.parse("antigravity")
    assert set(sys.modules) == before
