"""A linear classifier of the mean of word and word-pair embeddings (fastText: Joulin et al. 2016, arXiv:1607.01759)."""

from __future__ import annotations

from torch import Tensor, nn

PADDING = 0


class TextBag(nn.Module):
    """Logits [rows, classes] of `ids` int64 [rows, features]: hash buckets of a text's words and pairs, 0 for none.

    Nearly all parameters are in the table, of which a batch uses few rows: the gradient of all others is zero.
    """

    def __init__(self, buckets: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(buckets, width)
        self.head = nn.Linear(width, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Classify; a text without any feature has the mean zero."""
        used = (ids != PADDING).unsqueeze(-1)
        mean = (self.embedding(ids) * used).sum(dim=1) / used.sum(dim=1).clamp(min=1)
        logits: Tensor = self.head(mean)
        return logits
