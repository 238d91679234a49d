"""Checkpoints: folders that are there whole or not at all. The files are frames and JSON; nothing in them can run.

``<out>/checkpoints/step-00000120/`` holds ``run.json`` (config, position, records), ``model.twf`` (parameters, buffers,
optimizer: the same on all ranks) and ``rank-<r>.twf`` (residuals, histories, generators: each rank its own).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thinwire.codec import State
from thinwire.lab.training.frames import load, save, write_through
from thinwire.lab.training.position import Position

SCHEMA = "thinwire.checkpoint/1"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Saved:
    """A checkpoint on disk: where it is, and what its ``run.json`` says."""

    folder: Path
    config: dict[str, Any]
    position: Position
    world: int
    records: dict[str, Any]

    def shared(self) -> State:
        """Return what is the same on all ranks. Raises ValueError for a damaged file, OSError."""
        return load(self.folder / "model.twf")

    def of_rank(self, rank: int) -> State:
        """Return what one rank saved. Raises ValueError for a damaged file, OSError."""
        return load(self.folder / f"rank-{rank}.twf")

    def check(self) -> None:
        """Raise ValueError naming a file that is damaged, OSError for one that is missing."""
        self.shared()
        for rank in range(self.world):
            self.of_rank(rank)


@dataclass(frozen=True)
class Writer:
    """Writes the checkpoints of a run, all ranks together: ``barrier`` returns once every rank has called it."""

    out: Path
    rank: int
    world: int
    barrier: Callable[[], object]

    def write(
        self, position: Position, config: dict[str, Any], records: dict[str, Any], shared: State, own: State
    ) -> None:
        """Write one, then remove the older. A process that dies in between leaves the older one in place."""
        whole = self.out / "checkpoints" / f"step-{position.step:08d}"
        draft = whole.with_name(f".{whole.name}")
        if self.rank == 0:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        self.barrier()
        save(own, draft / f"rank-{self.rank}.twf")
        self.barrier()
        if self.rank == 0:
            save(shared, draft / "model.twf")
            text = {"schema": SCHEMA, "config": config, "position": asdict(position), "world": self.world}
            write_through(json.dumps(text | {"records": records}, allow_nan=False).encode(), draft / "run.json")
            _put_in_place(draft, whole)


def _put_in_place(draft: Path, whole: Path) -> None:
    older = [path for path in whole.parent.iterdir() if path not in (draft, whole)]
    if whole.exists():
        shutil.rmtree(whole)
    os.replace(draft, whole)
    for path in older:
        if _NAME.fullmatch(path.name.removeprefix(".")):
            shutil.rmtree(path)


def newest(out: Path) -> Saved | None:
    """Return the newest checkpoint of a run's folder, None where there is none.

    Raises ValueError naming a ``run.json`` that is not one of ours, OSError.
    """
    found = sorted((out / "checkpoints").glob("step-*"), key=_step)
    return _read(found[-1]) if found else None


def _step(folder: Path) -> int:
    named = _NAME.fullmatch(folder.name)
    return int(named[1]) if named else -1


def _read(folder: Path) -> Saved:
    file = folder / "run.json"
    try:
        text = json.loads(file.read_text(encoding="utf-8"))
        if text["schema"] != SCHEMA:
            raise KeyError(text["schema"])
        position = Position(**text["position"])
        return Saved(folder, text["config"], position, int(text["world"]), text["records"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no checkpoint of thinwire ({error})") from error
