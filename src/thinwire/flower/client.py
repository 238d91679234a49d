"""The client's side: a Flower mod, outermost, that decodes what comes in and compresses what goes out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from flwr.app import Array, Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from flwr.serverapp import ServerApp
from torch import Tensor

from thinwire.codec import derive_seed, specs
from thinwire.errors import WireError
from thinwire.feedback import NoFeedback
from thinwire.flower import beside, records, state
from thinwire.flower.clipping import scale_within, warn_unless_clipped
from thinwire.flower.diagnosis import MISSING, PREFIX, RAISED
from thinwire.flower.engine import CLIENT_RAISED, MOD_FAILED
from thinwire.flower.losses import samples_of
from thinwire.flower.names import counterparts, in_message, in_order, moved, record_of
from thinwire.flower.policy_replay import caught_up
from thinwire.flower.protocol import ALL_EXACT, ID_BYTES, NOTHING, STATELESS, UNTYPED, Package, Reply, model_hash
from thinwire.flower.records import Arrays
from thinwire.flower.round_timings import stated
from thinwire.flower.rounds import trains
from thinwire.flower.state import Answered, ClientState
from thinwire.flower.store import Damaged
from thinwire.flower.update import Update, View, apply_update, check_places, encode_update
from thinwire.policy import Signals, Turn
from thinwire.wire import INLINE_LIMITS, Limits, dumps, loads, loads_any
from thinwire.wire.frame import INLINE_SCHEMA
from thinwire.zoo import compressor

_log = logging.getLogger("thinwire")


@dataclass(frozen=True)
class Received:
    """A message as it was received."""

    package: Package
    arrays: dict[str, Array]
    tensors: dict[str, Tensor]
    """The model, in the memory of ``arrays``."""
    order: tuple[str, ...]
    state: ClientState
    package_bytes: int
    decode_s: float
    clipping_norm: float | None

    @property
    def exact(self) -> set[str]:
        """Names of the tensors that are the server's bit for bit."""
        every = bool(self.package.flags & ALL_EXACT)
        return {name for at, name in enumerate(self.tensors) if every or at in self.package.exact}


def compression_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Decode the server's model, call the app with ordinary arrays, and send back a compressed difference.

    Put it first: ``ClientApp(mods=[compression_mod, fixedclipping_mod])``, so that other mods see decoded arrays. A
    message from a server without thinwire passes through unchanged.
    """
    return answer(message, context, call_next)


def answer(message: Message, context: Context, call_next: ClientAppCallable, limits: Limits = INLINE_LIMITS) -> Message:
    """Do what ``compression_mod`` does, accepting models within ``limits``."""
    data = records.carried(message.content, records.DOWN) if message.has_content() else None
    if data is None:
        return call_next(message, context)
    kept = state.load(context)
    try:
        return _answered(data, message, context, call_next, kept, limits)
    finally:
        kept.leave()


def _answered(
    data: bytes,
    message: Message,
    context: Context,
    call_next: ClientAppCallable,
    kept: ClientState,
    limits: Limits,
) -> Message:
    try:
        received = _receive(data, message, context, kept, limits)
    except Exception as error:
        return _failure(error, message)
    # A fresh RecordDict: the incoming one may be shared with other messages.
    message.content = records.replace_arrays(message.content, records.to_records(received.arrays, received.order))
    started = time.perf_counter()
    try:
        reply = call_next(message, context)
    except Exception as error:
        _log.exception("the app of node %s raised", context.node_id)
        reason = f"{RAISED}{type(error).__name__}: {error}"
        return Message(Error(CLIENT_RAISED, reason), reply_to=message)
    if not isinstance(reply, Message) or reply.has_error() or not reply.content.array_records:
        return reply
    try:
        return _compressed(reply, message, context, received, time.perf_counter() - started)
    except Exception as error:
        return _failure(error, message)


def _failure(error: Exception, message: Message) -> Message:
    """Return the error that tells the server that thinwire runs here, and what it ran into."""
    if not isinstance(error, ValueError):
        _log.exception("thinwire failed")
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    reason = f"{kind}{error}"
    return Message(Error(MOD_FAILED, reason if reason.startswith(PREFIX) else PREFIX + reason), reply_to=message)


def _receive(data: bytes, message: Message, context: Context, kept: ClientState, limits: Limits) -> Received:
    """Follow a package and keep what it brought. Raises WireError."""
    started = time.perf_counter()
    package = Package.loads(data)
    latency_s = stated(context, "latency-s") or 0.0
    kept.meet(package.session, package.sequence, package.instructions.fates, latency_s)
    untyped = bool(package.flags & UNTYPED)
    try:
        arrays = {name: records.to_array(x, untyped) for name, x in _model(package, kept, limits)}
    except Damaged as error:
        raise WireError(f"{MISSING}: {error}") from None
    tensors = {name: records.view(array) for name, array in arrays.items()}
    check_places(len(tensors), package.verbatim, package.alone, package.exact)
    if package.frame and model_hash(tensors) != package.target:
        raise WireError(f"{MISSING}: what this client holds leads to another model than the server's")
    others = beside.unpack(records.carried_beside(message.content), limits.decoded_bytes)
    if others.keys() != {name for _, name in package.others}:
        raise WireError("other arrays travel beside the package than it says")
    record = records.record_with(message.content, records.DOWN)
    arrays = {in_message(name, record): array for name, array in arrays.items()}
    order = in_order(list(arrays), package.others)
    kept.hold(package.target[:ID_BYTES], tensors, package.keep, package.sequence, bool(package.frame))
    kept.save()
    norm = records.clipping_norm(message.content) if trains(message) else None
    took_s = time.perf_counter() - started
    return Received(package, arrays | others, tensors, order, kept, len(data), took_s, norm)


def _model(package: Package, kept: ClientState, limits: Limits) -> Any:
    """Yield (name, tensor) of the model that a package leads to. Raises WireError."""
    if not package.frame:
        held = kept.reference(package.target[:ID_BYTES])
        if held is None:
            raise WireError(f"{MISSING}: this client does not hold {package.target.hex()[:32]}")
        return held.items()
    inline = len(package.frame) > 5 and package.frame[5] & INLINE_SCHEMA
    if package.base == NOTHING:
        frame = loads_any(package.frame, limits)
        view = View.from_nothing({name: encoded.spec for name, encoded in frame.items()})
        return apply_update(frame, package.verbatim, package.alone, view)
    base = kept.reference(package.base)
    if base is None:
        raise WireError(f"{MISSING}: this client does not hold {package.base.hex()} (new, or its state was lost)")
    view = View(base)
    frame = loads_any(package.frame, limits) if inline else loads(package.frame, state.specs_of(base), limits)
    return apply_update(frame, package.verbatim, package.alone, view)


def _compressed(reply: Message, message: Message, context: Context, received: Received, compute_s: float) -> Message:
    """Return the reply with its arrays as one compressed update."""
    started = time.perf_counter()
    arrays = records.read(reply.content)
    if not arrays.order:
        return reply
    package, kept = received.package, received.state
    names = counterparts(arrays.order, received.tensors)
    exchange = f"{message.metadata.message_type}/{package.lineage}"
    update, scale = _update(arrays, names, reply, context, received, exchange)
    record = _moved_to(arrays, received)
    frame = dumps(update.message, schema=record is None)
    encode_s = time.perf_counter() - started
    places = {name: at for at, name in enumerate(arrays.order)}
    body = Reply(
        package.session,
        package.sequence,
        frame,
        _float32(update.report.nmse),
        encode_s,
        received.decode_s,
        scale,
        update.verbatim,
        update.alone,
        tuple((places[name], name) for name in arrays.others),
        record or "",
        UNTYPED * arrays.untyped | STATELESS * kept.stateless,
    ).dumps()
    round_ = package.instructions.round
    turn = Turn(len(body), 0.0, received.package_bytes, 0.0, compute_s, received.decode_s + encode_s)
    if not kept.stateless:
        clipped = received.clipping_norm is not None
        after = kept.kept(exchange)[0] | update.state if clipped else update.state
        kept.replied(exchange, after, Answered(package.sequence, exchange, round_, turn), round_)
        kept.save()
    reply.content = records.with_data(reply.content, body, records.UP, beside.pack(arrays.others))
    return reply


def _update(
    arrays: Arrays,
    names: dict[str, str],
    reply: Message,
    context: Context,
    received: Received,
    exchange: str,
) -> tuple[Update, float]:
    """Return what goes up, and the factor that keeps it within the clipping norm."""
    told, (before, shown_round) = received.package.instructions, received.state.kept(exchange)
    view = View(
        {name: received.tensors[base] for name, base in names.items()},
        {name for name, base in names.items() if base in received.exact},
    )
    messages = told.messages if told.messages > 0 else None
    uplink, signals = compressor(told.uplink, "up", messages), _signals(reply, context, received)
    if received.clipping_norm is not None or received.state.stateless:
        uplink = replace(uplink, feedback=NoFeedback())
        before = {key: x for key, x in before.items() if key.startswith(("policy/", "history/"))}
    before = caught_up(uplink.policy, before, signals, told.losses, shown_round)
    clipped = received.clipping_norm is not None
    seed = _seed(context)
    update = encode_update(arrays.tensors, view, uplink, before, signals, seed, told.exact, clipped, consume=True)
    if received.clipping_norm is None:
        return update, 1.0
    others = sum(records.energy_of_change(array, received.arrays.get(name)) for name, array in arrays.others.items())
    warn_unless_clipped(arrays, view, received.clipping_norm, others, context)
    return update, scale_within(update, view, received.clipping_norm, others)


def _float32(value: float) -> float:
    return min(value, 3e38) if math.isfinite(value) else 0.0


def _moved_to(arrays: Arrays, received: Received) -> str | None:
    """Return the record to which the reply's arrays moved ("" for none), if they are else the message's; else None."""
    first = record_of(next(iter(arrays.order)))
    for record in ("", first):
        expected = {moved(name, record): spec for name, spec in specs(received.tensors).items()}
        if list(expected.items()) == list(specs(arrays.tensors).items()):
            return record
    return None


def _signals(reply: Message, context: Context, received: Received) -> Signals:
    told = received.package.instructions
    return Signals(
        told.round,
        told.rounds or None,
        samples_of(reply),
        volume_quantile=told.volume_quantile if told.volume_quantile > 0 else None,
        bandwidth_bps=stated(context, "bandwidth-bps"),
        loss=told.losses[-1] if told.losses else None,
        importance=told.importance if told.importance > 0 else None,
        latency_s=stated(context, "latency-s"),
        turns=received.state.turns,
    )


def _seed(context: Context) -> int:
    """Return a seed that differs between clients and is the same in every engine: the partition, else the node."""
    own = context.node_config.get("partition-id", context.node_id)
    return own % 2**32 if isinstance(own, int) else derive_seed(0, str(own))


class _CompressedClientApp(ClientApp):
    """A ClientApp that puts the mod in front of another. What is registered with it is registered with the other."""

    def __init__(self, inner: ClientApp, limits: Limits) -> None:
        super().__init__()
        self._inner, self._limits = inner, limits

    def __call__(self, message: Message, context: Context) -> Message:
        return answer(message, context, self._inner, self._limits)

    def train(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Register a function with the app inside."""
        return self._inner.train(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Register a function with the app inside."""
        return self._inner.evaluate(*args, **kwargs)

    def query(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Register a function with the app inside."""
        return self._inner.query(*args, **kwargs)

    def lifespan(self) -> Callable[..., Any]:
        """Register the lifespan function with the app inside."""
        return self._inner.lifespan()


def compress_client(app: ClientApp, limits: Limits = INLINE_LIMITS) -> ClientApp:
    """Return a ClientApp that compresses what ``app`` sends, as the server asks, and decodes what it receives.

    ``limits`` bound what a server may make this client allocate. With a plain server nothing changes. Works before or
    after ``@app.train()``, and for apps of Flower's older API (``client_fn``, ``NumPyClient``).

    Raises:
        TypeError: ``app`` is no ClientApp.
        ValueError: an app that is wrapped already.
    """
    if isinstance(app, _CompressedClientApp):
        raise ValueError("this ClientApp is compressed already: call compress_client once")
    given: object = app
    if not isinstance(given, ClientApp):
        hint = "; a ServerApp goes to compress_server" if isinstance(given, ServerApp) else ""
        raise TypeError(f"compress_client takes a ClientApp, got {type(app).__name__}{hint}")
    return _CompressedClientApp(app, limits)
