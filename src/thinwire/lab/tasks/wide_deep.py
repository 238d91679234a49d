"""Wide & Deep (Cheng et al. 2016, arXiv:1606.07792): a linear model on sparse features and an MLP on embeddings."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from thinwire.lab.tasks.base import Rows


class WideDeep(nn.Module):
    """Logit [rows] = sum of the features' wide weights + MLP(their embeddings, numeric columns).

    A feature is a hash bucket, that of a category or of a cross of categories. The paper embeds plain categories only;
    here crosses are embedded too, in the same hashed table, which is where most parameters are: in one batch only the
    rows that it looks up have gradients, so that a client's update of both tables is zero in all other rows.
    """

    def __init__(self, buckets: int, features: int, numerics: int, dim: int) -> None:
        super().__init__()
        self.wide = nn.EmbeddingBag(buckets, 1, mode="sum")
        self.embedding = nn.Embedding(buckets, dim)
        self.deep = nn.Sequential(
            nn.Linear(features * dim + numerics, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 1),
        )

    def forward(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """Return logits [rows] of `ids` int32 [rows, features] and `numeric` float32 [rows, numerics]."""
        deep = self.deep(torch.cat([self.embedding(ids).flatten(1), numeric], dim=1))
        logits: Tensor = self.wide(ids) + deep
        return logits.squeeze(1)


def click_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of `logits` [rows] against `target` [rows] of 0s and 1s."""
    return binary_cross_entropy_with_logits(logits, target)


def rows_of(ids: NDArray[np.int32], numeric: NDArray[np.float64], target: NDArray[np.bool_]) -> Rows:
    """Return what WideDeep trains on: ids int32 [rows, features], numeric float32 [rows, numerics], target float32."""
    return torch.tensor(ids), torch.tensor(numeric, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)
