"""The index of a model in several files: which shard holds which tensor. No name in it leads out of its folder."""

from __future__ import annotations

import json
from pathlib import Path, PureWindowsPath
from typing import Any

from thinwire.errors import CheckpointError, quoted

MOST_BYTES = 1 << 26
_EXPECTED = "expected an index with a weight_map of tensors to files"


def read_index(path: Path) -> dict[str, str]:
    """Return tensor name -> name of a file below the index's folder. Raises CheckpointError."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise CheckpointError(f"{path}: more than {MOST_BYTES:,} bytes; {_EXPECTED}")
        index = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}; {_EXPECTED}") from None
    except RecursionError:
        raise CheckpointError(f"{path} is nested too deep; {_EXPECTED}") from None
    found = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{path}: its weight_map is missing, empty or no object; {_EXPECTED}")
    for name, shard in found.items():
        _check(path, name, shard)
    return found


def _check(path: Path, name: str, shard: object) -> None:
    # As Windows would read it: it takes both kinds of slashes, and drives.
    read = PureWindowsPath(shard) if isinstance(shard, str) and shard and shard.isprintable() else None
    if read is None or read.anchor or read.drive or ".." in read.parts or not read.parts:
        raise CheckpointError(
            f"{path}: the weight_map has {quoted(name)} in {quoted(shard)}: expected the name of a file in the index's "
            "own folder, neither absolute nor through '..'"
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice in one object")
    return found
