"""A word-level language model of LSTM layers, in the medium size of Zaremba et al. 2014 (arXiv:1409.2329)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import dropout, linear


class WordLSTM(nn.Module):
    """Logits [B, T, words] for the next word of `ids` int64 [B, T]: an embedding, LSTM layers and a linear head.

    `tied` uses the embedding as head (Press & Wolf 2017, arXiv:1608.05859). Every window starts from the state zero.
    `share` of the activations between layers is dropped in training, by PyTorch's global random state.
    """

    def __init__(self, words: int, width: int = 650, depth: int = 2, tied: bool = False, share: float = 0.0) -> None:
        super().__init__()
        self.share = share
        self.embedding = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, depth, batch_first=True, dropout=share)
        # One matrix used twice, rather than two names for it: a parameter then has one name and one gradient.
        self.head = None if tied else nn.Linear(width, words)

    def forward(self, ids: Tensor) -> Tensor:
        """Predict the word after each."""
        states, _ = self.lstm(self._dropped(self.embedding(ids)))
        states = self._dropped(states)
        logits: Tensor = self.head(states) if self.head else linear(states, self.embedding.weight)
        return logits

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.share, self.training) if self.share else x
