"""A result as files: JSON, and pictures drawn from it. All are made before the first is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinwire.lab.bench.chart import selectors_svg
from thinwire.lab.bench.selectors import SCHEMA
from thinwire.lab.replace import replace_files

TOP = {"settings", "environment", "sources", "rows"}
FIELDS = {
    *("source", "density", "method", "feedback", "copies", "copy_s", "first_s", "k_ratio", "threshold_error"),
    *("energy", "bits", "bits_values8", "nmse"),
}
"""What tables and pictures read of a row."""


def write(result: Mapping[str, Any], file: Path) -> list[Path]:
    """Write the JSON file and beside it a picture per density; returns the paths. Each file is replaced in one step."""
    whole = json.dumps(result, indent=1, allow_nan=False) + "\n"
    texts = {file: whole} | _pictures(json.loads(whole), file)
    replace_files(texts)
    return list(texts)


def read(file: Path) -> dict[str, Any]:
    """Return a result. Raises ValueError for a file that holds none, OSError for one that cannot be read."""
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not _complete(result):
        raise ValueError(f"{file} is not a result of `thinwire bench selectors` (schema {SCHEMA})")
    return dict(result)


def _complete(result: Any) -> bool:
    if not isinstance(result, dict) or result.get("schema") != SCHEMA or not result.keys() >= TOP:
        return False
    rows = result["rows"]
    return isinstance(rows, list) and all(isinstance(row, dict) and row.keys() >= FIELDS for row in rows) and bool(rows)


def _pictures(result: Mapping[str, Any], file: Path) -> dict[Path, str]:
    densities = result["settings"]["densities"]
    return {file.with_name(f"{file.stem}-{density:g}.svg"): selectors_svg(result, density) for density in densities}
