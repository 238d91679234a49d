"""Measure every way to select the elements to send, and torch.topk: time, hits, energy and bits.

Sources are gradients recorded here and now, from the first and from the hundredth training step (a CNN, a character
GPT, a text classifier with an embedding table), and three distributions. A step adds the gradient to the residual,
selects, takes values and indices out and clears what is sent. Its time is a multiple of a plain copy of the same
tensor, timed in turn with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinwire.cli.bad_input import BadInput, bad_input
from thinwire.cli.results import DEFAULT_OUT, add_result_options, data_root, result_file
from thinwire.cli.saving import save

if TYPE_CHECKING:
    from thinwire.lab.bench.selectors import Settings

SUMMARY = "every way to select the elements to send, and torch.topk"
EPILOG = """columns:
  copies          time of one step from the third on (median), in plain copies of the tensor
  first           seconds of the very first step; a compiled kernel that nothing used before is loaded in it
  k               elements sent / asked for
  threshold       how near the smallest magnitude sent is to the k-th largest; 100% is exact
  energy          sum of squares sent / that of the k largest
  bits, 8-bit     bits per element of real frames, values as they are and in 8 bits; torch.topk: 96 bits a pair

The file also has NMSE, thresholds, every single time, and the ratio of the least times (copies_least).

examples:
  thinwire bench selectors                      1 %, distributions of 25.6 million elements
  thinwire bench selectors --sources laplace,gpt-100 --densities 0.001,0.01,0.05 --repeats 9
  thinwire bench selectors --elements 1000000 --methods topk,hggtopk --out runs/small.json
  thinwire bench selectors --show runs/selectors.json
                                                the tables and pictures of a finished run again"""
FILE = "selectors.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    what = parser.add_argument_group("what is measured")
    sources = (
        "comma-separated: cnn-1, cnn-100, gpt-1, gpt-100, embedding-1, embedding-100, laplace, normal, student-t3, "
        "or recorded, synthetic; default: all"
    )
    what.add_argument("--sources", default="", metavar="NAMES", help=sources)
    methods = "methods of `thinwire list methods` that select, and torch.topk; default: all"
    what.add_argument("--methods", default="", metavar="NAMES", help=methods)
    densities = "shares to select, comma-separated, above 0 to 1; default: 0.01"
    what.add_argument("--densities", default="0.01", metavar="SHARES", help=densities)
    elements = "size of the distributions' tensors; recorded gradients have their own; default: 25600000"
    what.add_argument("--elements", type=int, default=25_600_000, metavar="N", help=elements)
    what.add_argument("--repeats", type=int, default=3, metavar="N", help="timed steps, after two others; default: 3")
    what.add_argument("--threads", type=int, default=1, metavar="N", help="threads of torch; default: 1")
    what.add_argument("--seed", type=int, default=0, metavar="N", help="seed of weights, order and draws; default: 0")
    data = (
        "folder with FashionMNIST/raw, tinyshakespeare or ag_news_csv, to record on what is there of them; "
        "default: $THINWIRE_DATA, else the data that scikit-learn brings"
    )
    what.add_argument("--data", type=Path, metavar="FOLDER", help=data)
    add_result_options(parser, FILE, "density")


def act(options: argparse.Namespace) -> int:
    """Check, then measure or read, show and write."""
    from thinwire.cli.selectors_tables import show
    from thinwire.lab.bench.files import write

    result, file = _read_again(options) if options.show else _measured(options)
    # Written first: whoever reads what is printed may leave.
    written = save(lambda place: write(result, place), file)
    show(result)
    print("\n".join(f"written: {path}" for path in written))
    return 0


def _read_again(options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    from thinwire.lab.bench.files import read

    with bad_input():
        return read(options.show), result_file(options.out, FILE) if options.out else options.show


def _measured(options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    from thinwire.cli.selectors_tables import watch
    from thinwire.lab.bench.selectors import measure
    from thinwire.lab.gradients import RECIPES, BadData

    with bad_input():
        settings, root = (
            _settings(options),
            data_root(options.data, RECIPES, "FashionMNIST/raw, tinyshakespeare and ag_news_csv"),
        )
        file = result_file(options.out or DEFAULT_OUT, FILE)
    try:
        with watch(settings, options.quiet) as on_row:
            return measure(settings, root, on_row), file
    except BadData as error:
        raise BadInput(str(error)) from error


def _settings(options: argparse.Namespace) -> Settings:
    from thinwire.lab.bench.selectors import Settings

    names = {name: getattr(options, name) for name in ("elements", "repeats", "threads", "seed")}
    sources, methods = _words(options.sources), _words(options.methods)
    return Settings(sources, methods, tuple(map(_number, _words(options.densities))), **names)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise BadInput(f"--densities holds {word!r}, expected numbers above 0 to 1, such as 0.001,0.01") from None
