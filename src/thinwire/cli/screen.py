"""Tables for people: drawn by rich on a terminal where it is installed, else aligned text that pipes well."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from collections.abc import Iterable, Sequence

from thinwire.errors import escaped

MOST_OF_CELL, MOST_SIGNS = 160, 20_000
"""Characters of a cell, and of a line: sentences name what is possible, and that may be much."""
NAME = 36
"""Signs of a line that a folded name takes at most."""


def drawing() -> bool:
    """Say whether stdout is a terminal and rich can draw on it."""
    return sys.stdout is not None and sys.stdout.isatty() and importlib.util.find_spec("rich") is not None


def say(text: str = "") -> None:
    """Print lines that hold names and texts of strangers; line ends within those must be escaped before."""
    print("\n".join(escaped(line, MOST_SIGNS) for line in text.split("\n")))


def named(file: object) -> str:
    """Return a file's name on one line, however it is called."""
    return escaped(file, MOST_SIGNS)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> None:
    """Print a table; the first ``left`` columns are aligned left, the others right. Cells may hold strangers' texts."""
    safe = [[escaped(cell, MOST_OF_CELL) for cell in row] for row in rows]
    if drawing():
        _draw(head, safe, left)
    else:
        _print(head, safe, left)


def folded(row: Sequence[str]) -> list[Sequence[str]]:
    """Return a row as one or more lines: a long name goes on in the next one, so that figures stay on the screen."""
    pieces = textwrap.wrap(row[0], NAME, break_on_hyphens=False) or [row[0]]
    return [(pieces[0], *row[1:]), *((piece, *[""] * (len(row) - 1)) for piece in pieces[1:])]


def _print(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [
            text.ljust(width) if at < left else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def _draw(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD)
    for at, name in enumerate(head):
        drawn.add_column(name, justify="left" if at < left else "right", no_wrap=at == 0)
    for row in rows:
        drawn.add_row(*map(Text, row))
    Console().print(drawn)
