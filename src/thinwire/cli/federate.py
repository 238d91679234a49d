"""Run one federation and print its rounds: real Flower apps in this process, every byte counted."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from thinwire.cli import labels
from thinwire.cli.bad_input import bad_input
from thinwire.cli.numbers import SEED
from thinwire.cli.options import add_run_options, held, make_room, run_config
from thinwire.cli.saving import save

SUMMARY = "run one federation, round by round"
EPILOG = """examples:
  thinwire federate                             digits, auto in both directions
  thinwire federate --uplink "TopK(0.01, values=Uniform(bits=8))" --downlink "ErrorBound(nmse=0.05)" --rounds 10
  thinwire federate --uplink "" --downlink "" --strategy FedAdam --out plain.json
                                                stock Flower without thinwire, to compare with"""
COLUMNS = (("round", 5), ("metric", 8), ("loss", 8), ("up", 10), ("down", 10), ("NMSE up", 8), ("NMSE down", 9))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    text = "a method's name, a codec or a policy (`thinwire list`); empty in both directions: stock Flower"
    ways = parser.add_argument_group("compression")
    ways.add_argument("--uplink", default="auto", metavar="TEXT", help=f"clients to server: {text}; default: auto")
    ways.add_argument("--downlink", default="auto", metavar="TEXT", help="server to clients: the same; default: auto")
    add_run_options(parser)
    parser.add_argument("--seed", type=SEED, default=0, metavar="N", help="seed of weights, data and order; default: 0")
    out = "write the run as JSON (schema thinwire.run/1); default: not written"
    parser.add_argument("--out", type=Path, metavar="FILE", help=out)
    parser.add_argument("--quiet", action="store_true", help="print the last line only; default: every round")


def act(options: argparse.Namespace) -> int:
    """Check, run, print, write."""
    from thinwire.lab.run import Diverged, prepare, run

    with bad_input():
        config = run_config(options, uplink=options.uplink, downlink=options.downlink, seed=options.seed)
        prepare(config)
        if options.out is not None:
            make_room(options.out, "--out", "run.json")
    if not options.quiet:
        print(_line(*(name.rjust(width) for name, width in COLUMNS)))
    chosen = labels.pairing(options.uplink, options.downlink)
    with held(options.out):
        try:
            result = run(config, None if options.quiet else _show, chosen.group, chosen.name)
        except Diverged as error:
            print(f"thinwire federate: the run failed: {error}", file=sys.stderr)
            return 1
        _finish(result, options.out)
    return 0


def _show(row: dict[str, Any]) -> None:
    numbers = (_number(row["metric"]), _number(row["loss"]))
    sizes = (labels.size(row["up_bytes"]), labels.size(row["down_bytes"]))
    texts = (str(row["round"]), *numbers, *sizes, _error(row["up_nmse"]), _error(row["down_nmse"]))
    print(_line(*(text.rjust(width) for text, (_, width) in zip(texts, COLUMNS, strict=True))), flush=True)


def _line(*cells: str) -> str:
    return "  ".join(cells)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _error(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _warn(result: dict[str, Any]) -> None:
    """Say on stderr what was to be compressed and was not."""
    from thinwire.lab.report.guards import nothing_compressed

    rows = [row for row in result["rounds"] if row["round"]]
    for way, text in (("up", result["config"]["uplink"]), ("down", result["config"]["downlink"])):
        for warning in nothing_compressed(text, [row[f"{way}_nmse"] for row in rows], f"on the way {way}"):
            print(f"warning: {warning}", file=sys.stderr)


def _finish(result: dict[str, Any], out: Path | None) -> None:
    totals, metric = result["totals"], result["metric"]["name"]
    up, down, both = (labels.size(totals[f"{way}_bytes"]) for way in ("up", "down", "total"))
    print(f"{result['name']}: {metric} {result['final']['metric']:.4f}, {both} ({up} up, {down} down)", end="")
    print(f", {totals['wall_s']:.1f} s")
    _warn(result)
    if out is not None:
        from thinwire.lab.compare import write_run

        save(lambda place: write_run(result, place), out)
        print(f"run: {out}")
