"""Checkpoints: folders that are there whole or not at all. The files are frames and JSON; nothing in them can run.

``<out>/checkpoints/step-00000120/`` holds ``run.json`` (config, position, records), ``model.twf`` (parameters, buffers,
optimizer: the same on all ranks) and ``rank-<r>.twf`` (residuals, histories, generators: each rank its own).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thinwire.codec import State
from thinwire.files import swept
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

    def check(self, ranks: Iterable[int] | None = None) -> None:
        """Raise ValueError naming a file that is damaged, OSError for one that is missing; None: those of all ranks."""
        self.shared()
        for rank in range(self.world) if ranks is None else ranks:
            self.of_rank(rank)


@dataclass(frozen=True)
class Writer:
    """Writes the checkpoints of a run, all ranks together: ``barrier`` returns once every rank has called it.

    ``leads``: whether this rank writes what its folder holds once; None: the first one does, and all share a folder.
    """

    out: Path
    rank: int
    world: int
    barrier: Callable[[], object]
    leads: bool | None = None

    def write(
        self,
        position: Position,
        config: dict[str, Any],
        records: dict[str, Any],
        shared: State,
        own: Mapping[int, State],
    ) -> None:
        """Write one, then remove the older; ``own`` is by rank. Who dies in between leaves the older one in place."""
        whole = self.out / "checkpoints" / f"step-{position.step:08d}"
        draft = whole.with_name(f".{whole.name}")
        leads = self.rank == 0 if self.leads is None else self.leads
        with swept(draft) if leads else nullcontext():
            if leads:
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir(parents=True)
            self.barrier()
            for rank, state in own.items():
                save(state, draft / f"rank-{rank}.twf")
            self.barrier()
            if leads:
                save(shared, draft / "model.twf")
                text = {"schema": SCHEMA, "config": config, "position": asdict(position), "world": self.world}
                write_through(json.dumps(text | {"records": records}, allow_nan=False).encode(), draft / "run.json")
                _put_in_place(draft, whole)
        # Folders of several machines: none loses its older one before all have the newer.
        self.barrier()
        if leads:
            _remove_others(whole)


def _put_in_place(draft: Path, whole: Path) -> None:
    if whole.exists():
        shutil.rmtree(whole)
    os.replace(draft, whole)


def _remove_others(whole: Path) -> None:
    for path in whole.parent.iterdir():
        if path != whole and _NAME.fullmatch(path.name.removeprefix(".")):
            shutil.rmtree(path)


def newest(out: Path, most: int | None = None) -> Saved | None:
    """Return the newest checkpoint of a run's folder, of at most ``most`` steps, None where there is none.

    Raises ValueError naming a ``run.json`` that is not one of ours, OSError.
    """
    found = sorted((out / "checkpoints").glob("step-*"), key=_step)
    found = [folder for folder in found if most is None or _step(folder) <= most]
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
