"""The digits task: scikit-learn's 1,797 handwritten digits, small enough for a full run in seconds, and offline."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from thinwire.lab.tasks.base import Data, Task, Training
from thinwire.lab.tasks.metrics import accuracy

TEST_SHARE = 0.2
BRIGHTEST = 16


def load(_folder: Path | None = None) -> Data:
    """Return images float32 [rows, 64] in 0..1 and labels int64 [rows]; a fixed split, 80/20 within each class.

    The data ship with scikit-learn (UCI "Optical recognition of handwritten digits", its test part), so that no folder
    is needed and none is looked in.
    """
    # Here and not above: the import takes a second that a listing of the tasks should not.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pieces = train_test_split(images, labels, test_size=TEST_SHARE, stratify=labels, random_state=0)
    x_train, x_test = (torch.tensor(piece / BRIGHTEST, dtype=torch.float32) for piece in pieces[:2])
    y_train, y_test = (torch.tensor(piece, dtype=torch.int64) for piece in pieces[2:])
    return Data(train=(x_train, y_train), test=(x_test, y_test))


def mlp() -> nn.Module:
    """Return 64-256-256-10 with ReLU: 85,002 parameters."""
    return nn.Sequential(
        nn.Linear(64, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )


TASK = Task(
    name="digits",
    summary="8x8 handwritten digits from scikit-learn, MLP of 85k parameters; offline, seconds",
    metric="accuracy",
    training=Training(rounds=20, local_epochs=2, batch_size=8, lr=0.05, momentum=0.9),
    load=load,
    architecture=mlp,
    loss=cross_entropy,
    score=accuracy,
)
