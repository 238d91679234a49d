"""Explain a frame, the bytes that `thinwire.dumps` makes, a packed checkpoint, or a ledger of a Flower run.

A frame shows its tensors where its schema is known: it brings names and shapes, or another frame does. A ledger shows
bytes, errors and what was not compressed or refused, round by round.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from thinwire.cli.bad_input import BadInput, bad_input
from thinwire.cli.inspect_ledger import show_ledger
from thinwire.cli.inspect_packed import is_packed, show_packed
from thinwire.cli.ledger_file import is_ledger
from thinwire.cli.numbers import FROM_ZERO, NODE
from thinwire.cli.screen import named, say, table
from thinwire.codec import Encoded, Spec
from thinwire.errors import WireError
from thinwire.wire import Inspection, inspect, shown

SUMMARY = "explain a frame file, a packed checkpoint or a ledger"
EPILOG = """examples:
  thinwire inspect update.twf                  sizes and codecs; tensors too, where the frame brings its schema
  thinwire inspect update.twf --schema full.twf
                                                names and shapes from another frame, made with dumps(..., schema=True)
  thinwire inspect delta.tw                     a checkpoint that `thinwire pack` packed
  thinwire inspect ledger.json --round 3        what every message of a Flower run cost: `write_ledger`
  thinwire inspect update.twf | grep bias       a line per tensor, so that other tools can read it

In Python, Path("update.twf").write_bytes(thinwire.dumps(message, schema=True)) makes such a file."""
HEAD = ("tensor", "shape", "dtype", "codec", "bytes", "bits/element", "ratio")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("frame", type=Path, metavar="FILE", help="a frame, a packed checkpoint or a ledger (.json)")
    schema = "a frame with an inline schema, whose names and shapes FRAME has too; default: FRAME's own schema, if any"
    parser.add_argument("--schema", type=Path, metavar="FRAME2", help=schema)
    of_round = "of a ledger, this round only; default: all"
    parser.add_argument("--round", type=FROM_ZERO, metavar="N", help=of_round)
    parser.add_argument("--node", type=NODE, metavar="ID", help="of a ledger, this node only; default: all")


def act(options: argparse.Namespace) -> int:
    """Print what a file says about itself."""
    with bad_input():
        if is_ledger(options.frame):
            return _show_ledger(options)
        packed = is_packed(options.frame)
    if options.round is not None or options.node is not None:
        raise BadInput(f"{options.frame} is no ledger: --round and --node are for those that write_ledger wrote")
    if packed:
        return _show_packed(options)
    with bad_input():
        expect = _schema(options.schema) if options.schema else None
        found = _inspect(options.frame, expect)
    _show(options.frame, found)
    return 0


def _show_ledger(options: argparse.Namespace) -> int:
    if options.schema:
        raise BadInput(f"{options.frame} is a ledger, which has no schema: leave out --schema")
    show_ledger(options.frame, options.round, options.node)
    return 0


def _show_packed(options: argparse.Namespace) -> int:
    if options.schema:
        raise BadInput(f"{options.frame} is a packed checkpoint: it brings names and shapes, so leave out --schema")
    with bad_input():
        show_packed(options.frame)
    return 0


def _inspect(file: Path, expect: Mapping[str, Spec] | None = None) -> Inspection:
    data = file.read_bytes()
    try:
        return inspect(data, expect)
    except WireError as error:
        raise BadInput(f"{file}: {error}") from error


def _schema(file: Path) -> dict[str, Spec]:
    message = _inspect(file).message
    if message is None:
        raise BadInput(f"{file} carries only the hash of its schema; --schema takes a frame of dumps(..., schema=True)")
    return {name: encoded.spec for name, encoded in message.items()}


def _show(file: Path, found: Inspection) -> None:
    body = found.frame_bytes - found.overhead_bytes
    say(f"{named(file)}: {found.frame_bytes:,} bytes, {found.overhead_bytes:,} of them overhead, {body:,} payload")
    say(f"schema {found.schema}, {found.tensors} tensors, {len(found.codecs)} codecs:")
    say("\n".join(f"  {codec}" for codec in found.codecs))
    if found.message is None:
        say("\nno inline schema: names and shapes need --schema FRAME2, a frame of dumps(..., schema=True)")
        return
    say()
    table(HEAD, [_row(name, encoded) for name, encoded in found.message.items()], left=4)
    dense = sum(encoded.spec.nbytes for encoded in found.message.values())
    say(f"\ndense {dense:,} bytes; the frame is {dense / found.frame_bytes:.2f} times smaller, overhead included")


def _row(name: str, encoded: Encoded) -> tuple[str, ...]:
    spec, size = encoded.spec, encoded.payload_bytes
    bits = f"{8 * size / spec.numel:.3f}" if spec.numel else "-"
    ratio = f"{spec.nbytes / size:.2f}" if size else "-"
    shape = "x".join(map(str, spec.shape)) or "scalar"
    return name, shape, str(spec.dtype).removeprefix("torch."), shown(encoded.codec), f"{size:,}", bits, ratio
