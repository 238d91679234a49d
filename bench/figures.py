"""Write the figures of README and docs anew from results/: every one that stands behind a marker of its place.

    python bench/figures.py           # rewrite them
    python bench/figures.py --check   # only say which are out of date; exit 1 if any

A marker is an HTML comment, `=file.json:path/in/it format`, in front of the figure. Lists are entered by a number or by
a field, such as `id=auto`; a format that ends in % shows a share as a percentage. ` over ` between two paths divides.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from thinwire.files import write_files

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARKED = re.compile(r"(<!--=([^>]+?)-->\s*\**)([+-]?\d[\d.,]*\d|[+-]?\d)")


def marked(text: str) -> Iterator[tuple[str, str]]:
    """Yield (marker, figure) for every marked figure of a page."""
    for match in MARKED.finditer(text):
        yield match[2], match[3]


def figure(marker: str) -> str:
    """Return what results/ says to a marker. Raises ValueError naming a marker that leads nowhere."""
    parts = re.fullmatch(r"([^:]+):(.+) (\S+)", marker)
    if parts is None:
        raise ValueError(f"{marker!r} is no marker, expected file.json:path format")
    file, path, form = parts.groups()
    try:
        value, *divisors = (_at(_read(ROOT / "results" / file), each) for each in path.split(" over "))
    except (OSError, LookupError, StopIteration) as error:
        raise ValueError(f"{marker!r} leads nowhere: {error!r}") from None
    return shown(value / math.prod(divisors) if divisors else value, form)


def shown(value: float, form: str) -> str:
    """Return a figure as a marker's format has it."""
    return format(value * (100 if form.endswith("%") else 1), form.rstrip("%"))


@cache
def _read(file: Path) -> Any:
    return json.loads(file.read_text())


def _at(value: Any, path: str) -> Any:
    for key in path.split("/"):
        value = _item(value, key)
    return value


def _item(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value[key]
    if key.isdigit():
        return value[int(key)]
    field, wanted = key.split("=", 1)
    return next(entry for entry in value if str(entry[field]) == wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where a figure is out of date")
    args = parser.parse_args()
    stale = 0
    for page in PAGES:
        text = page.read_text()
        for marker, shown in marked(text):
            if figure(marker) != shown:
                stale += 1
                print(f"{page.relative_to(ROOT)}: {marker}: {shown} -> {figure(marker)}")
        if not args.check:
            write_files({page: MARKED.sub(lambda match: match[1] + figure(match[2]), text)})
    sys.exit(1 if args.check and stale else 0)


if __name__ == "__main__":
    main()
