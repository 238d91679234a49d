"""What `advise` prints: progress while it measures, then what is sent, the table, the floor and the verdict."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from thinwire.cli.screen import drawing, say, table
from thinwire.errors import escaped

QUIET = 0.8
"""Cores that one thread gets on a machine that does nothing else."""
Row = Mapping[str, Any]
Progress = Callable[[str, int, int], None]


@contextmanager
def watch(quiet: bool) -> Iterator[Progress]:
    """Give a function to call at each option's turn: it moves a bar on a terminal with rich, else nothing is shown."""
    if quiet or not drawing():
        yield lambda *_: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*shown, transient=True) as bar:
        task = bar.add_task("reading or training", total=None)
        yield lambda option, number, of: bar.update(task, description=option, completed=number, total=of)


def show(answer: Mapping[str, Any]) -> None:
    """Print it."""
    say("\n".join((*_what(answer), *_where(answer))))
    trace = answer["link"]["trace_s"] is not None
    head = ("option", "bytes", "ratio", "NMSE", "encode", "decode", "round", *(("p95",) if trace else ()))
    say()
    table((*head, "speed-up", "pays below"), [_cells(row, trace) for row in answer["rows"]])
    for option, reason in answer["skipped"].items():
        say(f"left out: {option}: {escaped(reason)}")
    verdict = answer["verdict"]
    say("\n" + "\n  ".join([verdict["sentence"], *verdict["details"], *_notes(answer)]))


def _what(answer: Mapping[str, Any]) -> Iterator[str]:
    from thinwire.lab.report import units

    subject = answer["subject"]
    yield f"{subject['name']}: {subject['about']}"
    scaled = f"; measured on {units.size(subject['sample_bytes'])} of them and scaled" if subject["sampled"] else ""
    yield f"  {units.size(subject['dense_bytes'])} dense, {subject['elements']:,} elements{scaled}"


def _where(answer: Mapping[str, Any]) -> Iterator[str]:
    from thinwire.lab.report import units
    from thinwire.rates import rate_text

    link, settings = answer["link"], answer["settings"]
    mean = "" if link["trace_s"] is None else f" on average, a trace of {units.seconds(link['trace_s'])}"
    clients = f", {settings['clients']} clients" if settings["clients"] > 1 else ""
    speed, rtt = rate_text(link["mean_bps"]), units.seconds(link["rtt_s"])
    yield f"link: {speed}{mean}, round trip {rtt}, {_way(answer)}{clients}"
    yield f"  everything dense is on the wire for {units.seconds(link['dense_wire_s'])}"
    compute_s = settings["compute_s"]
    parts = f"{units.seconds(compute_s)} of training, {units.seconds(link['floor_s'] - compute_s)} of latency"
    yield f"  whatever is sent, a round takes {units.seconds(link['floor_s'])}: {parts}"


def _way(answer: Mapping[str, Any]) -> str:
    return {"up": "up", "down": "down", "both": "down and up"}[answer["settings"]["direction"]]


def _cells(row: Row, trace: bool) -> tuple[str, ...]:
    from thinwire.lab.report import units

    return (
        row["option"],
        units.size(row["sent_bytes"]),
        units.ratio(row["ratio"]),
        units.nmse(row["nmse"]) + ("" if row["within"] else " !"),
        *(units.seconds(row[name]) if row["codec_s"] else units.NONE for name in ("encode_s", "decode_s")),
        units.seconds(row["round_s"]),
        *((units.seconds(row["round_p95_s"]),) if trace else ()),
        units.ratio(row["speed_up"]),
        _limit(row),
    )


def _limit(row: Row) -> str:
    from thinwire.lab.report import units
    from thinwire.rates import rate_text

    if row["option"] == "none":
        return units.NONE
    limit_bps = row["break_even_bps"]
    return "any" if limit_bps is None else rate_text(limit_bps) if limit_bps else "never"


def _notes(answer: Mapping[str, Any]) -> Iterator[str]:
    threads = answer["settings"]["threads"]
    yield f"Timed on {threads} thread{'s' if threads > 1 else ''} of {answer['environment']['machine']}, now."
    cores = statistics.median(row["cores"] for row in answer["rows"])
    if cores < QUIET:
        part = f"{100 * cores:.0f}%"
        yield f"The machine is busy: the codecs had {part} of a core; on a quiet one they take that part of the time."
