"""Where a client keeps tensors between messages: in Flower's ``Context`` while they are few, else in a folder.

A deployment starts a process for each message, hands it the whole Context and gives it five seconds at its end to
hand it back: what is large does not survive that. So from ``CONTEXT_BYTES`` on tensors are files of the node, and the
Context holds the name of their folder. The folders lie in ``thinwire-folder`` of the node's config, else in the
variable THINWIRE_STATE of the environment, else in the user's cache. Who has no disk keeps nothing, and says so.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from flwr.app import ConfigRecord, Context
from torch import Tensor

from thinwire.codec import Spec, Specs
from thinwire.errors import WireError
from thinwire.flower import records

_log = logging.getLogger("thinwire")
CONTEXT_BYTES = 8 << 20
"""Most bytes of tensors that stay in the Context."""
FOLDER_BYTES = 64 << 30
"""Most bytes of all folders side by side; those used longest ago go first."""
FOLDER_DAYS = 7.0
"""Folders that were not used for so long are removed."""
_PREFIX = "thinwire."
_HEAD = struct.Struct("<II")
"""Bytes and CRC-32 of the list of what follows."""
_FOLDER = re.compile(r"-?\d+-\d+-[0-9a-f]{16}")
"""What the folders of nodes are called: of a run, a node, and nobody else."""


class Damaged(WireError):
    """What was kept is gone, or not what was written."""


class Store(Protocol):
    """Named sets of tensors, and a few facts beside them. Written first, named by the facts, removed last."""

    def read(self, name: str) -> Mapping[str, Tensor]:
        """Return tensors by name, each read when it is asked for. Raises WireError where they are gone or damaged."""
        ...

    def write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors. Raises OSError."""
        ...

    def commit(self, facts: dict[str, Any], names: set[str]) -> None:
        """Keep the facts, and of what was written only ``names``. Raises OSError."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what was committed last; nothing where there is nothing, or it cannot be read."""
        ...


class Tensors(Mapping[str, Tensor]):
    """Tensors in a file's bytes, read one by one."""

    def __init__(self, take: Any, size: int) -> None:
        """``take(at, count)`` returns bytes; ``size`` is how many there are."""
        self._take = take
        self._where = dict[str, tuple[torch.dtype, tuple[int, ...], int, int, int]]()
        if size < _HEAD.size:
            raise Damaged(f"stored tensors take {size} bytes, which is too few")
        length, checksum = _HEAD.unpack(take(0, _HEAD.size))
        at = _HEAD.size + length
        if at > size or zlib.crc32(listed := bytes(take(_HEAD.size, length))) != checksum:
            raise Damaged("the list of the stored tensors is damaged")
        for name, dtype, shape, count, tensor_checksum in json.loads(listed):
            self._where[name] = getattr(torch, dtype), tuple(shape), at, count, tensor_checksum
            at += count
        if at != size:
            raise Damaged(f"stored tensors take {at} bytes, there are {size}")

    def __getitem__(self, name: str) -> Tensor:
        dtype, shape, at, count, checksum = self._where[name]
        data = self._take(at, count)
        if zlib.crc32(data) != checksum:
            raise Damaged(f"the stored tensor {name!r} is damaged")
        if not count:
            return torch.zeros(shape, dtype=dtype)
        return torch.frombuffer(data if isinstance(data, bytearray) else bytearray(data), dtype=dtype).reshape(shape)

    @property
    def specs(self) -> Specs:
        """Names, shapes and dtypes; nothing is read for them."""
        return {name: Spec(shape, dtype) for name, (dtype, shape, *_) in self._where.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors; nothing is read for them."""
        return sum(count for *_, count, _ in self._where.values())

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def _pieces(tensors: Mapping[str, Tensor]) -> Iterator[memoryview | bytes]:
    flat = {name: x.contiguous().reshape(-1).view(torch.uint8).numpy().data for name, x in tensors.items()}
    entries = [
        (name, str(x.dtype).removeprefix("torch."), list(x.shape), len(flat[name]), zlib.crc32(flat[name]))
        for name, x in tensors.items()
    ]
    head = json.dumps(entries).encode()
    yield _HEAD.pack(len(head), zlib.crc32(head)) + head
    yield from flat.values()


class ContextStore:
    """Tensors in ``Context.state``. While the app runs they are not there: some apps ask if their state is empty."""

    def __init__(self, context: Context) -> None:
        self._context = context
        ours = [name for name in context.state if name.startswith(_PREFIX)]
        self._records = {name: context.state.pop(name) for name in ours}

    @property
    def used(self) -> bool:
        """Whether there is anything of ours."""
        return bool(self._records)

    def read(self, name: str) -> Mapping[str, Tensor]:
        """See ``Store``."""
        data = records.data_of(self._records.get(_PREFIX + name), records.STATE)
        if data is None:
            raise Damaged(f"{name} is not in the context")
        return Tensors(lambda at, count: memoryview(data)[at : at + count], len(data))

    def write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """See ``Store``."""
        self._records[_PREFIX + name] = records.carry(b"".join(_pieces(tensors)), records.STATE)

    def commit(self, facts: dict[str, Any], names: set[str]) -> None:
        """See ``Store``."""
        kept = {_PREFIX + name for name in names}
        self._records = {name: record for name, record in self._records.items() if name in kept}
        self._records[_PREFIX + "facts"] = ConfigRecord({"facts": json.dumps(facts)})

    def facts(self) -> dict[str, Any]:
        """See ``Store``."""
        record = self._records.get(_PREFIX + "facts")
        return _facts(record.get("facts") if isinstance(record, ConfigRecord) else None)

    def put_back(self) -> None:
        """Put everything into the context's state again."""
        for name, record in self._records.items():
            self._context.state[name] = record


class FolderStore:
    """Tensors in files of a folder that no other node has, each written beside its place and then moved there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> Mapping[str, Tensor]:
        """See ``Store``."""
        path = self._folder / name
        try:
            size = path.lstat().st_size
        except OSError as error:
            raise Damaged(f"{name} is gone: {error}") from None
        return Tensors(lambda at, count: _read(path, at, count), size)

    def write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """See ``Store``."""
        self._replace(name, _pieces(tensors))

    def commit(self, facts: dict[str, Any], names: set[str]) -> None:
        """See ``Store``."""
        self._replace("facts", [json.dumps(facts).encode()])
        for path in self._folder.iterdir():
            if path.name not in names | {"facts"}:
                with contextlib.suppress(OSError):
                    path.unlink()
        os.utime(self._folder)

    def facts(self) -> dict[str, Any]:
        """See ``Store``."""
        path = self._folder / "facts"
        with contextlib.suppress(OSError, WireError):
            return _facts(_read(path, 0, path.lstat().st_size).decode(errors="replace"))
        return {}

    def remove(self) -> None:
        """Keep nothing any more."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _replace(self, name: str, pieces: Any) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", delete=False) as draft:
            try:
                for piece in pieces:
                    draft.write(piece)
                draft.close()
                os.replace(draft.name, self._folder / name)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise


def folder_of(context: Context, facts: dict[str, Any]) -> FolderStore | None:
    """Return the folder that the facts in a context name; None where they name none."""
    handle = facts.get("folder")
    if not isinstance(handle, str) or not _FOLDER.fullmatch(handle):
        return None
    with contextlib.suppress(OSError):
        if not (folder := root(context) / handle).is_symlink():
            return FolderStore(folder)
    return None


def new_folder(context: Context) -> tuple[FolderStore, dict[str, Any]]:
    """Return a store in a folder of its own, and the facts by which the context names it. Raises OSError."""
    parent = root(context)
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        clean(parent)
    handle = f"{context.run_id}-{context.node_id}-{secrets.token_hex(8)}"
    (parent / handle).mkdir(mode=0o700)  # fails where there is anything of this name, a link among it
    return FolderStore(parent / handle), {"folder": handle}


def root(context: Context) -> Path:
    """Return the folder of all nodes' folders. Raises OSError where nobody names one and the user has no home."""
    if named := context.node_config.get("thinwire-folder") or os.environ.get("THINWIRE_STATE"):
        return Path(str(named))
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "thinwire"
    try:
        return Path.home() / ".cache" / "thinwire"
    except RuntimeError as error:
        raise OSError(str(error)) from None


def clean(parent: Path) -> None:
    """Remove folders of nodes that were not used for long, and the oldest where all are too large.

    ``parent`` may be a folder of the user's own, with other things in it: they are left alone.
    """
    used = []
    ours = (path for path in parent.iterdir() if _FOLDER.fullmatch(path.name))
    for folder in (path for path in ours if path.is_dir() and not path.is_symlink()):
        with contextlib.suppress(OSError):
            size = sum(path.stat().st_size for path in folder.iterdir())
            used.append((folder.stat().st_mtime, size, folder))
    total, oldest = sum(size for _, size, _ in used), time.time() - FOLDER_DAYS * 86_400
    for touched, size, folder in sorted(used, key=lambda each: each[0]):
        if touched >= oldest and total <= FOLDER_BYTES:
            break
        shutil.rmtree(folder, ignore_errors=True)
        total -= size


def _read(path: Path, at: int, count: int) -> bytearray:
    """Return bytes of a file. Raises Damaged; links are not followed."""
    data = bytearray(count)
    try:
        with open(path, "rb", opener=_no_links) as file:
            file.seek(at)
            if file.readinto(data) != count:
                raise Damaged(f"{path.name} is cut short")
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read: {error}") from None
    return data


def _no_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _facts(text: object) -> dict[str, Any]:
    with contextlib.suppress(ValueError, TypeError):
        facts = json.loads(str(text))
        return facts if isinstance(facts, dict) else {}
    return {}
