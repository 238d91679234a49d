"""Say whether to compress, and how: what each option sends over a link, how long a round takes, and a verdict.

The update is real: a task is trained for one local round of one client, a checkpoint is read, and only the shapes of
--model get synthetic values. Frames are real too, and timed here and now. A round is training, and for every message:
encoding, one way of the round trip, bytes over bandwidth, decoding. Handshakes and lost packets are not in it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinwire.cli.bad_input import BadInput, bad_input
from thinwire.cli.numbers import COUNT, POSITIVE, SEED
from thinwire.cli.options import make_room
from thinwire.cli.saving import save
from thinwire.files import write_files

if TYPE_CHECKING:
    from thinwire.lab.advise import Settings, Subject
    from thinwire.lab.links import Link

SUMMARY = "say whether to compress on a link, and how"
EPILOG = """what the table says:
  none            dense tensors as they are: no codec, no seconds; all other options are compared with it
  NMSE            error relative to energy; ! is above --nmse, and never advised
  encode, decode  seconds on this machine, the median of up to five calls
  round           seconds of a round; over a trace the mean and, p95, what one round in twenty exceeds
  pays below      the bandwidth above which sending everything dense is quicker

examples:
  thinwire advise --task digits --bandwidth 20Mbit --rtt 50ms
  thinwire advise --checkpoint new.safetensors --base old.safetensors --bandwidth 1Gbit --compute 12s
  thinwire advise --model gpt2-small --bandwidth 100Gbit --methods auto,int8,'TopK(0.01)' --json advice.json
  thinwire advise --model resnet-50 --trace Verizon-LTE-short.up --rtt 60ms --direction both"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    _add_subject(parser.add_argument_group("what is sent"))
    _add_link(parser.add_argument_group("the link"))
    what = parser.add_argument_group("what is compared")
    methods = "methods, codecs or policies (`thinwire list`), comma-separated; default: a few of each kind"
    what.add_argument("--methods", default="", metavar="TEXTS", help=methods)
    nmse = "the largest error to advise; default: 0.25 for updates, 0.001 for a model that is sent whole"
    what.add_argument("--nmse", type=POSITIVE, metavar="ERROR", help=nmse)
    what.add_argument("--threads", type=COUNT, default=1, metavar="N", help="threads of torch; default: 1")
    what.add_argument("--json", type=Path, metavar="FILE", help="write the answer as JSON; default: not written")
    what.add_argument("--quiet", action="store_true", help="no progress, the answer alone; default: progress")


def _add_subject(group: argparse._ArgumentGroup) -> None:
    one = group.add_mutually_exclusive_group()
    one.add_argument("--task", metavar="NAME", help="a task to train now (`thinwire list tasks`); default: digits")
    one.add_argument("--checkpoint", type=Path, metavar="FILE", help="a safetensors file; default: a task")
    known = "resnet-18, resnet-50, vit-b-16, bert-base, gpt2-small, gpt2-medium or gpt2-large"
    one.add_argument("--model", metavar="NAME", help=f"the shapes of {known}; default: a task")
    base = "send the difference of the checkpoint to this one; default: the checkpoint itself"
    group.add_argument("--base", type=Path, metavar="FILE", help=base)
    data = "folder with the task's files; default: $THINWIRE_DATA (digits needs none)"
    group.add_argument("--data", type=Path, metavar="FOLDER", help=data)
    sample = "measure large models on tensors of this size, and scale; default: 32MB"
    group.add_argument("--sample", default="32MB", metavar="SIZE", help=sample)
    group.add_argument("--seed", type=SEED, default=0, metavar="N", help="seed of weights, data and draws; default: 0")


def _add_link(group: argparse._ArgumentGroup) -> None:
    one = group.add_mutually_exclusive_group(required=True)
    one.add_argument("--bandwidth", metavar="RATE", help="such as 20Mbit or 1.5Gbit/s; no default")
    trace = "bandwidth over time: lines of seconds and Mbit/s, or mahimahi's packet times; no default"
    one.add_argument("--trace", type=Path, metavar="FILE", help=trace)
    group.add_argument("--rtt", default="0ms", metavar="TIME", help="round trip, such as 50ms; default: 0ms")
    way = "up (clients to server), down or both; default: up"
    group.add_argument("--direction", default="up", metavar="WAY", help=way)
    clients = "clients whose updates the server decodes, one after the other; default: 1, and a task's own split"
    group.add_argument("--clients", type=COUNT, metavar="N", help=clients)
    compute = "training of a round, such as 12s; default: as measured for a task, else none"
    group.add_argument("--compute", metavar="TIME", help=compute)


def act(options: argparse.Namespace) -> int:
    """Check, measure, print, write."""
    from thinwire.cli.advise_table import show, watch
    from thinwire.lab.advise import BadSubject, advise

    with bad_input():
        link, settings = _link(options), _settings(options)
        if options.json is not None:
            make_room(options.json, "--json", "advice.json")
    with watch(options.quiet) as progress:
        with bad_input():
            subject = _subject(options)
        try:
            answer = advise(subject, link, settings, progress)
        except BadSubject as error:
            raise BadInput(str(error)) from error
    # Written first: whoever reads what is printed may leave.
    if options.json is not None:
        _write(answer, options.json)
    show(answer)
    if options.json is not None:
        print(f"written: {options.json}")
    return 0


def _link(options: argparse.Namespace) -> Link:
    from thinwire.lab.links import Link, rate_bps, read_trace, seconds

    bandwidth = read_trace(options.trace) if options.trace else rate_bps(options.bandwidth)
    return Link(bandwidth, seconds(options.rtt), options.seed)


def _settings(options: argparse.Namespace) -> Settings:
    from thinwire.lab.advise import Settings
    from thinwire.lab.links import seconds

    return Settings(
        texts(options.methods),
        options.direction,
        1 if options.clients is None else options.clients,
        None if options.compute is None else seconds(options.compute),
        options.nmse,
        options.threads,
        options.seed,
    )


def _subject(options: argparse.Namespace) -> Subject:
    from thinwire.lab.advise.sources import from_checkpoint, from_model, from_task
    from thinwire.lab.links import size_bytes

    if options.base and not options.checkpoint:
        raise BadInput("--base is the older one of two checkpoints; give the newer one as --checkpoint")
    most_bytes = size_bytes(options.sample)
    if options.checkpoint:
        return from_checkpoint(options.checkpoint, options.base, most_bytes)
    if options.model:
        return from_model(options.model, most_bytes, options.seed)
    return from_task(options.task or "digits", options.data, options.clients, options.seed)


def texts(given: str) -> tuple[str, ...]:
    """Return the parts of a text between commas that are not inside brackets."""
    parts, depth = [""], 0
    for sign in given:
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return tuple(part.strip() for part in parts if part.strip())


def _write(answer: dict[str, Any], file: Path) -> None:
    text = json.dumps(answer, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    save(lambda place: write_files({place: text}), file)
