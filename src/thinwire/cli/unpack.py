"""Restore the safetensors file that `thinwire pack` packed: checked to the last bit, or nothing is written."""

from __future__ import annotations

import argparse
from pathlib import Path

from thinwire.cli.bad_input import BadInput
from thinwire.cli.files import bytes_of, moving, output, over, progress
from thinwire.cli.pack import SUFFIX
from thinwire.cli.screen import named, say

SUMMARY = "restore a checkpoint that was packed"
EPILOG = """A file that is damaged, cut short, or meant for another base is refused; so is one whose checkpoint would
be larger than --max-size or than what the disk has free. Whoever packed a file need not be trusted.

examples:
  thinwire unpack model.safetensors.tw                        to model.safetensors
  thinwire unpack delta.tw --base old.safetensors -o new.safetensors
  thinwire unpack model.tw --max-size 20GB -o model.safetensors"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("packed", type=Path, metavar="PACKED", help="a file that `thinwire pack` wrote")
    base = "the checkpoint that PACKED is a difference to; default: none, for a file packed without one"
    parser.add_argument("--base", type=Path, metavar="OLD", help=base)
    out = "the safetensors file to write; default: PACKED without .tw"
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help=out)
    most = "refuse to write more, such as 20GB; default: what the disk has free"
    parser.add_argument("--max-size", metavar="SIZE", help=most)
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there; default: refuse")
    parser.add_argument("--quiet", action="store_true", help="no progress, the end alone; default: progress")


def act(options: argparse.Namespace) -> int:
    """Check, unpack, sum up."""
    from thinwire.checkpoint import unpack

    with moving(options.packed):
        most = None if options.max_size is None else bytes_of(options.max_size, "--max-size")
        out = output(_out(options), options.force, options.packed, options.base)
    with moving(options.packed), progress(options.quiet) as on_bytes:
        report = unpack(options.packed, out, options.base, most, on_bytes, over(options.force))
    ratio = report.file_bytes / report.packed_bytes
    sizes = f"{report.file_bytes:,} bytes, {ratio:.2f} times larger than {report.packed_bytes:,}"
    say(f"{named(out)}: {sizes}; {report.tensors} tensors; {report.wall_s:.1f} s")
    return 0


def _out(options: argparse.Namespace) -> Path:
    if options.out is not None:
        return Path(options.out)
    if options.packed.suffix != SUFFIX:
        raise BadInput(f"{options.packed} does not end in {SUFFIX}: say with -o what to write")
    return Path(options.packed).with_suffix("")
