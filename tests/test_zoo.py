"""Named methods: each builds, round trips through its text, and works in both directions."""

from __future__ import annotations

import pytest
import torch

from thinwire import Compressor, NoFeedback, Signals, dumps, loads, parse, registry, specs, zoo
from thinwire.registry import text
from thinwire.wire import decode_message
from thinwire.zoo import METHODS, compressor

UPDATE = {"w": torch.randn(96, 80, generator=torch.Generator().manual_seed(0)) * 0.01, "b": torch.full((80,), 0.01)}
SPARSE = (
    *("topk", "topk2", "gaussian", "gaussian2", "randomk", "randomkec", "dgcsampling", "redsync", "redsynctrim"),
    "hggtopk",
)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_every_method_sends_and_is_decoded(name: str, direction: str) -> None:
    message, _, report = compressor(name, direction).compress(UPDATE, {}, Signals(round=1))
    decoded = decode_message(loads(dumps(message), specs(UPDATE)))
    assert {n: x.shape for n, x in decoded.items()} == {n: x.shape for n, x in UPDATE.items()}
    assert report.payload_bytes <= report.dense_bytes


@pytest.mark.parametrize("name", METHODS)
def test_texts_round_trip(name: str) -> None:
    assert parse(text(zoo[name])) == zoo[name] == parse(name)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("none", "lossless")])
def test_residuals_stay_bounded_over_rounds(name: str) -> None:
    method, state = compressor(name), {}
    for round_ in range(1, 31):
        _, state, _ = method.compress(UPDATE, state, Signals(round=round_))
    residual = sum(float(x.double().square().sum()) for key, x in state.items() if key.startswith("residual/")) ** 0.5
    # With momentum a tensor is worth 1 / (1 - momentum) of itself in the end.
    worth = 1 / (1 - getattr(method.feedback, "momentum", 0.0))
    assert residual <= 30 * worth * float(UPDATE["w"].norm())


def test_a_codec_that_overshoots_gets_no_feedback() -> None:
    assert compressor("RandomK(0.1)") == Compressor(compressor("RandomK(0.1)").policy, NoFeedback())
    assert compressor("RandomK(0.1, rescale=False)").feedback != NoFeedback()


@pytest.mark.parametrize("name", SPARSE)
def test_a_method_with_another_density(name: str) -> None:
    for varied in (parse(f"{name}(density=0.05)"), zoo.method(name, density=0.05)):
        assert varied == parse(METHODS[name].text.replace("(0.01", "(0.05"))
        assert parse(text(varied)) == varied
    assert zoo.method(name) == zoo[name] == zoo.method(name, density=0.01)
    sent = compressor(f"{name}(density=0.05)").compress(UPDATE, {})[0]
    assert 250 <= sent["w"].size <= 768
    assert (compressor(name).feedback == NoFeedback()) == (name in ("topk2", "gaussian2", "randomk"))
    assert compressor(f"{name}(density=0.05)").feedback == compressor(name).feedback


def test_a_density_is_replaced_wherever_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    nested = "Compressor(Fixed(Smallest(options=(TopK({0}), Planes(), Gaussian({0}))), small=RandomK({0})))"
    monkeypatch.setitem(registry._METHODS, "nested", nested.format(0.01))
    assert parse("nested(density=0.7)") == parse(nested.format(0.7))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("int8(density=0.1)", "the method 'int8' has no density"),
        ("auto(density=0.1)", "the method 'auto' has no density"),
        ("topk2(0.1)", "takes density="),
        ("topk2(density=0.1, values=Cast())", "takes density="),
        ("hggtopk(density=2)", "HggTopK: density is 2, expected"),
        ("hggtopk(density='x')", "density is 'x', expected"),
        ("hggtopk(densty=0.1)", "Did you mean 'density'"),
        ("gausian2(density=0.1)", "Did you mean 'gaussian2'"),
    ],
)
def test_a_density_that_cannot_be_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compressor(text)


def test_unknown_methods_name_the_nearest() -> None:
    with pytest.raises(KeyError, match="Did you mean 'topk-int8'"):
        zoo["topk-int"]


def test_the_published_formulas() -> None:
    """The formulas of docs/methods.md, written down again and compared on the same data."""
    x = UPDATE["w"].double()
    low, levels = x.min(), 255
    step = (x.max() - low) / levels
    expected = {
        "minmax8-floor": torch.floor((x - low) / step) * step + low,
        "minmax8-round": torch.floor((x - low) / step + 0.5) * step + low,
        "fixed-step8": torch.trunc(x * 127 * 2).clamp(-127, 127) / 254,
        "fixed-step12": torch.trunc(x * 127 * 2) / 254,
        "scaled-round8": torch.round(x * 127) / 127,
    }
    for name, y in expected.items():
        sent = compressor(name, "down").compress({"w": UPDATE["w"]}, {})[0]
        decoded = decode_message(sent)["w"].double()
        exact = (decoded - y).abs() < 1e-6
        assert exact.float().mean() > 0.999, name  # the rest lie on an edge that float32 and float64 round differently
