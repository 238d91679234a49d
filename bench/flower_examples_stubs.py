"""What Flower's examples import beside their data and is not here: stand-ins, put into `sys.modules` from outside.

torchvision's few transforms (only where it is not installed), W&B and the hub's metrics (both need the network), and a
thread pool of one for Flower's older API, whose threads would draw from one random generator in any order.
"""

from __future__ import annotations

import concurrent.futures
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional


def _module(name: str, **names: object) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
    vars(module).update(names)
    sys.modules[name] = module
    return module


def to_tensor(image: Image.Image | np.ndarray) -> Tensor:
    """Return pixels as float32 in [0, 1], channels first."""
    x = torch.from_numpy(np.array(image, dtype=np.float32) / 255)
    return x.unsqueeze(0) if x.ndim == 2 else x.permute(2, 0, 1).contiguous()


class Compose:
    """Transforms in order."""

    def __init__(self, steps: Iterable[Callable]) -> None:
        self.steps = list(steps)

    def __call__(self, x: Any) -> Any:
        for step in self.steps:
            x = step(x)
        return x


class ToTensor:
    """`to_tensor` as an object."""

    def __call__(self, image: Image.Image) -> Tensor:
        return to_tensor(image)


class Normalize:
    """Subtract means and divide by deviations, by channel."""

    def __init__(self, mean: Iterable[float], std: Iterable[float]) -> None:
        self.mean, self.std = torch.tensor(list(mean)).view(-1, 1, 1), torch.tensor(list(std)).view(-1, 1, 1)

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class RandomCrop:
    """Cut a square out of a padded image."""

    def __init__(self, size: int, padding: int) -> None:
        self.size, self.padding = size, padding

    def __call__(self, image: Image.Image) -> Image.Image:
        pixels = functional.pad(torch.from_numpy(np.array(image)), (self.padding,) * 4)
        top, left = torch.randint(0, 2 * self.padding + 1, (2,)).tolist()
        return Image.fromarray(pixels[top : top + self.size, left : left + self.size].numpy())


class RandomHorizontalFlip:
    """Mirror every other image."""

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(()) < 0.5 else image


class Accuracy:
    """The one metric that is asked for."""

    def __init__(self) -> None:
        self.right, self.total = 0, 0

    def add_batch(self, predictions: Tensor, references: Tensor) -> None:
        """Count."""
        self.right, self.total = self.right + int((predictions == references).sum()), self.total + len(references)

    def compute(self) -> dict[str, float]:
        """Return the share of right ones."""
        return {"accuracy": self.right / self.total}


class _OneByOne(concurrent.futures.Executor):
    """Runs what it is given at once, in the caller's thread."""

    def __init__(self, max_workers: int | None = None) -> None:
        self._count = 0

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> concurrent.futures.Future:
        future: Any = concurrent.futures.Future()
        future.order, self._count = self._count, self._count + 1
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _wait(fs: Iterable[Any], timeout: float | None = None) -> tuple[list, list]:
    return sorted(fs, key=lambda future: future.order), []


def install(vision: bool) -> None:
    """Put the stand-ins in place; torchvision's not for apps on transformers, which would take it for the whole."""
    if vision and importlib.util.find_spec("torchvision") is None:
        shown = (Compose, ToTensor, Normalize, RandomCrop, RandomHorizontalFlip)
        transforms = _module("torchvision.transforms", **{kind.__name__: kind for kind in shown})
        vars(transforms)["functional"] = _module("torchvision.transforms.functional", to_tensor=to_tensor)
        _module("torchvision", transforms=transforms)
    nothing = lambda *args, **kwargs: None  # noqa: E731
    _module("wandb", init=nothing, log=nothing, define_metric=nothing, finish=nothing)
    _module("evaluate", load=lambda name: Accuracy())
    import flwr.clientapp.typing
    import flwr.common.typing
    import flwr.server.server as legacy

    # Where examples look for what later releases of flwr moved.
    _module("flwr.common.context", Context=flwr.common.Context)
    vars(flwr.common.typing).setdefault("UserConfig", dict)
    sys.modules.setdefault("flwr.client.typing", flwr.clientapp.typing)

    legacy.concurrent = SimpleNamespace(futures=SimpleNamespace(ThreadPoolExecutor=_OneByOne, wait=_wait))


def tiny_bert(folder: Path, sentences: list[str], labels: list[int]) -> Path:
    """Write a small BERT and its tokenizer, made from these sentences; it saw them, as the hub's model saw text."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = BertWordPieceTokenizer()
    words.train_from_iterator(sentences, vocab_size=4000, show_progress=False)
    words.save_model(str(folder))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=512,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    for start in [*range(0, len(sentences) - 31, 32)] * 3:
        batch = tokenizer(sentences[start : start + 32], padding=True, truncation=True, return_tensors="pt")
        model(**batch, labels=torch.tensor(labels[start : start + 32])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
