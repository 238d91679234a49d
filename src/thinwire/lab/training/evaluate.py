"""The test part, dealt to all workers: every row counts once, whatever their number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thinwire.lab.training.data.base import Batch, Dataset
from thinwire.lab.training.data.batches import in_order

ROWS = 256
"""Rows at once."""
METRICS = {"image": ("accuracy", True), "text": ("perplexity", False)}
"""Of a kind of model: the metric, and whether more is better."""


def loss_of(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy of logits [..., outputs] and targets int64 [...], computed in float32."""
    return cross_entropy(logits.float().flatten(0, -2), targets.flatten(), reduction=reduction)


def evaluate(
    model: nn.Module, dataset: Dataset, device: torch.device, ranks: Iterable[int], world: int
) -> tuple[float, float]:
    """Return (metric, mean loss) of a model that all workers hold; all call it for their ranks, and get the same.

    The metric is the accuracy, or of text the perplexity: ``exp`` of the mean loss a token.
    """
    model.eval()
    loss, counts = torch.zeros((), dtype=torch.float64), torch.zeros(2, dtype=torch.int64)
    for rank in ranks:
        own_loss, own_counts = _sums(model, in_order(dataset.test, ROWS, rank, world), device)
        loss += own_loss
        counts += own_counts
    for total in (loss, counts):
        dist.all_reduce(total)
    right, count = counts.tolist()
    mean = loss.item() / count
    return (right / count if dataset.kind == "image" else _exp(mean)), mean


@torch.inference_mode()
def _sums(model: nn.Module, batches: Iterable[Batch], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses, float64, and how many targets were met of how many, int64 [2]."""
    loss, counts = torch.zeros((), dtype=torch.float64), torch.zeros(2, dtype=torch.int64)
    for inputs, targets in batches:
        logits, wanted = model(inputs.to(device)), targets.to(device)
        loss += loss_of(logits, wanted, "sum").double().cpu()
        counts += torch.tensor([int((logits.argmax(-1) == wanted).sum()), wanted.numel()])
    return loss, counts


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def average_buffers(model: nn.Module) -> None:
    """Replace float buffers, such as the running statistics of batch norm, by their mean over all workers."""
    for buffer in model.buffers():
        if buffer.dtype.is_floating_point:
            mean = buffer.detach().cpu()
            dist.all_reduce(mean)
            buffer.copy_(mean / dist.get_world_size())


def mean_buffers(model: nn.Module, per_rank: Sequence[Sequence[Tensor]]) -> None:
    """Do the same where one model stands for all workers, each with buffers of its own."""
    for buffer, own in zip(model.buffers(), zip(*per_rank, strict=True), strict=True):
        if buffer.dtype.is_floating_point:
            buffer.copy_(reduce(torch.add, own) / len(own))
