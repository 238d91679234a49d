"""What the server knows that its clients hold, and the way from there to the model of a message.

A package for a node depends on what that node was sent before, and on nothing that was meant for others. Nodes of equal
history get equal bytes, which are made once: in a federation where all take part that is one difference a round. What
one difference did not send the next one holds: that is the downlink's error feedback.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor

from thinwire.codec import Encoded, Specs, State, specs
from thinwire.compressor import Compressor, Report
from thinwire.feedback import NoFeedback
from thinwire.flower.policy_replay import caught_up, policy_state
from thinwire.flower.protocol import ID_BYTES, model_hash
from thinwire.flower.records import dense_bytes
from thinwire.flower.update import View, apply_update, encode_update, same_bits
from thinwire.kernels.distortion import energy
from thinwire.policy import Signals
from thinwire.wire import dumps

_WEIGHTS_TIGHTER = 0.01
"""Who holds nothing is sent weights, not an update: their error is bounded a hundred times tighter."""
_PATHS = 64


@dataclass(frozen=True)
class Model:
    """The arrays of a message as the server has them."""

    tensors: dict[str, Tensor]
    id: bytes

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Model:
        """Return the model of these tensors; they are read only, and must not change."""
        return cls(tensors, model_hash(tensors))

    @property
    def specs(self) -> Specs:
        """Names, shapes and dtypes."""
        return specs(self.tensors)


@dataclass(frozen=True)
class Reference:
    """A model that clients hold: what they made of a package."""

    tensors: dict[str, Tensor]
    hash: bytes
    model_id: bytes
    """The model that it stands for."""
    round: int
    exact: frozenset[int] = frozenset()
    """Positions of the tensors that are exactly the model's."""
    kept: State = field(default_factory=dict)
    """What the downlink's policy remembers of the way here."""

    @property
    def id(self) -> bytes:
        """The start of the hash, which names it in packages."""
        return self.hash[:ID_BYTES]


@dataclass(frozen=True)
class Path:
    """The way from a base to a reference: what is sent, and where it leads."""

    to: Reference
    base: Reference | None = None
    """None: from nothing; or the client holds ``to`` already, if there is no frame."""
    frame: bytes = b""
    verbatim: frozenset[int] = frozenset()
    """Positions of the tensors of which the frame holds the values, not differences."""
    alone: frozenset[int] = frozenset()
    """Positions of the tensors that are differences to zeros."""
    report: Report = field(default_factory=Report)
    encode_s: float = 0.0

    @property
    def kind(self) -> Literal["held", "whole", "delta"]:
        """What the ledger calls it."""
        return "delta" if self.base else "whole" if self.frame else "held"


class References:
    """All references that some client holds, and the paths to them that were made last.

    ``most_bytes`` bounds the references that are kept; of those used least, nodes are sent the whole model again.
    """

    def __init__(self, compressor: Compressor, exact: str, most_bytes: int) -> None:
        self.use(compressor)
        self._exact, self._most_bytes = exact, most_bytes
        self._held: OrderedDict[bytes, Reference] = OrderedDict()
        self._paths: OrderedDict[tuple[bytes, bytes], Path] = OrderedDict()
        self._distances: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()

    def use(self, differences: Compressor, weights: Compressor | None = None) -> None:
        """Compress so from now on: differences, and the weights that go to who holds nothing (by default likewise)."""
        self._differences = replace(differences, feedback=NoFeedback())
        self._weights = replace(weights or differences, feedback=NoFeedback())

    def path(self, model: Model, held: Sequence[bytes], signals: Signals, losses: Sequence[float | None]) -> Path:
        """Return the way to a model for a client that holds these references. Made once for all of equal history.

        ``losses`` are those of all rounds so far. Raises ValueError for a codec that not every machine decodes to the
        same bits.
        """
        references = [self._held[id] for id in held if id in self._held]
        for reference in references:
            if reference.model_id == model.id:
                return Path(reference)
        base = self._nearest(model, references)
        key = (model.id, base.hash if base else b"")
        if key not in self._paths:
            self._paths[key] = self._made(model, base, signals, losses)
            found = self._paths[key]
        else:
            found = replace(self._paths[key], encode_s=0.0)
        self._paths.move_to_end(key)
        while len(self._paths) > _PATHS:
            self._paths.popitem(last=False)
        self._held[found.to.id] = found.to
        self._held.move_to_end(found.to.id)
        return found

    def near(self, model: Model, ids: Iterable[bytes]) -> bytes:
        """Return which of these references is nearest to a model; empty: nothing is nearer."""
        found = self._nearest(model, [self._held[id] for id in ids if id in self._held])
        return found.id if found else b""

    def drop_all_but(self, live: set[bytes]) -> list[bytes]:
        """Forget what no client holds, and of the rest what is over the limit; returns the ids of the latter."""
        for id in [id for id in self._held if id not in live]:
            self._forget(id)
        over, dropped = self._bytes() - self._most_bytes, []
        for id in list(self._held)[:-1]:
            if over <= 0:
                break
            over -= dense_bytes(self._held[id].tensors)
            self._forget(id)
            dropped.append(id)
        return dropped

    def _forget(self, id: bytes) -> None:
        del self._held[id]
        for key in [key for key, path in self._paths.items() if path.to.id == id]:
            del self._paths[key]

    def _nearest(self, model: Model, references: Sequence[Reference]) -> Reference | None:
        """Return the reference that a difference to the model is smallest to; None: nothing is nearer.

        Only those of the same names and shapes count.
        """
        shapes = {name: x.shape for name, x in model.tensors.items()}
        best, least = None, self._distance(model, None)
        for reference in references:
            if {name: x.shape for name, x in reference.tensors.items()} != shapes:
                continue
            if (distance := self._distance(model, reference)) <= least:
                best, least = reference, distance
        return best

    def _bytes(self) -> int:
        return sum(dense_bytes(reference.tensors) for reference in self._held.values())

    def _distance(self, model: Model, base: Reference | None) -> float:
        key = (model.id, base.hash if base else b"")
        if key not in self._distances:
            self._distances[key] = _distance(model.tensors, base.tensors if base else {})
            while len(self._distances) > 4 * _PATHS:
                self._distances.popitem(last=False)
        return self._distances[key]

    def _made(self, model: Model, base: Reference | None, signals: Signals, losses: Sequence[float | None]) -> Path:
        started = time.perf_counter()
        view = View(base.tensors, frozenset(base.tensors)) if base else View.from_nothing(model.specs)
        compressor = self._tightened(base, signals.round)
        kept = caught_up(compressor.policy, base.kept if base else {}, signals, losses, base.round if base else 0)
        update = encode_update(model.tensors, view, compressor, kept, signals, exact=self._exact)
        for name, encoded in update.message.items():
            _refuse_inexact(name, encoded)
        reached = dict(apply_update(update.message, update.verbatim, update.alone, view))
        exact = frozenset(at for at, (name, x) in enumerate(reached.items()) if same_bits(x, model.tensors[name]))
        shared = base is not None and specs(base.tensors) == model.specs
        to = Reference(reached, model_hash(reached), model.id, signals.round, exact, policy_state(update.state))
        frame = dumps(update.message, schema=not shared)
        return Path(to, base, frame, update.verbatim, update.alone, update.report, time.perf_counter() - started)

    def _tightened(self, base: Reference | None, round_: int) -> Compressor:
        """Scale a relative error bound so that its absolute error is about that of one round's difference."""
        compressor = self._weights if base is None else self._differences
        bound = getattr(compressor.policy, "nmse", None)
        factor = _WEIGHTS_TIGHTER if base is None else 1 / max(1, round_ - base.round)
        if bound is None or factor == 1:
            return compressor
        return replace(compressor, policy=replace(compressor.policy, nmse=bound * factor))  # type: ignore[type-var]


def _distance(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> float:
    """Return the energy of the difference of all floats; what is not finite does not count."""
    total = 0.0
    for name, x in tensors.items():
        if x.dtype.is_floating_point and x.numel():
            squares = energy(x - base[name].to(x.dtype) if name in base else x)
            total += squares if math.isfinite(squares) else 0.0
    return total


def _refuse_inexact(name: str, encoded: Encoded) -> None:
    if not encoded.codec.exact:
        raise ValueError(f"{encoded.codec} may not carry {name!r}: not every machine decodes the same bits from it")
    for part in encoded.parts.values():
        if isinstance(part, Encoded):
            _refuse_inexact(name, part)
