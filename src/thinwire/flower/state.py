"""What a client keeps between messages: references, and for each kind of exchange what was not sent yet.

A reply may be lost after error feedback kept what it left out, and several may be on their way at once. So feedback
goes on as if every reply arrived (``pending``), and beside each reply whose fate is not known lies what undoes it: the
residual before it, less the residual after it. The server's next message says which replies it took and which it waits
for; of one that is neither, the undoing is added. ``target == sent + residual`` then holds for what the server has. (A
residual that fades is undone as it was, not as it would have faded; a velocity, which goes on as it is, is not undone.)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field, replace
from typing import Any

import torch
from flwr.app import Context
from torch import Tensor

from thinwire.codec import Specs, State, specs
from thinwire.errors import WireError
from thinwire.flower import store as stores
from thinwire.flower.protocol import Fate, Outcome
from thinwire.flower.records import dense_bytes
from thinwire.flower.round_timings import KEPT, from_rows, settled
from thinwire.kernels.distortion import is_zero
from thinwire.policy import Turn

_log = logging.getLogger("thinwire")
_EXCHANGES = 8
"""Kinds of exchange and models of which feedback is kept; of the one used longest ago it goes."""
_RESIDUAL = "residual/"
_STATELESS = "no-disk"


@dataclass(frozen=True)
class Answered:
    """A reply whose fate is not known yet."""

    sequence: int
    exchange: str
    round: int
    timing: Turn
    undo: str = ""
    """Where what undoes its feedback is kept; empty: it has none."""


@dataclass(frozen=True)
class Exchange:
    """What feedback and policies keep of one kind of exchange over one model."""

    blob: str = ""
    shown_round: int = 0
    """The newest round whose loss the policy was shown."""


@dataclass
class ClientState:
    """The state of one node. Changes are kept by ``save``."""

    context: Context
    own: stores.ContextStore
    """What is in the context itself: all, or the name of a folder."""
    folder: stores.FolderStore | None = None
    session: int = -1
    references: list[str] = field(default_factory=list)
    """Ids in hex."""
    exchanges: dict[str, Exchange] = field(default_factory=dict)
    """By name, the one used last at the end."""
    answered: list[Answered] = field(default_factory=list)
    turns: tuple[Turn, ...] = ()
    """What earlier rounds cost, the newest last, whether their replies were taken or not."""
    stateless: bool = False
    said_stateless: bool = False
    """An earlier message found no disk either, and said so."""
    _fresh: dict[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def meet(self, session: int, sequence: int, fates: Sequence[Fate], latency_s: float = 0.0) -> None:
        """Take note of which replies a message says that the server took. What another server knew of is forgotten.

        ``sequence``: the message's own; it knows nothing of later ones that came here first. ``latency_s`` is one way's
        share of a round's time.
        """
        if session != self.session:
            self.session, self.references, self.exchanges, self.answered = session, [], {}, []
        known, turns, unknown = {fate.sequence: fate for fate in fates}, list(self.turns), list[Answered]()
        for reply in self.answered:
            later = Outcome.WAITING if reply.sequence > sequence else Outcome.LOST
            fate = known.get(reply.sequence, Fate(reply.sequence, later))
            if fate.outcome is Outcome.WAITING:
                unknown.append(reply)
                continue
            if fate.outcome is Outcome.LOST and reply.undo:
                self._undo(reply)
            turns += settled(reply.timing, fate, latency_s)
        self.answered, self.turns = unknown, tuple(turns[-KEPT:])

    def reference(self, id: bytes) -> Mapping[str, Tensor] | None:
        """Return the tensors of a reference, read one by one; None where this node does not hold it."""
        if id.hex() not in self.references:
            return None
        try:
            return self._read("reference-" + id.hex())
        except WireError as error:
            _log.warning("a reference of node %s cannot be read: %s", self.context.node_id, error)
            return None

    def hold(
        self, id: bytes, tensors: Mapping[str, Tensor], keep: tuple[bytes, ...], sequence: int, new: bool = True
    ) -> None:
        """Keep a reference, and of the others those that the server names. One that is not ``new`` is kept already.

        ``sequence``: the message's own. One that comes after a later one was answered does not know what that brought.
        """
        late = any(reply.sequence > sequence for reply in self.answered)
        if new or id.hex() not in self.references:
            self._fresh["reference-" + id.hex()] = tensors
        known = {*self.references, id.hex()}
        named = [*(self.references if late else ()), *(each.hex() for each in keep), id.hex()]
        self.references = [name for name in dict.fromkeys(named) if name in known]

    def kept(self, exchange: str) -> tuple[State, int]:
        """Return what a compressor kept of an exchange, and the newest round whose loss its policy was shown."""
        found = self.exchanges.get(exchange, Exchange())
        try:
            return (dict(self._read(found.blob)) if found.blob else {}), found.shown_round
        except WireError as error:
            _log.warning("what node %s kept cannot be read and starts anew: %s", self.context.node_id, error)
            return {}, 0

    def replied(self, exchange: str, after: State, answered: Answered, shown_round: int) -> None:
        """Note a reply that is about to leave, and what is kept if it arrives."""
        undo = _difference(self.kept(exchange)[0], after, own=self._reads_anew(exchange))
        name = f"undo-{answered.sequence}" if undo else ""
        blob = f"kept-{answered.sequence}-{len(self.exchanges)}" if after else ""
        if undo:
            self._fresh[name] = undo
        if after:
            self._fresh[blob] = after
        self.answered.append(replace(answered, exchange=exchange, undo=name))
        self.exchanges.pop(exchange, None)
        self.exchanges[exchange] = Exchange(blob, shown_round)
        for oldest in list(self.exchanges)[:-_EXCHANGES]:
            del self.exchanges[oldest]

    def save(self) -> None:
        """Keep all of this: in the Context, in a folder if it is much, or, which is said, not at all."""
        if self.stateless:
            return
        try:
            self._move_if_large()
            store = self.folder or self.own
            for name, tensors in self._fresh.items():
                store.write(name, tensors)
            store.commit(self._facts(), self._names())
        except OSError as error:
            self._become_stateless(error)
        self._fresh = {}

    def leave(self) -> None:
        """Put what belongs there back into the context."""
        self.own.put_back()

    @property
    def pending(self) -> State:
        """What training keeps if every reply arrives."""
        return self.kept(self._training())[0]

    @property
    def committed(self) -> State:
        """What training keeps if none of the replies arrives whose fate is not known."""
        kept = self.pending
        for reply in self.answered:
            if reply.exchange == self._training() and reply.undo:
                kept = _added(kept, dict(self._read(reply.undo)))
        return kept

    @property
    def pending_round(self) -> int:
        """The round of the newest reply whose fate is not known; -1: there is none."""
        return max((reply.round for reply in self.answered), default=-1)

    @property
    def pending_turn(self) -> Turn | None:
        """What is known of the cost of that round."""
        return self.answered[-1].timing if self.answered else None

    def _training(self) -> str:
        return next((name for name in reversed(self.exchanges) if name.startswith("train")), "")

    def _undo(self, reply: Answered) -> None:
        kept, shown_round = self.kept(reply.exchange)
        if reply.exchange not in self.exchanges:
            return
        try:
            restored = _added(kept, dict(self._read(reply.undo)))
        except WireError as error:
            _log.warning("a lost reply of node %s cannot be undone: %s", self.context.node_id, error)
            return
        blob = f"kept-after-{reply.sequence}" if restored else ""
        if restored:
            self._fresh[blob] = restored
        self.exchanges[reply.exchange] = Exchange(blob, shown_round)

    def _read(self, name: str) -> Mapping[str, Tensor]:
        return self._fresh[name] if name in self._fresh else (self.folder or self.own).read(name)

    def _reads_anew(self, exchange: str) -> bool:
        """Return whether what was kept of an exchange comes from a file: memory that nobody else sees."""
        return self.folder is not None and self.exchanges.get(exchange, Exchange()).blob not in self._fresh

    def _names(self) -> set[str]:
        names = {"reference-" + id for id in self.references}
        names |= {exchange.blob for exchange in self.exchanges.values()} | {reply.undo for reply in self.answered}
        return names - {""}

    def _move_if_large(self) -> None:
        if self.folder is not None:
            return
        held = dict[str, Mapping[str, Tensor]]()
        for name in self._names():
            with suppress(WireError):  # who reads it later says so
                held[name] = self._read(name)
        if sum(map(_bytes_of, held.values())) <= stores.CONTEXT_BYTES:
            return
        folder, handle = stores.new_folder(self.context)
        for name, tensors in held.items():
            with suppress(WireError):
                self._fresh[name] = dict(tensors)
        self.own.commit(handle, set())
        self.folder = folder

    def _become_stateless(self, error: OSError) -> None:
        if not self.said_stateless:
            _log.warning(
                "node %s has no disk for what thinwire keeps between messages (%s): it goes on without error feedback, "
                "and is sent the whole model every time. Name a folder with room: "
                "--node-config \"thinwire-folder='/path'\", or the variable THINWIRE_STATE.",
                self.context.node_id,
                error,
            )
        self.stateless = self.said_stateless = True
        if self.folder is not None:
            self.folder.remove()
        self.folder, self.references, self.exchanges, self.answered = None, [], {}, []
        self.own.commit({_STATELESS: True}, set())

    def _facts(self) -> dict[str, Any]:
        return {
            "session": self.session,
            "references": self.references,
            "exchanges": [[name, each.blob, each.shown_round] for name, each in self.exchanges.items()],
            "answered": [
                [reply.sequence, reply.exchange, reply.round, list(astuple(reply.timing)), reply.undo]
                for reply in self.answered
            ],
            "turns": [list(astuple(turn)) for turn in self.turns],
        }


def load(context: Context) -> ClientState:
    """Return the state of this node; an empty one where there is none or it cannot be read (which is said)."""
    own = stores.ContextStore(context)
    folder = stores.folder_of(context, own.facts())
    state = ClientState(context, own, folder, said_stateless=bool(own.facts().get(_STATELESS)))
    facts = (folder or own).facts()
    if "session" not in facts:
        if own.used and not state.said_stateless:
            _log.warning("the state of node %s is gone or cannot be read: it starts anew", context.node_id)
        if folder is not None:
            folder.remove()
            state.folder = None
        return state
    try:
        state.session = int(facts["session"])
        state.references = [str(id) for id in facts["references"]]
        state.exchanges = {str(name): Exchange(str(blob), int(shown)) for name, blob, shown in facts["exchanges"]}
        state.turns = from_rows(facts["turns"])
        for sequence, exchange, round_, timing, undo in facts["answered"]:
            (turn,) = from_rows([timing])
            state.answered.append(Answered(int(sequence), str(exchange), int(round_), turn, str(undo)))
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        _log.warning("the state of node %s cannot be read and starts anew: %s", context.node_id, error)
        return ClientState(context, own, folder)
    return state


def _bytes_of(tensors: Mapping[str, Tensor]) -> int:
    return tensors.nbytes if isinstance(tensors, stores.Tensors) else dense_bytes(tensors)


def specs_of(tensors: Mapping[str, Tensor]) -> Specs:
    """Return names, shapes and dtypes, without reading what is stored."""
    return tensors.specs if isinstance(tensors, stores.Tensors) else specs(tensors)


def _difference(before: State, after: State, own: bool) -> State:
    """Return what has to be added to residuals to undo a reply; ``own``: in the memory of ``before``."""
    names = {name for name in (*before, *after) if name.startswith(_RESIDUAL)}
    undo = {name: _minus(before.get(name), after.get(name), own) for name in sorted(names)}
    return {name: x for name, x in undo.items() if not is_zero(x)}


def _minus(x: Tensor | None, y: Tensor | None, own: bool) -> Tensor:
    if x is not None and y is not None and x.shape == y.shape:
        return x.sub_(y) if own else x - y
    return x if x is not None else -y if y is not None else torch.zeros(0)


def _added(kept: State, undo: State) -> State:
    sums = {name: kept[name] + x if name in kept and kept[name].shape == x.shape else x for name, x in undo.items()}
    return {name: x for name, x in (kept | sums).items() if not name.startswith(_RESIDUAL) or bool(x.any())}
