"""Output files: there whole or not at all, and never through a link.

What is written lies under an unpredictable name beside its place until it is whole, in a file that was not there
before. A file that is replaced hands on its mode; a new one has what the umask leaves. Nothing is left behind by an
error, nor by a signal that ends the process while its main thread writes.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import signal
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Literal

Over = Literal["nothing", "file", "link"]
"""What may be replaced: nothing, a regular file (or a link to one: the link goes), a link to nothing too."""
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TRIED_BYTES = 1 << 16
_swept: set[tuple[int, Path]] = set()
"""What is to go when this process (a fork has another number) is ended by a signal."""


def check_target(path: str | Path, over: Over = "file") -> None:
    """Raise OSError, with what to do, where a file cannot be written to ``path``: call it before long work.

    Tries it: a file of a few bytes is made beside ``path`` and removed, so that a full disk is noticed too.
    """
    target = Path(path)
    _check_place(target, over)
    beside = _beside(target)
    file = create(beside)
    with swept(beside), _named(target), file:
        file.write(bytes(_TRIED_BYTES))


@contextmanager
def replaced(path: str | Path, over: Over = "file") -> Iterator[BinaryIO]:
    """Give a file to write; it becomes ``path`` when the block ends without an error. Raises OSError."""
    target = Path(path)
    _check_place(target, over)
    beside = _beside(target)
    file = _create_like(target, beside)
    with swept(beside), _named(target):
        with file:
            yield file
        _put(beside, target, over)


def write_files(contents: Mapping[Path, str | bytes], over: Over = "file") -> None:
    """Write every content (texts in UTF-8) beside its file first, and only then put all in place. Raises OSError."""
    with ExitStack() as stack:
        drafts: dict[Path, Path] = {}
        for target, content in contents.items():
            _check_place(target, over)
            drafts[target] = beside = _beside(target)
            file = _create_like(target, beside)
            stack.enter_context(swept(beside))
            with _named(target), file:
                file.write(content.encode() if isinstance(content, str) else content)
        for target, beside in drafts.items():
            _put(beside, target, over)


def create(path: Path, mode: int = 0o666) -> BinaryIO:
    """Open a file that is not there yet, neither file nor link. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, mode), "wb")


@contextmanager
def swept(path: Path) -> Iterator[None]:
    """Remove a file or folder that is there when the block ends, however it ends; what was moved away stays."""
    own = os.getpid(), path
    _swept.add(own)
    try:
        with _heeding_signals():
            yield
    finally:
        _remove(path)
        _swept.discard(own)


def _check_place(target: Path, over: Over) -> None:
    """Raise OSError for what is in the place of a file and may not be replaced, or cannot be."""
    try:
        found = target.lstat()
    except FileNotFoundError:
        return
    mode = found.st_mode
    if stat.S_ISLNK(mode):
        with suppress(OSError):
            mode = target.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{target} is a folder, expected a file")
    if stat.S_ISLNK(mode) and over != "link":
        raise FileExistsError(f"{target} is a link to nothing; remove it, or give another file")
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise OSError(f"{target} is no regular file and would be replaced by one; give another file")
    if over == "nothing":
        raise FileExistsError(f"{target} is there already; give another file")


def _beside(target: Path) -> Path:
    # Not the target's name and more: that could be longer than names may be.
    return target.with_name(f".thinwire-{secrets.token_hex(8)}")


def _create_like(target: Path, beside: Path) -> BinaryIO:
    try:
        old = target.stat()
    except OSError:
        return create(beside)
    # Nobody may read the draft who may not read the file.
    file = create(beside, 0o600)
    with suppress(PermissionError):
        os.fchown(file.fileno(), old.st_uid, old.st_gid)
    os.fchmod(file.fileno(), old.st_mode & 0o777)
    return file


def _put(beside: Path, target: Path, over: Over) -> None:
    if over != "nothing":
        os.replace(beside, target)
        return
    try:
        os.link(beside, target)
    except OSError:
        # There by now, or a file system without links.
        _check_place(target, over)
        os.replace(beside, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def _named(target: Path) -> Iterator[None]:
    """Put the file's name to the error of a full disk: what is raised by writing names nothing."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and error.filename is None:
            error.filename = str(target)
        raise


@contextmanager
def _heeding_signals() -> Iterator[None]:
    """Sweep before a signal ends the process; only the main thread can see to that, and no other handler is touched."""
    own = threading.current_thread() is threading.main_thread()
    heeded = [number for number in _ENDING if own and signal.getsignal(number) is signal.SIG_DFL]
    for number in heeded:
        signal.signal(number, _sweep_and_end)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


def _sweep_and_end(number: int, frame: FrameType | None) -> None:
    for process, path in list(_swept):
        if process == os.getpid():
            _remove(path)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
