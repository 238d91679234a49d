"""Models of distributed training: published sizes, weights by the seed, every size of image, causal text."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from thinwire.lab.models import MODELS
from thinwire.lab.models.catalogue import find
from thinwire.lab.training.data import Batches
from thinwire.lab.training.data import find as find_data

IMAGE = [name for name, spec in MODELS.items() if spec.kind == "image"]
TEXT = ["small-gpt", "char-gpt", "lstm"]
SMALL = ["small-cnn", "small-resnet", "small-gpt"]
GPT2 = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed: pip install 'thinwire[train]'",
)


def inputs(name: str, side: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if name in IMAGE:
        return torch.randn(4, 3, side, side, generator=generator)
    return torch.randint(0, 11, (4, 6), generator=generator)


@pytest.mark.parametrize(
    ("name", "outputs", "parameters"),
    [
        ("resnet18", 10, 11_173_962),
        ("resnet50", 10, 23_520_842),
        ("vgg11", 10, 9_231_114 - 2752),  # published with biases before batch norm, one a channel
        ("vgg16", 10, 14_728_266 - 4224),
        ("mobilenet", 1000, 3_504_872),
        ("lstm", 10_000, 19_775_200 + 2 * 4 * 650),  # published with one bias a gate, torch has two
        pytest.param("gpt2-small", 50_257, 124_439_808, marks=GPT2),
        pytest.param("gpt2-medium", 50_257, 354_823_168, marks=GPT2),
    ],
)
def test_parameters_are_as_many_as_published(name: str, outputs: int, parameters: int) -> None:
    assert MODELS[name].parameters(outputs) == parameters


def test_small_models_are_small() -> None:
    assert all(3e5 < MODELS[name].parameters(10) < 8e5 for name in ("small-cnn", "small-resnet"))
    assert 1e6 < MODELS["small-gpt"].parameters(65) < 2e6
    assert 1.05e7 < MODELS["char-gpt"].parameters(65) < 1.1e7


@pytest.mark.parametrize("name", ["small-cnn", "small-resnet", "mobilenet", "small-gpt", "lstm"])
def test_a_seed_gives_the_same_weights_and_leaves_the_global_state(name: str) -> None:
    before = torch.get_rng_state()
    first, again, other = (MODELS[name].build(7, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    assert all(tensor.isfinite().all() for tensor in first.state_dict().values())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", IMAGE)
def test_images_of_any_size_are_classified(name: str, channels: int) -> None:
    with torch.device("meta"):
        model = MODELS[name].architecture(5, channels=channels)
        for side in (8, 33):
            assert model(torch.empty(2, channels, side, side)).shape == (2, 5)


@pytest.mark.parametrize("name", [*IMAGE, *TEXT])
def test_every_parameter_takes_part(name: str) -> None:
    model = MODELS[name].build(11)
    logits = model(inputs(name))
    assert logits.shape == ((4, 11) if name in IMAGE else (4, 6, 11))
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def assert_causal(model: nn.Module) -> None:
    ids = inputs("lstm")
    changed = ids.clone()
    changed[:, 4] = (ids[:, 4] + 1) % 11
    with torch.inference_mode():
        one, two = model(ids), model(changed)
    torch.testing.assert_close(one[:, :4], two[:, :4], rtol=0, atol=1e-6)
    assert not torch.allclose(one[:, 4:], two[:, 4:])


@pytest.mark.parametrize("name", TEXT)
def test_a_prediction_does_not_see_what_follows(name: str) -> None:
    assert_causal(MODELS[name].build(11, context=6))


def test_a_tied_lstm_has_one_matrix_less() -> None:
    spec = MODELS["lstm"]
    assert spec.parameters(1000, width=20) - spec.parameters(1000, width=20, tied=True) == 1000 * 20 + 1000
    assert spec.build(11, width=20, depth=1, tied=True)(inputs("lstm")).shape == (4, 6, 11)


def test_an_lstm_drops_in_training_only() -> None:
    model = MODELS["lstm"].build(11, width=20, share=0.5)
    with torch.random.fork_rng():
        assert not torch.equal(model(inputs("lstm")), model(inputs("lstm")))
    model.eval()
    assert torch.equal(model(inputs("lstm")), model(inputs("lstm")))


@pytest.mark.parametrize(("name", "lr"), [("small-cnn", 0.05), ("small-resnet", 0.05), ("small-gpt", 0.02)])
def test_small_models_learn(name: str, lr: float) -> None:
    data = find_data("digits" if name in IMAGE else "scikit-learn-pages").load()
    model = MODELS[name].build(data.outputs, **data.options)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    losses = []
    for images, labels in Batches(data.train, 16 if name in IMAGE else 2).epoch(0):
        optimizer.zero_grad()
        logits = model(images)
        loss = cross_entropy(logits.flatten(0, -2), labels.flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if len(losses) == 25:
            break
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_names_and_options_that_are_not_known_are_explained() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'resnet19'. Did you mean 'resnet18'"):
        find("resnet19")
    with pytest.raises(ValueError, match="at least one class or symbol, got 0"):
        find("resnet18").build(0)
    with pytest.raises(TypeError, match="depth"):
        find("resnet18").build(10, depth=3)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModuleNotFoundError, match=r"GPT-2 needs transformers.*pip install 'thinwire\[train\]'"):
        find("gpt2-small").build(11)


@GPT2
def test_gpt2_is_drawn_by_the_seed_and_causal() -> None:
    before = torch.get_rng_state()
    first, again = (MODELS["gpt2-small"].build(11, seed=1, context=6) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert first.lm.lm_head.weight is first.lm.transformer.wte.weight
    names = dict(first.named_parameters())
    assert names["lm.transformer.h.3.mlp.c_fc.weight"].std().item() == pytest.approx(0.02, rel=0.01)
    assert names["lm.transformer.h.3.mlp.c_proj.weight"].std().item() == pytest.approx(0.02 / 24**0.5, rel=0.01)
    assert_causal(first)
