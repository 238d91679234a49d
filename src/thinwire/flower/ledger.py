"""The ledger: what every message really cost, as one record each, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from flwr.app import RecordDict

from thinwire.compressor import Report
from thinwire.files import write_files
from thinwire.flower.names import short
from thinwire.flower.records import config_bytes

_LEAST_OPAQUE_BYTES = 256
"""Less is a key or a nonce, not a model."""


@dataclass(frozen=True)
class Transfer:
    """One message or reply that carried arrays. A reply that was refused is one too, with its reason."""

    round: int
    node_id: int
    direction: Literal["up", "down"]
    kind: str
    """``delta``, ``whole`` (to a client that holds nothing), ``held``, ``update``, ``dense``, ``refused``;
    ``opaque``: bytes of the app's own in a ConfigRecord (a boosted model, masked updates), which go as they are."""
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


def opaque(
    content: RecordDict, round_: int, node_id: int, direction: Literal["up", "down"], message: str
) -> list[Transfer]:
    """Return what a message carries as bytes in ConfigRecords, where that is much: it went as it is."""
    sizes = {name: size for name, size in config_bytes(content).items() if size >= _LEAST_OPAQUE_BYTES}
    return [
        Transfer(round_, node_id, direction, "opaque", size, size, message=message, record=name, not_compressed=size)
        for name, size in sizes.items()
    ]


def write_ledger(transfers: Iterable[Transfer], path: str | Path) -> None:
    """Write transfers as JSON: ``{"schema": "thinwire.ledger/1", "transfers": [...]}``."""
    data = {"schema": "thinwire.ledger/1", "transfers": [asdict(t) for t in transfers]}
    write_files({Path(path): json.dumps(data, indent=1)})
