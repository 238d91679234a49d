"""A result of `bench codecs` as files: JSON, and a picture per update."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinwire.lab.bench.rates.chart import rates_svg
from thinwire.lab.bench.rates.measure import SCHEMA
from thinwire.lab.bench.results import read_result, write_result

TOP = {"settings", "environment", "skipped", "cases", "rows", "figures", "sparseloco", "claims", "speeds"}


def write(result: Mapping[str, Any], file: Path) -> list[Path]:
    """Write the JSON file and beside it a picture per update; returns the paths. Each file is replaced in one step."""
    return write_result(result, file, _pictures)


def read(file: Path) -> dict[str, Any]:
    """Return a result. Raises ValueError for a file that holds none, OSError for one that cannot be read."""
    return read_result(file, "codecs", SCHEMA, lambda result: result.keys() >= TOP)


def _pictures(result: Mapping[str, Any], file: Path) -> dict[Path, str]:
    return {file.with_name(f"{file.stem}-{case['name']}.svg"): rates_svg(result, case) for case in result["cases"]}
