"""Measure rate-distortion curves and speeds of our codecs and of rivals, on real updates recorded here and now.

An update is what one client sends in a later round of federated averaging: an MLP, a CNN and a character GPT under SGD
and AdamW, Wide & Deep, and two distributions. Every method is tuned until it just meets an error of the whole update
(NMSE); bytes are those of real frames that are decoded. Only matrices count (1,024 elements and more): the rest is sent
as it is by everybody. Rivals need the extra: pip install 'thinwire[bench]'; those not installed are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinwire.cli.bad_input import BadInput, bad_input
from thinwire.cli.results import DEFAULT_OUT, add_result_options, data_root, result_file
from thinwire.cli.saving import save

if TYPE_CHECKING:
    from thinwire.lab.bench.rates.measure import Settings

SUMMARY = "bits an element at an error, and speed: our codecs and rivals"
EPILOG = """methods:
  ours            the texts of --codecs; the first field there is of step, nmse, total_bytes, density, bits is tuned
  order-0         a bound: entropy of every tensor's symbols, best dead zone, one step for all, tables for free
  rivals          sz3, pcodec and blosc2 (if installed); top-k as float32 and 32-bit index; EDEN; of fixed rate: int8,
                  int4, NF4, STC, QSGD, multi-range, which are compared with our curve at the error they have

examples:
  thinwire bench codecs --quick                 the MLP's update and one distribution, two errors: half a minute
  thinwire bench codecs                         everything, some minutes
  thinwire bench codecs --updates mlp-sgd,gpt-adamw --codecs "Rdoq(),Step(symbols=Ans())"
  thinwire bench codecs --codecs "ErrorBound(codec=Rdoq()),LowRank()" --out runs/mine.json
  thinwire bench codecs --show runs/updates.json
                                                the tables and pictures of a finished run again"""
FILE = "updates.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    what = parser.add_argument_group("what is measured")
    updates = (
        "comma-separated: mlp-sgd, cnn-sgd, cnn-adamw, gpt-sgd, gpt-adamw, wide-deep, laplace, normal, "
        "or recorded, synthetic; default: all"
    )
    what.add_argument("--updates", default="", metavar="NAMES", help=updates)
    codecs = "our codecs or policies, comma-separated, as `thinwire list codecs` writes them; default: the best ones"
    what.add_argument("--codecs", default="", metavar="TEXTS", help=codecs)
    data = (
        "folder with FashionMNIST/raw, tinyshakespeare or adult, to record on what is there of them; "
        "default: $THINWIRE_DATA, else the data that scikit-learn brings"
    )
    what.add_argument("--data", type=Path, metavar="FOLDER", help=data)
    what.add_argument("--seed", type=int, default=0, metavar="N", help="seed of weights, order and draws; default: 0")
    what.add_argument("--quick", action="store_true", help="few updates, two errors, small tensors; default: all of it")
    add_result_options(parser, FILE, "update")


def act(options: argparse.Namespace) -> int:
    """Check, then measure or read, show and write."""
    from thinwire.cli.codecs_tables import show
    from thinwire.lab.bench.rates.files import write

    result, file = _read_again(options) if options.show else _measured(options)
    # Written first: whoever reads what is printed may leave.
    written = save(lambda place: write(result, place), file)
    show(result)
    print("\n".join(f"written: {path}" for path in written))
    return 0


def _read_again(options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    from thinwire.lab.bench.rates.files import read

    with bad_input():
        return read(options.show), result_file(options.out, FILE) if options.out else options.show


def _measured(options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    from thinwire.cli.codecs_tables import watch
    from thinwire.lab.bench.rates.measure import measure
    from thinwire.lab.updates import UPDATES, BadData

    with bad_input():
        settings, root = (
            _settings(options),
            data_root(options.data, UPDATES, "FashionMNIST/raw, tinyshakespeare and adult"),
        )
        file = result_file(options.out or DEFAULT_OUT, FILE)
    try:
        with watch(settings, options.quiet) as on_step:
            return measure(settings, root, on_step), file
    except BadData as error:
        raise BadInput(str(error)) from error


def _settings(options: argparse.Namespace) -> Settings:
    from thinwire.lab.bench.rates.measure import Settings

    given = {name: tuple(filter(None, texts(getattr(options, name)))) for name in ("updates", "codecs")}
    chosen = {name: value for name, value in given.items() if value}
    quick = Settings.QUICK if options.quick else {}
    return Settings(**{**quick, **chosen, "seed": options.seed})


def texts(line: str) -> Iterator[str]:
    """Yield what stands between commas that are in no bracket."""
    depth, start = 0, 0
    for at, letter in enumerate(line):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth <= 0:
            yield line[start:at].strip()
            start = at + 1
    yield line[start:].strip()
