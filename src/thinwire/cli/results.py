"""What the parts of `bench` share: where a result goes, and what it is recorded on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinwire.cli.bad_input import BadInput
from thinwire.cli.options import make_room

DEFAULT_OUT = Path("runs")


def add_result_options(parser: argparse.ArgumentParser, name: str, picture: str) -> None:
    """Add where a result goes; ``picture`` is what each picture beside it is of."""
    out = f"a .json file, or a folder for {name}; a picture per {picture} goes beside it; default: runs"
    parser.add_argument("--out", type=Path, metavar="PATH", help=out)
    show = "a result to show and draw again (to --out, else beside it); nothing is measured; default: measure"
    parser.add_argument("--show", type=Path, metavar="FILE", help=show)
    parser.add_argument("--quiet", action="store_true", help="no progress, the tables alone; default: progress")


def result_file(out: Path, name: str) -> Path:
    """Return the JSON file to write, in a folder that is there. Raises BadInput."""
    if out.suffix == ".json" and out.is_dir():
        raise BadInput(f"--out {str(out)!r} is a folder, expected a file, or a folder whose name is no file's")
    file = out if out.suffix == ".json" else out / name
    make_room(file, "--out", name)
    return file


def data_root(given: Path | None, recipes: Mapping[str, Any], files: str) -> Path | None:
    """Return the data folder, if any. Raises BadInput where the one given has data for none of the recipes."""
    from thinwire.lab.tasks import data_dir

    root = data_dir(given)
    if given and root and not any(recipe.has_data(root) for recipe in recipes.values()):
        raise BadInput(f"--data {str(given)!r} holds none of {files}")
    return root
