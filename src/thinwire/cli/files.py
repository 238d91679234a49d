"""What `pack` and `unpack` share: files to write, sizes as text, errors of one sentence, a progress bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from thinwire.cli.bad_input import BadInput
from thinwire.cli.options import make_folder
from thinwire.cli.screen import drawing
from thinwire.errors import WireError
from thinwire.files import Over, check_target

if TYPE_CHECKING:
    from thinwire.checkpoint.progress import OnBytes


def bytes_of(text: str, option: str) -> int:
    """Read a size such as 5MB; a plain number is bytes. Raises BadInput."""
    from thinwire.lab.links import size_bytes

    try:
        return int(size_bytes(f"{text}B" if text.strip().isdigit() else text))
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from error


def output(path: Path, force: bool, *inputs: Path | None) -> Path:
    """Return a path that can be written: in a folder that is there, no input, and free unless forced."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder, expected a file; say with -o what to write")
    if any(given is not None and path.resolve() == given.resolve() for given in inputs):
        raise BadInput(f"{path} is read: give another file with -o")
    make_folder(path.parent)
    try:
        check_target(path, over(force))
    except FileExistsError as error:
        raise BadInput(f"{error} with -o, or --force to replace it") from error
    return path


def over(force: bool) -> Over:
    """Return what a command that was forced, or was not, may replace."""
    return "link" if force else "nothing"


@contextmanager
def moving(file: Path) -> Iterator[None]:
    """Turn what cannot be read or written, and goals that cannot be met, into BadInput. Nothing is left behind."""
    from thinwire.checkpoint import CheckpointError

    try:
        yield
    except (CheckpointError, OSError) as error:
        raise BadInput(str(error)) from error
    except WireError as error:
        raise BadInput(f"{file}: {error}") from error


@contextmanager
def progress(quiet: bool) -> Iterator[OnBytes]:
    """Give a function to call with every piece: it moves a bar on a terminal, and does nothing elsewhere."""
    from thinwire.checkpoint.progress import ignore

    if quiet or not drawing():
        yield ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    # A console of its own: on the shared one, what is drawn elsewhere would take these bars in.
    with Progress(*columns, TimeRemainingColumn(), console=Console(), transient=True) as shown:
        bars: dict[str, int] = {}

        def on_bytes(stage: str, more: int, total: int) -> None:
            bar = bars.setdefault(stage, -1)
            if bar < 0:
                bar = bars[stage] = shown.add_task(stage, total=total)
            shown.advance(bar, more)  # type: ignore[arg-type]

        yield on_bytes
