"""Pack a safetensors checkpoint, or its difference to another, into a smaller file that `thinwire unpack` restores.

State what the file is to be: every bit (the default), an error bound, a number of bytes, or a codec. Frames of a few
megabytes are made and written one by one: the model may be larger than memory.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from thinwire.cli.bad_input import BadInput
from thinwire.cli.files import bytes_of, moving, output, over, progress
from thinwire.cli.screen import named, say

if TYPE_CHECKING:
    from thinwire.checkpoint import Goal, PackReport

SUMMARY = "pack a checkpoint, or its difference to another"
SUFFIX = ".tw"
EPILOG = """what is promised:
  --bound         holds for every tensor, verified on what unpack will restore; with --base it bounds the difference,
                  to which the tensor's own rounding comes: nmse=X is squared error over squared norm, absolute=X the
                  error of any element, relative=X the same in units of the RMS
  --budget        the file is never larger; one price of distortion for all tensors makes their joint error the least
  always          integers and NaN keep every bit; so do, but under a budget, biases, norms and tiny tensors

examples:
  thinwire pack model.safetensors                             every bit, to model.safetensors.tw
  thinwire pack model.safetensors --bound nmse=0.001 -o model.tw
  thinwire pack new.safetensors --base old.safetensors --budget 5MB -o delta.tw
  thinwire pack model.safetensors.index.json --codec "Step(relative=0.01)" -o model.tw
  thinwire unpack delta.tw --base old.safetensors -o new.safetensors
  thinwire inspect delta.tw                                   tensor by tensor: codec, bytes, bits an element"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    what = "a safetensors file, or the index.json of a model in several"
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help=what)
    base = "pack the difference to this checkpoint, which unpack then needs; default: CHECKPOINT itself"
    parser.add_argument("--base", type=Path, metavar="OLD", help=base)
    goals = parser.add_argument_group("the goal, one of").add_mutually_exclusive_group()
    goals.add_argument("--lossless", action="store_true", help="every bit returns; this is the default")
    bound = "nmse=X, relative=X or absolute=X; the fewest bytes within it; default: no bound"
    goals.add_argument("--bound", metavar="KIND=X", help=bound)
    goals.add_argument("--budget", metavar="SIZE", help="bytes of the file, such as 5MB; default: no budget")
    goals.add_argument("--ratio", type=float, metavar="N", help="a budget of 1/N of the tensors; default: no budget")
    codec = "a codec or method (`thinwire list`) for every matrix, in pieces of 4 M elements; default: none"
    goals.add_argument("--codec", metavar="TEXT", help=codec)
    out = "the file to write; default: CHECKPOINT with .tw"
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help=out)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of codecs that draw; default: 0")
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there; default: refuse")
    parser.add_argument("--quiet", action="store_true", help="no progress, the end alone; default: progress")


def act(options: argparse.Namespace) -> int:
    """Check, pack, sum up."""
    from thinwire.checkpoint import pack

    with moving(options.checkpoint):
        goal = _goal(options)
        out = output(
            options.out or Path(f"{options.checkpoint}{SUFFIX}"), options.force, options.checkpoint, options.base
        )
    with moving(options.checkpoint), progress(options.quiet) as on_bytes:
        report = pack(options.checkpoint, out, goal, options.base, options.seed, on_bytes, over=over(options.force))
    _show(out, report, bool(options.base))
    return 0


def _goal(options: argparse.Namespace) -> Goal:
    from thinwire.checkpoint import Bounded, Budget, Lossless, WithCodec
    from thinwire.registry import parse

    if options.bound is not None:
        return Bounded.parse(options.bound)
    if options.budget is not None:
        return Budget(total_bytes=bytes_of(options.budget, "--budget"))
    if options.ratio is not None:
        return Budget(ratio=options.ratio)
    if options.codec is None:
        return Lossless()
    try:
        return WithCodec(parse(options.codec))
    except ValueError as error:
        raise BadInput(str(error)) from error


def _show(out: Path, report: PackReport, difference: bool) -> None:
    kept = report.tensors - len(report.lossy)
    error = f"NMSE {report.sent_nmse:.2g}"
    if difference:
        error += f" of the difference, {report.nmse:.2g} of the tensors"
    sizes = f"{report.file_bytes:,} bytes, {report.ratio:.2f} times smaller than {report.dense_bytes:,}"
    say(f"{named(out)}: {sizes}; {error}; {kept} of {report.tensors} tensors keep every bit; {report.wall_s:.1f} s")
