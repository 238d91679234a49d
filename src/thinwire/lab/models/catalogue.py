"""The models of distributed training by name, each built from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from thinwire.errors import unknown
from thinwire.lab.models import gpt2, small_cnn
from thinwire.lab.models.char_gpt import CharGPT
from thinwire.lab.models.gpt2 import GPT2
from thinwire.lab.models.mobilenet import mobilenet
from thinwire.lab.models.resnet import resnet18, resnet50, small_resnet
from thinwire.lab.models.small_cnn import SmallCNN
from thinwire.lab.models.vgg import vgg11, vgg16
from thinwire.lab.models.word_lstm import WordLSTM
from thinwire.lab.tasks.weights import Draw, by_layer, initialised

Kind = Literal["image", "text"]


@dataclass(frozen=True)
class ModelSpec:
    """One model: `architecture` takes the classes or the size of the vocabulary, then options by name.

    An image model takes float32 [B, channels, H, W] and returns logits [B, classes]; its option is `channels`. A text
    model takes int64 [B, T] and returns logits [B, T, vocabulary]; its option is `context`, the longest T, where it has
    a longest.
    """

    summary: str
    kind: Kind
    architecture: Callable[..., nn.Module]
    draw: Draw = by_layer

    def build(self, outputs: int, seed: int = 0, **options: Any) -> nn.Module:
        """Return a new model, the same bytes for the same seed; the global random state is neither read nor changed.

        Raises ValueError for less than one output, ModuleNotFoundError naming the extra where a library lacks, and
        TypeError for an option that the model does not have.
        """
        if outputs < 1:
            raise ValueError(f"a model needs at least one class or symbol, got {outputs}")
        return initialised(partial(self.architecture, outputs, **options), seed, self.draw)

    def parameters(self, outputs: int, **options: Any) -> int:
        """Return how many parameters the model has; none is allocated."""
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in self.architecture(outputs, **options).parameters())


def _lstm(words: int, context: int | None = None, **options: Any) -> nn.Module:
    """Return a WordLSTM; it reads windows of any length, so `context` says nothing to it."""
    return WordLSTM(words, **options)


_CHAR_GPT = partial(CharGPT, context=256, width=384, depth=6)
"""The size in which nanoGPT learns Shakespeare's characters."""

MODELS: Mapping[str, ModelSpec] = {
    "small-cnn": ModelSpec("4 convolutions, 0.4 M parameters", "image", SmallCNN, small_cnn.draw),
    "small-resnet": ModelSpec("ResNet of 4 blocks, 0.3 M parameters", "image", small_resnet),
    "resnet18": ModelSpec("ResNet-18 for small images, 11.2 M parameters", "image", resnet18),
    "resnet50": ModelSpec("ResNet-50 for small images, 23.5 M parameters", "image", resnet50),
    "vgg11": ModelSpec("VGG-11 with batch norm, 9.2 M parameters", "image", vgg11),
    "vgg16": ModelSpec("VGG-16 with batch norm, 14.7 M parameters", "image", vgg16),
    "mobilenet": ModelSpec("MobileNetV2 for small images, 2.2 M parameters", "image", mobilenet),
    "small-gpt": ModelSpec("GPT of 4 blocks, 1.8 M parameters for 65 symbols", "text", CharGPT),
    "char-gpt": ModelSpec("GPT of 6 blocks, 10.8 M parameters for 65 symbols", "text", _CHAR_GPT),
    "lstm": ModelSpec("2-layer LSTM, 19.8 M parameters for 10,000 words", "text", _lstm),
    "gpt2-small": ModelSpec("GPT-2, 124 M parameters for 50,257 symbols", "text", partial(GPT2, "small"), gpt2.draw),
    "gpt2-medium": ModelSpec("GPT-2, 355 M parameters for 50,257 symbols", "text", partial(GPT2, "medium"), gpt2.draw),
}  # fmt: skip


def find(name: str) -> ModelSpec:
    """Return the model called `name`; raises ValueError with the known names and the nearest."""
    if name not in MODELS:
        raise ValueError(unknown("model", name, MODELS))
    return MODELS[name]
