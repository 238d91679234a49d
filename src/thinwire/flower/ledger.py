"""The ledger: what every message really cost, as one record each, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from thinwire.files import write_files


@dataclass(frozen=True)
class Transfer:
    """One message or reply that carried arrays. A reply that was refused is one too, with its reason."""

    round: int
    node_id: int
    direction: Literal["up", "down"]
    kind: str
    """``delta``, ``deltas``, ``keyframe delta``, ``snapshot``, ``held``, ``update``, ``dense``, ``refused``."""
    payload_bytes: int
    """Our bytes in the message, headers included; for ``dense`` the arrays' own bytes."""
    dense_bytes: int
    nmse: float | None = None
    encode_s: float = 0.0
    decode_s: float = 0.0
    tensors: dict[str, int] = field(default_factory=dict)
    """Name -> payload bytes, where known."""
    reason: str = ""


def write_ledger(transfers: Iterable[Transfer], path: str | Path) -> None:
    """Write transfers as JSON: ``{"schema": "thinwire.ledger/1", "transfers": [...]}``."""
    data = {"schema": "thinwire.ledger/1", "transfers": [asdict(t) for t in transfers]}
    write_files({Path(path): json.dumps(data, indent=1)})
