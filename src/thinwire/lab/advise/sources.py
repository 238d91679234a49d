"""Where the tensors come from: a task that is trained now, a checkpoint, or the shapes of a well-known model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from thinwire.codec import Spec, derive_seed
from thinwire.delta import subtract
from thinwire.errors import escaped, quoted, unknown
from thinwire.lab.advise.sample import Pick, choose
from thinwire.lab.advise.shapes import MODELS
from thinwire.lab.advise.subject import BadSubject, Subject
from thinwire.lab.advise.synthetic import update
from thinwire.lab.one_thread import one_thread
from thinwire.lab.tasks import Task, data_dir, find, partition
from thinwire.lab.tasks.base import Rows

if TYPE_CHECKING:
    from thinwire.checkpoint.entries import Entry
    from thinwire.checkpoint.source import Checkpoint

MILLION = 1e6
_MENTIONED = 0.005
"""Less of a checkpoint is not worth a word."""
_MOST_WORDS = 1000


def from_task(name: str, folder: Path | None = None, clients: int | None = None, seed: int = 0) -> Subject:
    """Train one client for one local round from the task's initial weights; the client has the median number of rows.

    Raises ValueError for an unknown task and for rows that cannot be dealt, DataNotFound where files lack.
    """
    task = find(name)
    data, count = task.load(data_dir(folder)), clients or task.training.clients
    parts = sorted(partition(task.training.partition)(data.classes, count, seed), key=len)
    rows = torch.from_numpy(parts[len(parts) // 2])
    own, model = tuple(column[rows] for column in data.train), task.model(seed)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with one_thread():
        _warm_up(task, own, seed)
        started = time.perf_counter()
        task.train(model, own, task.training, seed)
        compute_s = time.perf_counter() - started
    tensors = subtract(model.state_dict(), before)
    about = f"the update of one client, trained now: {task.training.local_epochs} local epochs on {len(rows):,} rows"
    return Subject(name, about, tensors, dict.fromkeys(tensors, 1.0), compute_s=compute_s)


def _warm_up(task: Task, rows: Rows, seed: int) -> None:
    """Train another model on one batch: the very first step loads much that no later one does."""
    batch = task.training.batch_size
    task.train(task.model(seed), tuple(column[:batch] for column in rows), task.training, seed)


def from_model(name: str, most_bytes: float, seed: int = 0) -> Subject:
    """Draw an update of a well-known model. Raises BadSubject for one that is not known."""
    if name not in MODELS:
        raise BadSubject(unknown("model", name, MODELS))
    specs = {key: Spec(shape, torch.float32) for key, shape in MODELS[name]().items()}
    picks = choose(specs, most_bytes)
    tensors = {
        pick.name: update(_cut(specs[pick.name].shape, pick.rows), derive_seed(seed, pick.name)) for pick in picks
    }
    millions = sum(spec.numel for spec in specs.values()) / MILLION
    about = f"{millions:.4g} million parameters, a synthetic update: sizes and errors are estimates"
    return Subject(name, about, tensors, {pick.name: pick.weight for pick in picks}, synthetic=True)


def from_checkpoint(file: Path, base: Path | None, most_bytes: float) -> Subject:
    """Read a safetensors file (or the index of several), or its difference to ``base``.

    Raises ValueError where a file cannot be read, and BadSubject where two are not of one model.
    """
    from thinwire.checkpoint.source import open_checkpoint

    newer, older = open_checkpoint(file), open_checkpoint(base) if base else None
    specs = {entry.name: entry.spec for entry in newer.entries}
    picks = choose(specs, most_bytes)
    tensors = _read(newer, picks)
    if older is not None:
        _check_same(newer, older)
        tensors = subtract(tensors, _read(older, picks))
    about = f"the difference to {base}" if base else "the tensors themselves, as a first download sends them"
    about = escaped(about + _exact(newer.entries), _MOST_WORDS)
    return Subject(escaped(file.name), about, tensors, {pick.name: pick.weight for pick in picks}, whole=base is None)


def _exact(entries: Sequence[Entry]) -> str:
    """Return which part of a checkpoint keeps every bit, whatever the option, as words; empty where none does."""
    exact = [entry for entry in entries if not entry.spec.dtype.is_floating_point]
    part = sum(entry.spec.nbytes for entry in exact) / max(sum(entry.spec.nbytes for entry in entries), 1)
    if part < _MENTIONED:
        return ""
    return f"; {100 * part:.0f}% of the bytes ({', '.join(sorted({entry.dtype for entry in exact}))}) keep every bit"


def _read(checkpoint: Checkpoint, picks: Sequence[Pick]) -> dict[str, Tensor]:
    from thinwire.checkpoint.pieces import Piece

    entries = {entry.name: entry for entry in checkpoint.entries}
    pieces = [Piece(entries[pick.name], 0, _cut(entries[pick.name].spec.shape, pick.rows)) for pick in picks]
    return {piece.entry.name: checkpoint.read(piece) for piece in pieces}


def _cut(shape: tuple[int, ...], rows: int | None) -> tuple[int, ...]:
    return shape if rows is None else (rows, *shape[1:])


def _check_same(newer: Checkpoint, older: Checkpoint) -> None:
    ours, theirs = ({entry.name: entry.spec for entry in one.entries} for one in (newer, older))
    for name in {**ours, **theirs}:
        mine, other = ours.get(name), theirs.get(name)
        if mine != other:
            raise BadSubject(
                f"tensor {quoted(name)} is {_shown(mine)} in {newer.path} and {_shown(other)} in {older.path}; a "
                "difference needs two checkpoints of one model"
            )


def _shown(spec: Spec | None) -> str:
    return "missing" if spec is None else f"{tuple(spec.shape)} {str(spec.dtype).removeprefix('torch.')}"
