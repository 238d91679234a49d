"""Text as rows: tokens, a vocabulary from the training part, and windows for truncated back-propagation in time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thinwire.errors import unknown
from thinwire.lab.training.data.base import Batch, Dataset

LINE_END, UNKNOWN = "<eos>", "<unk>"
UNITS = ("characters", "words")


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of `context` tokens side by side in `ids` int64 [tokens]; what is left at the end is not used."""

    ids: Tensor
    context: int

    def __len__(self) -> int:
        """Return how many windows there are."""
        return max(0, len(self.ids) - 1) // self.context

    def take(self, rows: Tensor) -> Batch:
        """Return tokens int64 [B, context] and those that follow them."""
        at = rows[:, None] * self.context + torch.arange(self.context)
        return self.ids[at], self.ids[at + 1]

    def augmented(self, draws: np.random.Generator) -> Windows:
        """Raise ValueError: there is no crop or mirror image of a text."""
        raise ValueError("augmentation is for images; this data set is text")


def tokens(text: str, unit: str) -> list[str]:
    """Return the characters of a text, or its words between blanks with a mark at every line's end.

    Raises ValueError for another unit.
    """
    if unit not in UNITS:
        raise ValueError(unknown("unit", unit, UNITS))
    if unit == "characters":
        return list(text)
    return [word for line in text.splitlines() for word in (*line.split(), LINE_END)]


def text_dataset(name: str, texts: Iterable[str], context: int, unit: str) -> Dataset:
    """Return the data set of two texts, one to train on and one to test on.

    What the second alone has becomes `<unk>`, which is a symbol of every vocabulary. Raises ValueError for a context
    below 1 and for a text without a whole window.
    """
    if context < 1:
        raise ValueError(f"dataset {name}: context is {context}, expected 1 token or more")
    parts = [tokens(text, unit) for text in texts]
    for part in parts:
        if len(part) <= context:
            raise ValueError(f"dataset {name}: {len(part)} {unit} in one part, expected over {context}, the context")
    number = {symbol: at for at, symbol in enumerate(sorted({*parts[0], UNKNOWN}))}
    first, last = (Windows(_numbered(part, number), context) for part in parts)
    return Dataset(name, "text", first, last, len(number), {"context": context})


def _numbered(part: Sequence[str], number: dict[str, int]) -> Tensor:
    other = number[UNKNOWN]
    return torch.tensor([number.get(symbol, other) for symbol in part], dtype=torch.int64)
