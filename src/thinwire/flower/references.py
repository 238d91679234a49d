"""The references that server and clients share, bit for bit: deltas and keyframes, as in video.

Server: `Publisher`. For every distinct model it makes one delta from the last reference (the *chain*), lazily one delta
from the last keyframe for clients that missed rounds (the *star*, the same bytes for all of them) and lazily a lossless
snapshot. A client gets whichever path is smallest. What a delta did not send, the next difference holds: that is the
downlink's error feedback. The client's side is `shelf.follow`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from thinwire.codec import Encoded, State, encode, specs
from thinwire.compressor import Compressor, Report
from thinwire.delta import add, check_finite, subtract, zeros
from thinwire.feedback import NoFeedback
from thinwire.flower.instructions import Instructions
from thinwire.flower.missed import policy_state
from thinwire.flower.package import KEYFRAME, NOTHING, SNAPSHOT, Package, Step, model_hash
from thinwire.flower.shelf import Reference, Tensors
from thinwire.policy import Signals
from thinwire.registry import parse
from thinwire.wire import decode_message, dumps

_WEIGHTS_TIGHTER = 0.01
"""A first delta holds weights, not an update: its error is bounded a hundred times tighter."""


@dataclass(frozen=True)
class Path:
    """Steps from a base that a client holds to a reference."""

    base: bytes
    steps: tuple[Step, ...]
    to: Reference
    kind: str

    @property
    def nbytes(self) -> int:
        """Bytes of the steps in a package."""
        return sum(step.nbytes for step in self.steps)


@dataclass(frozen=True)
class Link:
    """Steps from a base to the next link's."""

    base: bytes
    steps: tuple[Step, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the steps in a package."""
        return sum(step.nbytes for step in self.steps)


@dataclass(frozen=True)
class Held:
    """The ids of what a client holds: the last model it received and the last keyframe. None: nothing."""

    current: bytes | None = None
    keyframe: bytes | None = None

    def ids(self) -> set[bytes]:
        """Return the ids."""
        return {id for id in (self.current, self.keyframe) if id is not None}


class Publisher:
    """The server's side for one schema: what every model was sent as, and each client's shortest way to it."""

    def __init__(self, first: Mapping[str, Tensor], compressor: Compressor, keyframe_every: int = 4) -> None:
        self.schema = specs(first)
        self.version = 0
        self.report = Report()
        self._compressor = replace(compressor, feedback=NoFeedback())
        self._every = keyframe_every
        self._zero = self._keyframe = self._main = Reference.of(zeros(self.schema))
        self._links: list[Link] = []
        self._epochs: list[Link] = []
        self._star: Path | None = None
        self._snapshot: Step | None = None
        self._content: Tensors = {}
        self._content_id = b""
        self._signals = Signals()
        self._kept: State = {}
        self._round_energy: float | None = None

    def publish(self, tensors: Mapping[str, Tensor], signals: Signals, cohort: Sequence[Held] = ()) -> bool:
        """Make ``tensors`` the current model, in the schema's dtypes; False where it is the current one already.

        ``cohort`` is what the clients hold that will be sent it. Raises WireError where the model holds NaN or
        infinity: nothing is changed then.
        """
        content = {name: tensors[name].to(spec.dtype) for name, spec in self.schema.items()}
        content_id = model_hash(content)
        if content_id == self._content_id:
            return False
        check_finite(content)
        self._end_epoch()
        base = self._base_for(cohort)
        reached, step, self.report, self._kept = self._delta(base, content, signals)
        self.version += 1
        step = replace(step, flags=step.flags | (KEYFRAME if self._makes_keyframe() else 0))
        self._links = [*(self._links if base is self._main else []), Link(base.id, (step,))]
        self._main, self._content, self._content_id, self._signals = reached, content, content_id, signals
        self._star = self._snapshot = None
        return True

    def path(self, held: Held) -> Path:
        """Return the smallest path to the current model for a client that holds these references."""
        for reference in (self._main, *([self._star.to] if self._star else [])):
            if reference.id in held.ids():
                return Path(reference.id, (), reference, "held")
        known = {self._zero.id, *held.ids()}
        replay = self._replay(known)
        if replay is not None and len(replay.steps) == 1:
            return replay
        options = [path for path in (replay, self._from_keyframe(known), self._whole()) if path is not None]
        return min(options, key=lambda path: path.nbytes)

    def package(self, path: Path, instructions: Instructions) -> bytes:
        """Return the bytes that take a client along a path."""
        base = NOTHING if path.base == self._zero.id else path.base
        return Package(base, path.to.id, path.steps, instructions).dumps()

    def after(self, path: Path, held: Held) -> Held:
        """Return what a client holds once it followed a path: ids alone."""
        flagged = any(step.flags & KEYFRAME for step in path.steps)
        newest = self._main if self._makes_keyframe() and path.to is self._main else self._keyframe
        return Held(path.to.id, newest.id if flagged else held.keyframe)

    def _makes_keyframe(self) -> bool:
        return self.version == 1 or self.version % self._every == 0

    def _end_epoch(self) -> None:
        """After a keyframe its chain becomes one link, for clients that missed it; links that outgrow a snapshot go."""
        if not self.version or not self._makes_keyframe():
            return
        steps = tuple(step for link in self._links for step in link.steps)
        self._epochs.append(Link(self._keyframe.id, steps))
        while sum(link.nbytes for link in self._epochs) > sum(spec.nbytes for spec in self.schema.values()):
            self._epochs.pop(0)
        self._keyframe, self._links = self._main, []

    def _base_for(self, cohort: Sequence[Held]) -> Reference:
        """Return what to take the difference to: a keyframe that most must be sent anew starts from the last one."""
        ahead = self.version + 1
        current = sum(self._main.id in held.ids() for held in cohort)
        return self._keyframe if ahead % self._every == 0 and 2 * current < len(cohort) else self._main

    def _delta(self, base: Reference, content: Tensors, signals: Signals) -> tuple[Reference, Step, Report, State]:
        """Return what is reached by which step, what that cost, and what the policy remembers of it."""
        difference = subtract(content, base.tensors)
        message, state, report = self._tightened(base, difference).compress(difference, self._kept, signals)
        kept = policy_state(state)
        if all(encoded.codec.lossless for encoded in message.values()):
            # A float difference rounds: what must arrive exactly is sent as it is.
            message, _, report = self._compressor.compress(content, self._kept, signals)
            return Reference.of(content), Step(dumps(message, schema=True), SNAPSHOT), report, kept
        for name, encoded in message.items():
            _refuse_inexact(name, encoded)
        reached = Reference.of(add(base.tensors, decode_message(message)))
        return reached, Step(dumps(message, schema=base.id == self._zero.id)), report, kept

    def _tightened(self, base: Reference, difference: Tensors) -> Compressor:
        """Scale a relative error bound so that its absolute error is that of one round's difference."""
        energy = _energy(difference)
        from_zero = base.id == self._zero.id
        factor = _WEIGHTS_TIGHTER if from_zero else 1.0
        if base is self._main and not from_zero:
            self._round_energy = energy
        elif self._round_energy is not None and energy:
            factor = min(factor, self._round_energy / energy)
        bound = getattr(self._compressor.policy, "nmse", None)
        if bound is None or factor == 1.0:
            return self._compressor
        return replace(self._compressor, policy=replace(self._compressor.policy, nmse=bound * factor))  # type: ignore[type-var]

    def _replay(self, known: set[bytes]) -> Path | None:
        """Return the deltas that a client missed, through keyframes where it missed those too."""
        links = [*self._epochs, *self._links]
        for at in range(len(links) - 1, -1, -1):
            if links[at].base in known:
                steps = tuple(step for link in links[at:] for step in link.steps)
                return Path(links[at].base, steps, self._main, "delta" if len(steps) == 1 else "deltas")
        return None

    def _from_keyframe(self, known: set[bytes]) -> Path | None:
        """Return one cumulative delta against the last keyframe, made once for all that hold it."""
        if self._keyframe.id not in known or self._makes_keyframe() or len(self._links) < 2:
            return None
        if self._star is None:
            reached, step, _, _ = self._delta(self._keyframe, self._content, self._signals)
            self._star = Path(self._keyframe.id, (step,), reached, "keyframe delta")
        return self._star

    def _whole(self) -> Path:
        """Return a lossless snapshot of the reference."""
        if self._snapshot is None:
            message = {name: encode(parse("Planes()"), x) for name, x in self._main.tensors.items()}
            flags = SNAPSHOT | (KEYFRAME if self._makes_keyframe() else 0)
            self._snapshot = Step(dumps(message, schema=True), flags)
        return Path(NOTHING, (self._snapshot,), self._main, "snapshot")


def _energy(tensors: Mapping[str, Tensor]) -> float:
    return sum(float(x.double().square().sum()) for x in tensors.values() if x.dtype.is_floating_point)


def _refuse_inexact(name: str, encoded: Encoded) -> None:
    inner = [part for part in encoded.parts.values() if isinstance(part, Encoded)]
    if not encoded.codec.exact:
        raise ValueError(f"{encoded.codec} may not carry {name!r}: not every machine decodes the same bits from it")
    for part in inner:
        _refuse_inexact(name, part)
