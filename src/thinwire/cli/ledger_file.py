"""A ledger as `write_ledger` writes it, read with suspicion: every complaint names the file and the field."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinwire.cli.bad_input import BadInput

SCHEMA = "thinwire.ledger/1"
_PEEK = 256


@dataclass(frozen=True)
class Line:
    """One message or reply that carried arrays. What older ledgers do not say is empty."""

    round: int
    node: int
    way: str
    """``down`` or ``up``."""
    kind: str
    payload_bytes: int
    dense_bytes: int
    nmse: float | None
    reason: str
    message: str
    record: str
    codecs: Mapping[str, str]
    sizes: Mapping[str, int]
    """Name -> payload bytes of its tensors, where known."""
    beside_bytes: int
    """Of arrays that travelled as they were, since no frame carries their kind."""

    @property
    def refused(self) -> bool:
        """Whether a reply was not taken."""
        return self.kind == "refused"

    @property
    def dense(self) -> bool:
        """Whether nothing of it was compressed."""
        return self.kind in ("dense", "opaque")


def is_ledger(file: Path) -> bool:
    """Say whether a file begins as JSON does: no frame and no packed checkpoint can. Raises OSError."""
    with file.open("rb") as opened:
        return opened.read(_PEEK).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"["))


def read_ledger(file: Path) -> list[Line]:
    """Return the lines of a ledger. Raises BadInput, OSError."""
    try:
        data = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file}: not valid JSON ({type(error).__name__}: {error})") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise BadInput(f"{file}: JSON whose schema is {str(schema)[:60]!r}; inspect reads ledgers, of {SCHEMA!r}")
    lines = data.get("transfers")
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        raise BadInput(f"{file}: field 'transfers' is no list of objects")
    return [_line(_Field(file, at, line)) for at, line in enumerate(lines)]


@dataclass(frozen=True)
class _Field:
    """The fields of one line."""

    file: Path
    at: int
    values: Mapping[str, Any]

    def count(self, key: str, *usual: int) -> int:
        value = self.values.get(key, *usual)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
            return value
        raise self._odd(key, "a whole number from 0")

    def text(self, key: str, *among: str) -> str:
        value = self.values.get(key, "")
        if isinstance(value, str) and (value in among or not among):
            return value
        raise self._odd(key, " or ".join(among) if among else "a text")

    def number(self, key: str) -> float | None:
        value = self.values.get(key)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
            return float(value)
        raise self._odd(key, "a number or null")

    def mapping(self, key: str, kind: type) -> dict[str, Any]:
        value = self.values.get(key, {})
        if isinstance(value, dict) and all(isinstance(item, kind) for item in value.values()):
            return value
        raise self._odd(key, f"an object of {'texts' if kind is str else 'numbers'}")

    def _odd(self, key: str, expected: str) -> BadInput:
        given = f"is {str(self.values[key])[:60]!r}" if key in self.values else "is missing"
        return BadInput(f"{self.file}: field 'transfers[{self.at}].{key}' {given}; expected {expected}")


def _line(field: _Field) -> Line:
    return Line(
        round=field.count("round"),
        node=field.count("node_id"),
        way=field.text("direction", "down", "up"),
        kind=field.text("kind"),
        payload_bytes=field.count("payload_bytes"),
        dense_bytes=field.count("dense_bytes"),
        nmse=field.number("nmse"),
        reason=field.text("reason"),
        message=field.text("message"),
        record=field.text("record"),
        codecs=field.mapping("codecs", str),
        sizes=field.mapping("tensors", int),
        beside_bytes=field.count("not_compressed", 0),
    )
