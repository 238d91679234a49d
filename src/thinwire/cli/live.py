"""The live screen of a comparison: finished configurations, one line per running run, and a bar over all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from thinwire.cli.labels import size
from thinwire.lab.planned import Planned
from thinwire.lab.workers import Event, OnEvent


@contextmanager
def live(wanted: Sequence[Planned], todo: Sequence[Planned]) -> Iterator[OnEvent]:
    """Draw until the block ends."""
    screen = Screen(wanted, len(todo))
    with Live(get_renderable=screen.draw, refresh_per_second=4) as shown:
        screen.console = shown.console
        yield screen


class Screen:
    """What is drawn, kept up to date by events."""

    def __init__(self, wanted: Sequence[Planned], todo: int) -> None:
        self.console = Console()
        self._groups = {plan.group: list[tuple[float, int]]() for plan in wanted}
        self._metric, self._baseline = wanted[0].metric, wanted[0].baseline
        self._seeds = len({plan.seed for plan in wanted})
        text = TextColumn("{task.description}")
        self._bars = Progress(
            text, BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn()
        )
        self._all = self._bars.add_task("all runs", total=todo, note="")
        self._running: dict[str, tuple[TaskID, int]] = {}

    def draw(self) -> Group:
        """Return the table over the bars."""
        return Group(self._table(), self._bars)

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        slug = event.plan.slug
        if event.kind == "started":
            self._running[slug] = self._bars.add_task(f"  {slug}", total=None, note="starting"), 0
        elif event.kind == "row":
            self._advance(event.plan, event.value)
        elif event.kind == "said":
            self.console.print(Text(f"{slug}: {event.value}"))
        else:
            self._end(event)

    def _advance(self, plan: Planned, row: dict[str, Any]) -> None:
        bar, before = self._running[plan.slug]
        reached = plan.reached(row, before)
        self._running[plan.slug] = bar, reached.sent_bytes
        note = f"{reached.words}, {size(reached.sent_bytes)}"
        self._bars.update(bar, completed=reached.at, total=reached.of, note=note)

    def _end(self, event: Event) -> None:
        bar, _ = self._running.pop(event.plan.slug)
        self._bars.remove_task(bar)
        self._bars.advance(self._all)
        if event.kind == "finished":
            self._groups[event.plan.group].append(event.plan.outcome(event.value))
        else:
            self.console.print(Text(f"{event.plan.slug} failed: {event.value[0]}", style="red"))

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("configuration")
        for name in ("seeds", self._metric, "bytes", "ratio"):
            table.add_column(name, justify="right")
        for group, results in self._groups.items():
            table.add_row(group, f"{len(results)}/{self._seeds}", *self._means(results))
        return table

    def _means(self, results: Sequence[tuple[float, int]]) -> tuple[str, ...]:
        if not results:
            return ()
        metric, sent = (fmean(column) for column in zip(*results, strict=True))
        dense = [count for _, count in self._groups.get(self._baseline, [])]
        return f"{metric:.4f}", size(sent), f"{fmean(dense) / sent:.1f}x" if dense and sent else ""
