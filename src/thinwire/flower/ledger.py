"""The ledger: what every message really cost, as one record each, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from thinwire.compressor import Report
from thinwire.files import write_files
from thinwire.flower.names import short


@dataclass(frozen=True)
class Transfer:
    """One message or reply that carried arrays. A reply that was refused is one too, with its reason."""

    round: int
    node_id: int
    direction: Literal["up", "down"]
    kind: str
    """``delta``, ``whole`` (to a client that holds nothing), ``held``, ``update``, ``dense``, ``refused``."""
    payload_bytes: int
    """Our bytes in the message, headers included, and those of the arrays beside; for ``dense`` the arrays' own."""
    dense_bytes: int
    nmse: float | None = None
    encode_s: float = 0.0
    decode_s: float = 0.0
    tensors: dict[str, int] = field(default_factory=dict)
    """Name -> payload bytes, where known."""
    reason: str = ""
    message: str = ""
    """The type of the message: ``train``, ``evaluate``, ``query.embeddings``."""
    record: str = ""
    """The record (or records) of the arrays."""
    codecs: dict[str, str] = field(default_factory=dict)
    """Name -> the codec that was chosen, with its bits, levels or k, where known."""
    not_compressed: int = 0
    """Bytes among ``payload_bytes`` of arrays that travelled beside, since no frame carries their kind."""


def codecs_of(report: Report) -> dict[str, str]:
    """Return name -> codec of what a message was made of."""
    return {short(name): tensor.codec for name, tensor in report.tensors.items()}


def write_ledger(transfers: Iterable[Transfer], path: str | Path) -> None:
    """Write transfers as JSON: ``{"schema": "thinwire.ledger/1", "transfers": [...]}``."""
    data = {"schema": "thinwire.ledger/1", "transfers": [asdict(t) for t in transfers]}
    write_files({Path(path): json.dumps(data, indent=1)})
