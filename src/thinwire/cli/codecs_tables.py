"""What `bench codecs` prints: progress while it measures, tables of sizes, ratios, claims and speeds at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from thinwire.cli.screen import drawing, table
from thinwire.lab.bench.rates.measure import OnStep, Settings

Row = Mapping[str, Any]


@contextmanager
def watch(settings: Settings, quiet: bool) -> Iterator[OnStep | None]:
    """Give a function to call when a method is done: it moves a bar on a terminal with rich, else prints a line."""
    if quiet:
        yield None
    elif drawing():
        with _bar(settings.steps) as on_step:
            yield on_step
    else:
        yield _Lines(settings)


class _Lines:
    """Prints a line when an update is done."""

    def __init__(self, settings: Settings) -> None:
        self._all, self._each, self._done = settings.steps, len(settings.methods), 0

    def __call__(self, case: str, method: str) -> None:
        self._done += 1
        if self._done % self._each == 0:
            print(f"[{self._done // self._each}/{self._all // self._each}] {case}", flush=True)


@contextmanager
def _bar(total: int) -> Iterator[OnStep]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task("recording updates", total=total)
        yield lambda case, method: progress.update(task, advance=1, description=f"{case}, {method}")


def show(result: Mapping[str, Any]) -> None:
    """Print what was left out, a table per update, ratios, what did not hold, and speeds."""
    for name in result["skipped"]:
        print(f"left out: {name} is not installed (pip install 'thinwire[bench]')")
    for case in result["cases"]:
        _sizes(result, case)
    _ratios(result)
    _payloads(result)
    _speeds(result)
    _claims(result)


def _sizes(result: Mapping[str, Any], case: Row) -> None:
    of = f"{case['data']}, round {case['round']}, " if case["kind"] == "recorded" else ""
    print(f"\n{case['name']}: {of}{case['elements']:,} elements; bits an element at the NMSE of the whole update")
    rows = [row for row in result["rows"] if row["case"] == case["name"]]
    errors = result["settings"]["errors"]
    tuned = {row["method"]: row["kind"] for row in rows if row["asked"] is not None}
    head = ("method", *(f"{nmse:g}" for nmse in errors))
    table(head, [(_named(name, kind), *(_bits(rows, name, nmse) for nmse in errors)) for name, kind in tuned.items()])
    fixed = result["figures"][case["name"]]["fixed"]
    if fixed:
        print()
        table(
            ("of fixed rate", "setting", "NMSE", "bits", "ours there", "times"), [_fixed(row) for row in fixed], left=2
        )


def _named(name: str, kind: str) -> str:
    return {"ours": name, "rival": f"  {name}", "bound": f"  {name} (bound)"}[kind]


def _bits(rows: Sequence[Row], name: str, nmse: float) -> str:
    found = [row["bits"] for row in rows if row["method"] == name and row["asked"] == nmse]
    return f"{found[0]:.4f}" if found else "-"


def _fixed(row: Row) -> tuple[str, ...]:
    there = (f"{row['ours_bits']:.4f}", f"{row['times']:.2f}") if row["times"] else ("-", "-")
    return row["method"], row["setting"], f"{row['nmse']:.3g}", f"{row['bits']:.4f}", *there


def _ratios(result: Mapping[str, Any]) -> None:
    print("\nours, the smallest of our methods: its bytes over the best rival's, and others' over its")
    rows = [
        (name, error, at["ours"]["method"], at.get("rival", {}).get("method", "-"), *(_ratio(at, key) for key in KEYS))
        for name, case in result["figures"].items()
        for error, at in case.items()
        if error != "fixed"
    ]
    table(("update", "NMSE", "ours", "best rival", "ours/rival", "order-0/ours", "top-k/ours"), rows, left=4)


KEYS = ("ratio", "order0", "topk")


def _ratio(at: Row, key: str) -> str:
    return f"{at[key]:.3f}" if key in at else "-"


def _payloads(result: Mapping[str, Any]) -> None:
    print("\nSparseLoCo's payload, 64 of 4,096 elements: 0.219 bits an element as published")
    rows = [(row["case"], row["values"], f"{row['bits']:.4f}", f"{row['nmse']:.4f}") for row in result["sparseloco"]]
    table(("update", "values", "bits", "NMSE"), rows, left=2)


def _speeds(result: Mapping[str, Any]) -> None:
    side = result["settings"]["speed_side"]
    print(f"\nspeed, one thread, {side * side:,} elements, in plain copies of the tensor")
    rows = [(row["method"], f"{row['encode_copies']:.1f}", f"{row['decode_copies']:.1f}") for row in result["speeds"]]
    table(("method", "encode", "decode"), rows)


def _claims(result: Mapping[str, Any]) -> None:
    missed = [claim for claim in result["claims"] if not claim["held"]]
    print(f"\n{len(result['claims']) - len(missed)} of {len(result['claims'])} claims held")
    for claim in missed:
        limit = f"at least {claim['least']:g}" if claim["least"] is not None else f"at most {claim['most']:g}"
        print(f"missed: {claim['case']}: {claim['what']} is {claim['value']:.4g}, expected {limit}")
