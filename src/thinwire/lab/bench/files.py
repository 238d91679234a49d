"""A result of `bench selectors` as files: JSON, and a picture per density."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinwire.lab.bench.chart import selectors_svg
from thinwire.lab.bench.results import read_result, write_result
from thinwire.lab.bench.selectors import SCHEMA

TOP = {"settings", "environment", "sources", "rows"}
FIELDS = {
    *("source", "density", "method", "feedback", "copies", "copy_s", "first_s", "k_ratio", "threshold_error"),
    *("energy", "bits", "bits_values8", "nmse"),
}
"""What tables and pictures read of a row."""


def write(result: Mapping[str, Any], file: Path) -> list[Path]:
    """Write the JSON file and beside it a picture per density; returns the paths. Each file is replaced in one step."""
    return write_result(result, file, _pictures)


def read(file: Path) -> dict[str, Any]:
    """Return a result. Raises ValueError for a file that holds none, OSError for one that cannot be read."""
    return read_result(file, "selectors", SCHEMA, _complete)


def _complete(result: Mapping[str, Any]) -> bool:
    if not result.keys() >= TOP:
        return False
    rows = result["rows"]
    return isinstance(rows, list) and all(isinstance(row, dict) and row.keys() >= FIELDS for row in rows) and bool(rows)


def _pictures(result: Mapping[str, Any], file: Path) -> dict[Path, str]:
    densities = result["settings"]["densities"]
    return {file.with_name(f"{file.stem}-{density:g}.svg"): selectors_svg(result, density) for density in densities}
