"""What a message cost."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TensorReport:
    """What one tensor of a message cost."""

    codec: str
    payload_bytes: int
    dense_bytes: int
    error_energy: float
    energy: float

    @property
    def nmse(self) -> float:
        """Return ``sum((target - sent)**2) / sum(target**2)``, to 1e-4 of itself; 0 for an all-zero target."""
        return self.error_energy / self.energy if self.energy else 0.0


@dataclass(frozen=True)
class Report:
    """What a message cost. The frame adds its header: ``len(dumps(message))`` is what travels."""

    tensors: dict[str, TensorReport] = field(default_factory=dict)

    @property
    def payload_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(t.payload_bytes for t in self.tensors.values())

    @property
    def dense_bytes(self) -> int:
        """Bytes of the dense tensors."""
        return sum(t.dense_bytes for t in self.tensors.values())

    @property
    def nmse(self) -> float:
        """Return the error of the whole message relative to its energy."""
        energy = sum(t.energy for t in self.tensors.values())
        return sum(t.error_energy for t in self.tensors.values()) / energy if energy else 0.0
