"""A small decoder-only transformer over characters (GPT-2's layout: Radford et al. 2019), without dropout."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention


class CharGPT(nn.Module):
    """Logits [rows, length, symbols] for the next character of `ids` int64 [rows, length], length up to `context`.

    With 65 symbols and the defaults 1.8 million parameters: token and position embeddings, pre-norm blocks.
    """

    def __init__(self, symbols: int, context: int = 64, width: int = 192, depth: int = 4, heads: int = 6) -> None:
        super().__init__()
        self.tokens = nn.Embedding(symbols, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, symbols, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Predict the character after each."""
        at = torch.arange(ids.shape[1], device=ids.device)
        logits: Tensor = self.head(self.norm(self.blocks(self.tokens(ids) + self.positions(at))))
        return logits


class Block(nn.Module):
    """Causal self-attention and a two-layer perceptron, each on normalised input and added to it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return x of the same shape [rows, length, width]."""
        x = x + self.out(self._attend(self.qkv(self.norm1(x))))
        update: Tensor = self.down(gelu(self.up(self.norm2(x))))
        return x + update

    def _attend(self, qkv: Tensor) -> Tensor:
        rows, length, _ = qkv.shape
        query, key, value = qkv.view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed: Tensor = scaled_dot_product_attention(query, key, value, is_causal=True)
        return mixed.transpose(1, 2).reshape(rows, length, -1)
