"""Reading values out of a JSON object such that every complaint names the file and the field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

SCHEMA = "thinwire.run/1"
TRAIN_SCHEMA = "thinwire.train/1"
SCHEMAS = (SCHEMA, TRAIN_SCHEMA)


@dataclass(frozen=True)
class Fields:
    """A JSON object, with the file and the path inside it that it came from."""

    file: str
    path: str
    values: Mapping[str, object]
    schema: str = SCHEMA

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Raise ValueError: which file, which field, what it holds, what it should hold."""
        given = f"is {repr(self.values[key])[:60]}" if key in self.values else "is missing"
        raise ValueError(f"{self.file}: field {self._at(key)!r} {given}; expected {expected} (schema {self.schema}).")

    def text(self, key: str) -> str:
        """Return a text that is not empty."""
        value = self.values.get(key)
        return value if isinstance(value, str) and value else self.refuse(key, "a text that is not empty")

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self.values.get(key)
        return value if isinstance(value, bool) else self.refuse(key, "true or false")

    def count(self, key: str) -> int:
        """Return a whole number of at least 0: bytes, rounds, failures."""
        value = self.values.get(key)
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return value if whole and isinstance(value, int) else self.refuse(key, "a whole number of at least 0")

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self.optional(key)
        return self.refuse(key, "a finite number") if value is None else value

    def seconds(self, key: str) -> float:
        """Return a finite number of at least 0."""
        value = self.number(key)
        return value if value >= 0 else self.refuse(key, "a number of seconds of at least 0")

    def optional(self, key: str) -> float | None:
        """Return a finite number, or None for null, for a field that is not there and for NaN or infinity."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(key, "a number or null")
        return float(value) if math.isfinite(value) else None

    def numbers(self, key: str) -> list[float]:
        """Return a list of finite numbers."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(map(_finite, value)):
            self.refuse(key, "a list of finite numbers")
        return [float(item) for item in value]

    def child(self, key: str) -> Fields:
        """Return a JSON object."""
        value = self.values.get(key)
        return self._inside(self._at(key), value) if isinstance(value, dict) else self.refuse(key, "an object")

    def children(self, key: str) -> list[Fields]:
        """Return a list of at least one JSON object."""
        value = self.values.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            self.refuse(key, "a list of at least one object")
        return [self._inside(f"{self._at(key)}[{at}]", item) for at, item in enumerate(value)]

    def _inside(self, path: str, values: Mapping[str, object]) -> Fields:
        return Fields(self.file, path, values, self.schema)

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _finite(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]
