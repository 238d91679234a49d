"""What `bench selectors` prints: progress while it measures, a table per source and density at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from thinwire.cli.screen import drawing, table
from thinwire.lab.bench.selectors import OnRow, Settings

Row = Mapping[str, Any]
HEAD = ("method", "copies", "first", "k", "threshold", "energy", "bits", "8-bit")


@contextmanager
def watch(settings: Settings, quiet: bool) -> Iterator[OnRow | None]:
    """Give a function to call with every row: it moves a bar on a terminal with rich, else prints a line a source."""
    if quiet:
        yield None
    elif drawing():
        with _bar(settings.rows) as on_row:
            yield on_row
    else:
        yield _Lines(settings)


class _Lines:
    """Prints a line when a source is done at a density."""

    def __init__(self, settings: Settings) -> None:
        self._all, self._each, self._done = settings.rows, len(settings.methods), 0

    def __call__(self, row: Row) -> None:
        self._done += 1
        if self._done % self._each == 0:
            print(f"[{self._done}/{self._all}] {row['source']} at {row['density']:g}", flush=True)


@contextmanager
def _bar(total: int) -> Iterator[OnRow]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task("recording gradients", total=total)
        yield lambda row: progress.update(task, advance=1, description=f"{row['source']}, {row['method']}")


def show(result: Mapping[str, Any]) -> None:
    """Print where and how, and a table per source and density."""
    threads, machine = result["settings"]["threads"], result["environment"]["machine"]
    print(
        f"\n{threads} thread{'s' if threads > 1 else ''} of {machine}; times in plain copies; * without error feedback"
    )
    facts = {item["name"]: item for item in result["sources"]}
    for source, density in dict.fromkeys((row["source"], row["density"]) for row in result["rows"]):
        rows = [row for row in result["rows"] if (row["source"], row["density"]) == (source, density)]
        copy_ms = 1000 * sorted(row["copy_s"] for row in rows)[len(rows) // 2]
        print(f"\n{source}{_about(facts[source])}, density {density:g}, a copy takes {copy_ms:.3g} ms")
        table(HEAD, [_cells(row) for row in rows])


def _about(facts: Row) -> str:
    recorded = f" ({facts['data']}, step {facts['step']})" if facts["kind"] == "recorded" else ""
    return f"{recorded}: {facts['elements']:,} elements, {100 * facts['nonzero']:.3g}% not zero"


def _cells(row: Row) -> tuple[str, ...]:
    error = row["threshold_error"]
    return (
        row["method"] if row["feedback"] else f"{row['method']} *",
        f"{row['copies']:.1f}",
        f"{row['first_s']:.3f}",
        f"{row['k_ratio']:.3f}",
        _or_dash(None if error is None else max(0.0, 1 - error), _percent),
        _or_dash(row["energy"], _percent),
        _or_dash(row["bits"], lambda value: f"{value:.3f}"),
        _or_dash(row["bits_values8"], lambda value: f"{value:.3f}"),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def _or_dash(value: float | None, form: Callable[[float], str]) -> str:
    return "-" if value is None else form(value)
