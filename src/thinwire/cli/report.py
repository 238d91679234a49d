"""Rebuild the pages of a comparison from its runs: report.html, report.md and report.json."""

from __future__ import annotations

import argparse
from pathlib import Path

from thinwire.cli.bad_input import BadInput, bad_input

SUMMARY = "rebuild the report of a folder of runs"
EPILOG = """examples:
  thinwire report demo                          after `thinwire compare --out demo`
  thinwire report demo --out pages              into another folder
  thinwire report runs/digits                   what `thinwire compare` without --out left"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder with runs/*.json, as compare makes them")
    out = "folder for the three files; default: FOLDER itself"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=out)


def act(options: argparse.Namespace) -> int:
    """Write the report and print its verdict."""
    from thinwire.cli.verdict import show_report

    if not options.folder.is_dir():
        raise BadInput(f"{str(options.folder)!r} is not a folder; expected one with runs/*.json, as compare makes them")
    with bad_input():
        from thinwire.lab.report import write_report

        written = write_report(options.folder, options.out)
    show_report(written)
    return 0
