"""What `train` shows: a bar on stderr while it runs, and what the run came to."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinwire.cli.labels import size
from thinwire.cli.screen import table

if TYPE_CHECKING:
    from thinwire.lab.training.trainer import OnStep, Seen

PHASES = {
    "forward_s": "forward",
    "backward_s": "backward",
    "encode_s": "encode and decode",
    "exposed_s": "exposed averaging",
    "update_s": "update",
}


@contextmanager
def no_bar() -> Iterator[OnStep]:
    """Give a function that shows nothing."""
    yield lambda seen: None


@contextmanager
def step_bar() -> Iterator[OnStep]:
    """Give a function to call with every step: it moves a bar on stderr where that is a terminal."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        with no_bar() as ignore:
            yield ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as shown:
        bar = shown.add_task("epoch 1", total=None, note="")

        def on_step(seen: Seen) -> None:
            shown.update(
                bar, description=f"epoch {seen.epoch + 1}", completed=seen.step, total=seen.steps, note=note(seen)
            )

        yield on_step


def note(seen: Seen) -> str:
    """Return loss, bytes and ratio of a run so far: one worker's."""
    ratio = f", {seen.dense_bytes / seen.sent_bytes:.1f}x" if seen.sent_bytes else ""
    return f"loss {seen.loss:.3f}, {size(seen.sent_bytes)}{ratio}"


def show(result: dict[str, Any], out: Path) -> None:
    """Print what a run came to."""
    config, totals, metric = result["config"], result["totals"], result["metric"]["name"]
    epochs = [row for row in result["epochs"] if row["step"] == totals["steps"]][-1:]
    workers = f"{config['workers']} {'simulated ' if config.get('simulate') else ''}workers"
    print(f"{config['model']} on {config['dataset']}, {workers}, {config['compressor']}")
    for row in epochs:
        print(f"after {row['step']} steps: {metric} {_number(row[metric])}, loss {_number(row['loss'])}")
    sent = f"sent {size(totals['sent_bytes'])} in all, {totals['ratio']:.1f}x less than dense all-reduces"
    print(f"{sent}; {totals['wall_s']:.1f} s")
    if totals.get("k_ratio") is not None:
        print(f"k accuracy {totals['k_ratio']:.3f}: elements kept of those that the density asks for")
    print()
    steps = max(totals["steps"], 1)
    table(("time of a step", "ms"), [(text, f"{totals[name] / steps * 1e3:.2f}") for name, text in PHASES.items()])
    if result.get("worth"):
        print(f"\n{result['worth']['text']}")
    print(f"\nrun: {out / 'train.json'}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
