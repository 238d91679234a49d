"""Results as files: JSON, and pictures drawn from it. All are made before the first is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from thinwire.files import write_files

Result = Mapping[str, Any]


def write_result(result: Result, file: Path, pictures: Callable[[Result, Path], dict[Path, str]]) -> list[Path]:
    """Write the JSON file and, beside it, its pictures; return the paths. Each file is replaced in one step."""
    whole = json.dumps(result, indent=1, allow_nan=False) + "\n"
    texts = {file: whole} | pictures(json.loads(whole), file)
    write_files(texts)
    return list(texts)


def read_result(file: Path, command: str, schema: str, complete: Callable[[Result], bool]) -> dict[str, Any]:
    """Return a result. Raises ValueError for a file that holds none, OSError for one that cannot be read."""
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(result, dict) or result.get("schema") != schema or not complete(result):
        raise ValueError(f"{file} is not a result of `thinwire bench {command}` (schema {schema})")
    return result
