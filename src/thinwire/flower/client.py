"""The client's side: a Flower mod, outermost, that decodes what comes in and compresses what goes out."""

from __future__ import annotations

import time
from dataclasses import replace

from flwr.app import Context, Error, Message, MetricRecord
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from torch import Tensor

from thinwire.codec import State, derive_seed
from thinwire.delta import subtract
from thinwire.errors import NonFiniteError, WireError
from thinwire.flower import carrier, state
from thinwire.flower.engine import MOD_FAILED
from thinwire.flower.package import Package, Reply
from thinwire.flower.shelf import follow
from thinwire.policy import Signals
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
        before = state.load(context).settled(package.instructions.accepted)
        now = replace(before, shelf=follow(package, before.shelf, limits))
        decode_s = time.perf_counter() - started
    except WireError as error:
        return Message(Error(MOD_FAILED, f"thinwire: {error}"), reply_to=message)
    state.save(context, now)
    assert now.shelf.current is not None
    reference = now.shelf.current.tensors
    # A fresh RecordDict: the incoming one may be shared with other messages.
    message.content = carrier.replace_arrays(message.content, carrier.to_records(reference))
    reply = call_next(message, context)
    if reply.has_error() or not reply.content.array_records:
        return reply
    return _compressed(message, reply, context, package, now, decode_s)


def _compressed(
    message: Message, reply: Message, context: Context, package: Package, now: state.ClientState, decode_s: float
) -> Message:
    assert now.shelf.current is not None
    started = time.perf_counter()
    try:
        update = _difference(reply, now.shelf.current.tensors)
        frame, pending, nmse = _encode(update, reply, package, now.committed, context)
    except (WireError, NonFiniteError, ValueError) as error:
        return Message(Error(MOD_FAILED, f"thinwire: {error}"), reply_to=message)
    round_ = package.instructions.round
    state.save(context, replace(now, pending=pending, pending_round=round_))
    body = Reply(frame, round_, nmse, time.perf_counter() - started, decode_s).dumps()
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
    update: dict[str, Tensor], reply: Message, package: Package, residual: State, context: Context
) -> tuple[bytes, State, float]:
    told = package.instructions
    quantile = told.volume_quantile if told.volume_quantile >= 0 else None
    signals = Signals(told.round, told.rounds or None, _samples(reply), quantile)
    seed = _seed(context)
    message, pending, report = compressor(told.uplink).compress(update, residual, signals, seed)
    return dumps(message), pending, report.nmse


def _samples(reply: Message) -> int | None:
    for record in reply.content.metric_records.values():
        if isinstance(record, MetricRecord) and isinstance(count := record.get("num-examples"), int):
            return count
    return None


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
