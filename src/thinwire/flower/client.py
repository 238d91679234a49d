"""The client's side: a Flower mod, outermost, that decodes what comes in and compresses what goes out."""

from __future__ import annotations

import time
from dataclasses import replace

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from torch import Tensor

from thinwire.codec import State, derive_seed
from thinwire.delta import subtract
from thinwire.errors import NonFiniteError, WireError
from thinwire.flower import carrier, state
from thinwire.flower.engine import MOD_FAILED
from thinwire.flower.instructions import Instructions
from thinwire.flower.losses import samples_of
from thinwire.flower.missed import caught_up
from thinwire.flower.package import Package, Reply
from thinwire.flower.shelf import follow
from thinwire.flower.turns import stated
from thinwire.policy import Signals, Turn
from thinwire.wire import INLINE_LIMITS, Limits, dumps
from thinwire.zoo import compressor


def compression_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Decode the server's model, call the app with ordinary arrays, and send back a compressed difference.

    Put it first: ``ClientApp(mods=[compression_mod, fixedclipping_mod])``, so that other mods see decoded arrays. A
    message from a server without thinwire passes through unchanged.
    """
    return answer(message, context, call_next)


def answer(message: Message, context: Context, call_next: ClientAppCallable, limits: Limits = INLINE_LIMITS) -> Message:
    """Do what ``compression_mod`` does, accepting models within ``limits``."""
    sent = carrier.carried_anywhere(message.content, carrier.DOWN)
    if sent is None:
        return call_next(message, context)
    try:
        started = time.perf_counter()
        package = Package.loads(sent[1])
        told = package.instructions
        latency_s = stated(context, "latency-s") or 0.0
        before = state.load(context).settled(told, latency_s)
        now = replace(before, shelf=follow(package, before.shelf, limits))
        decode_s = time.perf_counter() - started
    except WireError as error:
        return Message(Error(MOD_FAILED, f"thinwire: {error}"), reply_to=message)
    state.save(context, now)
    assert now.shelf.current is not None
    reference = now.shelf.current.tensors
    # A fresh RecordDict: the incoming one may be shared with other messages.
    message.content = carrier.replace_arrays(message.content, carrier.to_records(reference))
    started = time.perf_counter()
    reply = call_next(message, context)
    if reply.has_error() or not reply.content.array_records:
        return reply
    turn = Turn(0, 0.0, len(sent[1]), compute_s=time.perf_counter() - started, codec_s=decode_s)
    return _compressed(message, reply, context, told, now, turn)


def _compressed(
    message: Message, reply: Message, context: Context, told: Instructions, now: state.ClientState, turn: Turn
) -> Message:
    assert now.shelf.current is not None
    started = time.perf_counter()
    try:
        update = _difference(reply, now.shelf.current.tensors)
        frame, pending, nmse = _encode(update, reply, told, now, context)
    except (WireError, NonFiniteError, ValueError) as error:
        return Message(Error(MOD_FAILED, f"thinwire: {error}"), reply_to=message)
    encode_s = time.perf_counter() - started
    body = Reply(frame, told.round, nmse, encode_s, turn.codec_s).dumps()
    turn = replace(turn, sent_bytes=len(body), codec_s=turn.codec_s + encode_s)
    state.save(context, replace(now, pending=pending, pending_round=told.round, pending_turn=turn))
    name = next(iter(reply.content.array_records))
    reply.content = carrier.replace_arrays(reply.content, {name: carrier.carry(body, carrier.UP)})
    return reply


def _difference(reply: Message, reference: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the update. Raises ValueError where the app answers with other arrays than it was given."""
    trained = carrier.to_tensors(reply.content)
    given = {name: tuple(x.shape) for name, x in trained.items()}
    expected = {name: tuple(x.shape) for name, x in reference.items()}
    if given != expected:
        odd = [carrier.short(n) for n in sorted({*given, *expected}) if given.get(n) != expected.get(n)]
        raise ValueError(
            f"the app returned other arrays than it received (names or shapes differ at {', '.join(odd[:5])}); return "
            "the same ones, under the same record name, or leave this app out of compress_client"
        )
    return subtract(trained, reference)


def _encode(
    update: dict[str, Tensor], reply: Message, told: Instructions, now: state.ClientState, context: Context
) -> tuple[bytes, State, float]:
    uplink, signals = compressor(told.uplink), _signals(told, reply, now, context)
    before = caught_up(uplink.policy, now.committed, told)
    message, pending, report = uplink.compress(update, before, signals, _seed(context))
    return dumps(message), pending, report.nmse


def _signals(told: Instructions, reply: Message, now: state.ClientState, context: Context) -> Signals:
    return Signals(
        told.round,
        told.rounds or None,
        samples_of(reply),
        volume_quantile=told.volume_quantile if told.volume_quantile > 0 else None,
        bandwidth_bps=stated(context, "bandwidth-bps"),
        loss=told.losses[-1] if told.losses else None,
        importance=told.importance if told.importance > 0 else None,
        latency_s=stated(context, "latency-s"),
        turns=now.turns,
    )


def _seed(context: Context) -> int:
    """Return a seed that differs between clients and is the same in every engine: the partition, else the node."""
    own = context.node_config.get("partition-id", context.node_id)
    return own % 2**32 if isinstance(own, int) else derive_seed(0, str(own))


class _CompressedClientApp(ClientApp):
    """A ClientApp that puts the mod in front of another."""

    def __init__(self, inner: ClientApp, limits: Limits) -> None:
        super().__init__()
        self._inner, self._limits = inner, limits

    def __call__(self, message: Message, context: Context) -> Message:
        return answer(message, context, self._inner, self._limits)


def compress_client(app: ClientApp, limits: Limits = INLINE_LIMITS) -> ClientApp:
    """Return a ClientApp that compresses what ``app`` sends, as the server asks, and decodes what it receives.

    ``limits`` bound what a server may make this client allocate. With a plain server nothing changes.
    """
    return _CompressedClientApp(app, limits)
