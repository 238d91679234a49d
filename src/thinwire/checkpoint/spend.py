"""A number of bytes for the whole file: one price of distortion for all pieces, so that their joint error is least.

Shoham and Gersho 1988, "Efficient bit allocation for an arbitrary set of quantizers". The price comes from measured
curves; what each piece really took is counted, and what is left is shared out anew among the pieces that follow. For a
message that fits in memory, `policy/allocate.py` settles on all tensors before it sends any; here each is read, encoded
and written once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from thinwire.checkpoint.bracket import Bracket
from thinwire.checkpoint.families import smaller
from thinwire.checkpoint.forecast import Forecast, codec_of, forecast, nothing_of
from thinwire.checkpoint.ledger import Ledger
from thinwire.checkpoint.packed import RECORD_BYTES
from thinwire.checkpoint.pieces import Piece
from thinwire.checkpoint.sent import Given, Sent
from thinwire.checkpoint.survey import Survey
from thinwire.errors import CheckpointError
from thinwire.kernels.distortion import largest

_TRIES = 12
_MARGIN, _UNUSED, _OFF = 0.004, 0.012, 0.03
_SAMPLES, _ROUNDS, _NEAR = 6, 4, 0.1
_MEMORY = 0.8


@dataclass(frozen=True)
class Budget:
    """At most ``total_bytes``, or 1/``ratio`` of the dense tensors: every byte of the file counts."""

    total_bytes: int | None = None
    ratio: float | None = None

    def __post_init__(self) -> None:
        if (self.total_bytes is None) == (self.ratio is None):
            raise CheckpointError("give one of total_bytes and ratio")
        if self.total_bytes is not None and self.total_bytes < 1:
            raise CheckpointError(f"a budget of {self.total_bytes} bytes, expected 1 or more")
        if self.ratio is not None and not 1 <= self.ratio < 1e9:
            raise CheckpointError(f"the ratio is {self.ratio}, expected 1 (no smaller) or more")

    def chooser(self, survey: Survey, fixed_bytes: int) -> Spender:
        """Measure all pieces and return who spends the bytes. Raises CheckpointError that names the least possible."""
        total = self.total_bytes or int(survey.nbytes / (self.ratio or 1.0))
        groups = list(survey.groups())
        found = forecast(survey)
        least = fixed_bytes + RECORD_BYTES * len(groups) + int(found.least[0])
        if least > total:
            raise CheckpointError(
                f"a budget of {total:,} bytes is too small: {least:,} is the least for these tensors, and sends next "
                "to nothing of them; give more, or a base"
            )
        spender = Spender(found, total - fixed_bytes, len(groups))
        spender.calibrate(survey, [piece for group in groups for piece in group])
        return spender


class Spender:
    """Chooses the step of each piece in turn, so that the rest keeps its due."""

    def __init__(self, forecast: Forecast, left_bytes: int, records: int) -> None:
        self._forecast = forecast
        self._left = left_bytes
        """For the records that are not written yet."""
        self._records = records
        self._ledger = Ledger()
        self._next = 0
        self._taken, self._foreseen = 1.0, 1.0
        """Bytes of the last pieces, as they came and as they were forecast: forecasts are wrong by their ratio."""

    def sent(self, given: Given) -> Sent:
        """Return the next piece."""
        i, self._next = self._next, self._next + 1
        sent = self._spend(i, given) if self._forecast.pieces[i].curve else given.lossless()
        self._ledger.add(sent)
        return sent

    def holds(self, given: Given, sent: Sent, decoded: Tensor) -> bool:
        """Nothing is promised of the error."""
        return True

    def wrote(self, record_bytes: int) -> None:
        """Take note of what a record really took."""
        self._left -= record_bytes
        self._records -= 1
        self._ledger.clear()

    def calibrate(self, survey: Survey, pieces: Sequence[Piece]) -> None:
        """Learn from a few whole pieces how wrong forecasts are: side information weighs more in a sample of rows."""
        forecast = self._forecast
        curved = [i for i, piece in enumerate(forecast.pieces) if piece.curve]
        largest_first = sorted(curved, key=lambda i: -pieces[i].spec.numel)
        if not curved:
            return
        some = largest_first[:: max(1, len(curved) // _SAMPLES)][:_SAMPLES]
        for _ in range(_ROUNDS):
            ratio = self._taken / self._foreseen
            price = forecast.price(self._room(curved[0]), ratio, ratio)
            costs = [self._at(i, survey.given(pieces[i]), price).cost_bytes for i in some]
            self._taken, self._foreseen = float(sum(costs)), sum(forecast.rate_of(i, price) for i in some)
            if abs(math.log(self._taken / self._foreseen / ratio)) < _NEAR:
                break

    def _room(self, i: int) -> float:
        """Return the bytes for piece i and what may be lossy behind it."""
        return self._left - self._ledger.total_bytes - RECORD_BYTES * self._records - float(self._forecast.fixed[i + 1])

    def _spend(self, i: int, given: Given) -> Sent:
        forecast, room = self._forecast, self._room(i)
        forecast.take(i)
        others = own = self._taken / self._foreseen
        reserve = float(forecast.least[i + 1] - forecast.fixed[i + 1])
        bracket, tries = Bracket(), list[_Try]()
        every_bit = True
        for _ in range(_TRIES):
            price = bracket.within(forecast.price(room, own * (1 + _MARGIN), others))
            sent = self._at(i, given, price, every_bit)
            cost = self._ledger.cost_bytes(sent)
            tries.append(_Try(price, sent, cost, room - cost, others * forecast.rate_ahead(price), reserve))
            if tries[-1].fits:
                break
            if sent.encoded.codec.lossless and tries[-1].overspent:
                # Tensors alike are all worth every bit from the same price on: the first must not take from the last.
                every_bit = False
                continue
            bracket.narrow(price, tries[-1].overspent)
            own = cost / max(forecast.rate(price), 1.0)
        best = min((tried for tried in tries if tried.left >= reserve), key=lambda tried: tried.worse, default=None)
        if best is None:
            return nothing_of(given, largest(given.target()))
        self._learn(best.cost, forecast.rate(best.price))
        return best.sent

    def _learn(self, taken: float, foreseen: float) -> None:
        keep = _MEMORY if foreseen > 0.1 * self._foreseen else 1.0
        self._taken, self._foreseen = keep * self._taken + taken, keep * self._foreseen + foreseen

    def _at(self, i: int, given: Given, price: float, every_bit: bool = True) -> Sent:
        curve = self._forecast.pieces[i].curve
        if curve is None or (every_bit and price <= curve.lossless_price):
            return given.lossless()
        return smaller(given, given.lossy(codec_of(given, curve.step(price))))


@dataclass(frozen=True)
class _Try:
    """What came of a price: the bytes that are left, those that the rest should have, and those that it must have."""

    price: float
    sent: Sent
    cost: int
    left: float
    due: float
    reserve: float

    @property
    def worse(self) -> tuple[bool, float]:
        """The less, the better: the rest has its due, and is near to it."""
        return self.overspent, abs(self.left - self.due)

    @property
    def overspent(self) -> bool:
        """Whether the rest gets too little."""
        return self.left < max(self.reserve, (1 - _OFF) * self.due)

    @property
    def fits(self) -> bool:
        """Whether the rest gets its due, and next to nothing would be unused if nothing were to come."""
        return not self.overspent and self.left <= (1 + _OFF) * self.due + _UNUSED * self.cost
