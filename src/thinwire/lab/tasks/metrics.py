"""Metrics of a whole test set: accuracy and the area under the ROC curve."""

from __future__ import annotations

import torch
from torch import Tensor


def accuracy(logits: Tensor, target: Tensor) -> float:
    """Return the share of rows whose largest logit is the target's; `logits` [rows, classes], `target` int [rows]."""
    return (logits.argmax(dim=1) == target).double().mean().item()


def auc(scores: Tensor, target: Tensor) -> float:
    """Return the probability that a positive outranks a negative, a tie counting half; both arguments [rows].

    It is the Mann-Whitney statistic, exact, from mean ranks (Hanley and McNeil 1982). NaN where a score is NaN, since
    a diverged model ranks nothing. Raises ValueError unless `target` holds both 0s and 1s.
    """
    positives = int((target == 1).sum())
    negatives = int((target == 0).sum())
    if not positives or not negatives or positives + negatives != len(target):
        raise ValueError(f"AUC needs 0s and 1s in the target, got {positives} ones in {len(target)} rows")
    if scores.isnan().any():
        return float("nan")
    rank_sum = _mean_ranks(scores)[target == 1].sum().item()
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def _mean_ranks(scores: Tensor) -> Tensor:
    """Return each score's rank from 1 in float64; equal scores share the mean of their ranks."""
    group: Tensor
    count: Tensor
    _, group, count = torch.unique(scores, return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count - 1) / 2)[group]
