"""A result as files: JSON, and a picture per update drawn from it. All are made before the first is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinwire.lab.bench.rates.chart import rates_svg
from thinwire.lab.bench.rates.measure import SCHEMA
from thinwire.lab.replace import replace_files

TOP = {"settings", "environment", "skipped", "cases", "rows", "figures", "sparseloco", "claims", "speeds"}


def write(result: Mapping[str, Any], file: Path) -> list[Path]:
    """Write the JSON file and beside it a picture per update; returns the paths. Each file is replaced in one step."""
    whole = json.dumps(result, indent=1, allow_nan=False) + "\n"
    read_again = json.loads(whole)
    pictures = {file.with_name(f"{file.stem}-{case['name']}.svg"): case for case in read_again["cases"]}
    texts = {file: whole} | {path: rates_svg(read_again, case) for path, case in pictures.items()}
    replace_files(texts)
    return list(texts)


def read(file: Path) -> dict[str, Any]:
    """Return a result. Raises ValueError for a file that holds none, OSError for one that cannot be read."""
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(result, dict) or result.get("schema") != SCHEMA or not result.keys() >= TOP:
        raise ValueError(f"{file} is not a result of `thinwire bench codecs` (schema {SCHEMA})")
    return result
