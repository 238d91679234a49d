"""The shakespeare task: which character comes next? A character LSTM on tiny Shakespeare, dealt by who speaks.

As in LEAF (Caldas et al. 2018, arXiv:1812.01097), a client has the lines of some speakers and of no other, so that
clients differ as people do: in words, in verse or prose, in how much they say.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from thinwire.lab.tasks.base import Data, Rows, Task, Training
from thinwire.lab.tasks.folder import locate, not_found
from thinwire.lab.tasks.metrics import accuracy

FOLDERS, FILES = ("tinyshakespeare",), ("input.txt",)
SYMBOLS = 65
LENGTH = 64
SPEAKERS = 20
TEST_SHARE = 10
HIDDEN = 128
ONE_HOT = 5.0
"""With 1, the one input that is not zero moves so little that the first rounds learn letter frequencies and no more."""


def play(root: Path | None) -> Path | None:
    """Return the file of tiny Shakespeare in a data folder, if it is there."""
    found = locate(root, FOLDERS, FILES) if root else []
    return found[0] if found else None


def characters(text: str) -> tuple[Tensor, int]:
    """Return a text as symbol numbers (int64, 1-D) and how many symbols there are."""
    number = {symbol: at for at, symbol in enumerate(sorted(set(text)))}
    return torch.tensor([number[symbol] for symbol in text], dtype=torch.int64), len(number)


def load(root: Path | None) -> Data:
    """Return characters int64 [rows, 64], those that follow them [rows, 64], and which speaker each training row is of.

    The 20 speakers who say most, without their names; the last tenth of what each says is for testing. Training rows
    are in a fixed random order, so that the first ones are a fair share. Raises DataNotFound where the file lacks,
    ValueError where it is another text.
    """
    path = play(root)
    if path is None:
        raise not_found("shakespeare", root, "tinyshakespeare/input.txt (tiny Shakespeare, 1,115,394 characters)")
    text = path.read_text(encoding="utf8")
    symbols = sorted(set(text))
    lines = speeches(text)
    most = sorted(lines, key=lambda name: (-len(lines[name]), name))[:SPEAKERS]
    if len(symbols) > SYMBOLS or len(most) < SPEAKERS or len(lines[most[-1]]) <= TEST_SHARE * LENGTH:
        raise ValueError(
            f"{path}: {len(symbols)} symbols and {len(lines)} speakers, expected at most {SYMBOLS} symbols and at "
            f"least {SPEAKERS} speakers with over {TEST_SHARE * LENGTH} characters each, as in tiny Shakespeare"
        )
    number = {symbol: at for at, symbol in enumerate(symbols)}
    parts = [_rows(torch.tensor([number[symbol] for symbol in lines[name]])) for name in most]
    return _dealt(parts)


def speeches(text: str) -> dict[str, str]:
    """Return who says what: blocks between empty lines, the first line of each a name and a colon."""
    said: dict[str, list[str]] = {}
    for block in text.split("\n\n"):
        name, colon, speech = block.strip().partition(":\n")
        if colon and "\n" not in name:
            said.setdefault(name, []).append(f"{speech}\n\n")
    return {name: "".join(pieces) for name, pieces in said.items()}


def _rows(ids: Tensor) -> Rows:
    count = (len(ids) - 1) // LENGTH
    given, following = (ids[at : at + count * LENGTH].view(count, LENGTH) for at in (0, 1))
    return given, following


def _dealt(parts: list[Rows]) -> Data:
    """Return every speaker's first rows to train on, mixed, and the last ones to test on."""
    cuts = [len(part[0]) - len(part[0]) // TEST_SHARE for part in parts]
    first = [torch.cat([part[column][:cut] for part, cut in zip(parts, cuts, strict=True)]) for column in (0, 1)]
    last = [torch.cat([part[column][cut:] for part, cut in zip(parts, cuts, strict=True)]) for column in (0, 1)]
    speakers = torch.repeat_interleave(torch.tensor(cuts))
    order = torch.randperm(len(speakers), generator=torch.Generator().manual_seed(0))
    return Data(train=(first[0][order], first[1][order]), test=(last[0], last[1]), groups=speakers[order])


class CharLSTM(nn.Module):
    """Logits [rows, symbols, length] for the next character of `ids` int64 [rows, length]: one layer, one-hot input."""

    def __init__(self, symbols: int = SYMBOLS, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.symbols = symbols
        self.lstm = nn.LSTM(symbols, hidden, batch_first=True)
        self.head = nn.Linear(hidden, symbols)

    def forward(self, ids: Tensor) -> Tensor:
        """Predict the character after each."""
        states, _ = self.lstm(ONE_HOT * one_hot(ids, self.symbols).to(self.head.weight.dtype))
        logits: Tensor = self.head(states)
        return logits.transpose(1, 2)


TASK = Task(
    name="shakespeare",
    summary="the next character of tiny Shakespeare by speaker, LSTM of 108k parameters; needs a file, minutes",
    metric="accuracy",
    training=Training(rounds=30, batch_size=16, lr=2.0, momentum=0.5, partition="by-label(2)"),
    load=load,
    architecture=CharLSTM,
    loss=cross_entropy,
    score=accuracy,
)
