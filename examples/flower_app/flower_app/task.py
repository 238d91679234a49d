"""Data, model, training and evaluation: plain torch and scikit-learn, nothing of Flower or thinwire."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

Data = tuple[Tensor, Tensor]

# With one thread sums are always added in the same order, so equal runs are equal bit for bit.
torch.set_num_threads(1)


def make_model(hidden: int, seed: int = 0) -> nn.Sequential:
    """An MLP 64-hidden-hidden-10; equal seeds give equal weights."""
    model = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        bound = (3 / parameter.shape[-1]) ** 0.5
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return model


def load_partition(partition: int, partitions: int) -> Data:
    """The training images [n, 64] and labels [n] of one client; clients share no image."""
    return _tensors(_order()[360:][partition::partitions])


def load_test() -> Data:
    """The 360 test images, which no client trains on."""
    return _tensors(_order()[:360])


def train(model: nn.Module, data: Data, epochs: int, seed: int) -> float:
    """Train in place with SGD; returns the mean loss of all steps."""
    shuffle = torch.Generator().manual_seed(seed)
    loader = DataLoader(TensorDataset(*data), batch_size=16, shuffle=True, generator=shuffle)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = [_step(model, optimizer, images, labels) for _ in range(epochs) for images, labels in loader]
    return sum(losses) / len(losses)


@torch.no_grad()
def test(model: nn.Module, data: Data) -> tuple[float, float]:
    """Return accuracy and mean loss."""
    images, labels = data
    logits = model(images)
    return float((logits.argmax(1) == labels).float().mean()), float(cross_entropy(logits, labels))


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
    optimizer.zero_grad()
    loss = cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def _order() -> np.ndarray:
    return np.random.default_rng(0).permutation(1797)


def _tensors(rows: np.ndarray) -> Data:
    digits = load_digits()
    return torch.tensor(digits.data[rows] / 16, dtype=torch.float32), torch.tensor(digits.target[rows])
