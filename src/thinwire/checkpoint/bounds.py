"""A bound on the error of every tensor, verified on what the receiver will decode."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from thinwire.checkpoint.families import smaller
from thinwire.checkpoint.goals import Plain, lossy
from thinwire.checkpoint.measure import energy64, largest_error, squared_error
from thinwire.checkpoint.sent import Given, Sent
from thinwire.checkpoint.survey import Survey
from thinwire.codec import Codec
from thinwire.errors import CheckpointError, unknown
from thinwire.registry import parse

_CODECS = {"nmse": "Rdoq(nmse={!r})", "absolute": "Step(absolute={!r}, symbols=Ans())"}
KINDS = ("nmse", "relative", "absolute")


@dataclass(frozen=True)
class Bounded:
    """``nmse``: squared error over squared norm; ``absolute``: of any element; ``relative``: that, in units of the RMS.

    With a base it is the difference that is bounded, and its norm and RMS that count.
    """

    kind: str
    value: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CheckpointError(unknown("bound", self.kind, KINDS))
        if not 0 < self.value < (1 if self.kind == "nmse" else math.inf):
            most = " and below 1 (1 is sending nothing)" if self.kind == "nmse" else ""
            raise CheckpointError(
                f"the bound {self.kind}={self.value!r} is not possible: expected a number above 0{most}"
            )

    @classmethod
    def parse(cls, text: str) -> Bounded:
        """Return the bound that a text such as ``nmse=0.001`` states. Raises CheckpointError."""
        kind, _, value = text.partition("=")
        try:
            return cls(kind.strip(), float(value))
        except CheckpointError:
            raise
        except ValueError:
            raise CheckpointError(f"the bound {text!r} is not of the form nmse=0.001 (or {', '.join(KINDS)})") from None

    def chooser(self, survey: Survey, fixed_bytes: int) -> BoundChooser:
        """Return who chooses."""
        return BoundChooser(self, survey)


class BoundChooser(Plain):
    """Sends every piece within the bound of its tensor."""

    def __init__(self, bound: Bounded, survey: Survey) -> None:
        self._bound, self._survey = bound, survey
        self._units: dict[str, float] = {}

    def sent(self, given: Given) -> Sent:
        """Return the piece within the bound."""
        limit = self._limit(given)
        if not lossy(given.piece.entry) or not limit:
            return given.lossless()
        sent = given.lossy(self._codec(limit))
        return smaller(given, sent, limit) if self._bound.kind == "nmse" else sent

    def holds(self, given: Given, sent: Sent, decoded: Tensor) -> bool:
        """Measure the error on what was decoded."""
        if sent.encoded.codec.lossless:
            return True
        target = given.target()
        if self._bound.kind == "nmse":
            return squared_error(target, decoded) <= self._bound.value * energy64(target)
        return largest_error(target, decoded) <= self._limit(given)

    def _codec(self, limit: float) -> Codec:
        text = _CODECS["nmse" if self._bound.kind == "nmse" else "absolute"]
        return parse(text.format(limit))  # type: ignore[no-any-return]

    def _limit(self, given: Given) -> float:
        """Return the bound in the units of a codec: a tensor in pieces has one RMS for all of them."""
        if self._bound.kind != "relative" or not lossy(given.piece.entry):
            return self._bound.value
        return self._bound.value * self._rms(given)

    def _rms(self, given: Given) -> float:
        entry = given.piece.entry
        if entry.name not in self._units:
            whole = given.piece.spec.numel == entry.spec.numel
            parts = [given] if whole else map(self._survey.given, self._survey.pieces_of(entry))
            energy = sum(energy64(part.target()) for part in parts)
            self._units = {entry.name: math.sqrt(energy / max(entry.spec.numel, 1))}
        rms = self._units[entry.name]
        return rms if math.isfinite(rms) else 0.0
