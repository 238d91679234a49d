"""Every name of flwr outside its documented API that thinwire relies on, in one file, wherever a release keeps it.

`Message(...)` needs an identity of the process; a message becomes objects (`deflate`) and comes back from them
(`inflate`) exactly as between SuperLink and SuperNode; a context travels as one protobuf, as between a SuperNode and
its ClientApp process; the private fields of `Message.metadata`, which the engines set on the message that they push;
the key under which differential privacy tells clients its norm; and that strategies sample nodes with `random`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flwr.app import Context, Message

from .console import quiet_flwr, show_log
from .versions import find

if TYPE_CHECKING:
    from flwr.supercore.run import Run
else:
    Run = find("Run", "flwr.supercore.run", "flwr.common.typing")

__all__ = [
    "CLIENT_RAISED",
    "CLIPPING_NORM_KEY",
    "MOD_FAILED",
    "Deflated",
    "Run",
    "context_from_bytes",
    "context_to_bytes",
    "deflate",
    "empty_run",
    "fixed_sampling",
    "identify_messages",
    "identify_process",
    "inflate",
    "quiet_flwr",
    "set_message_id",
    "set_reply_to",
    "show_log",
]

# Newest place first. The second one, where there is one, is that of the releases before.
_INFLATABLE = "flwr.supercore.inflatable.inflatable_object", "flwr.common.inflatable"
_INFLATABLE_UTILS = "flwr.supercore.inflatable.inflatable_utils", "flwr.common.inflatable_utils"
_SERDE = ("flwr.common.serde",)
_PRIVACY = "flwr.supercore.differential_privacy", "flwr.common.differential_privacy_constants"

_nested_objects = find("get_all_nested_objects", *_INFLATABLE)
_no_recompute = find("no_object_id_recompute", *_INFLATABLE)
_inflate_object = find("inflate_object_from_contents", *_INFLATABLE_UTILS)
_context_to_proto, _context_from_proto = find("context_to_proto", *_SERDE), find("context_from_proto", *_SERDE)
_ContextProto = find("Context", "flwr.proto.message_pb2")
_TaskIdentity = find("TaskIdentity", "flwr.supercore.task_identity", optional=True)  # since 1.38
_ErrorCode = find("ErrorCode", "flwr.common.constant")

CLIENT_RAISED: int = _ErrorCode.CLIENT_APP_RAISED_EXCEPTION
MOD_FAILED: int = _ErrorCode.MOD_FAILED_PRECONDITION
CLIPPING_NORM_KEY: str = find("KEY_CLIPPING_NORM", *_PRIVACY)
"""Key of a message's ConfigRecord under which a strategy for client-side differential privacy states its norm."""


@dataclass(frozen=True)
class Deflated:
    """One message as flwr transmits it: content-addressed objects, each a request of its own.

    Attributes:
        message_id: the address (SHA-256, hex) of the outermost object, which is the message's id on the wire.
        contents: address -> bytes of every object of the message; equal objects appear once.
    """

    message_id: str
    contents: Mapping[str, bytes]

    @property
    def total_bytes(self) -> int:
        """Sum of the lengths of all objects."""
        return sum(map(len, self.contents.values()))


def deflate(messages: Sequence[Message]) -> list[Deflated]:
    """Serialize messages into objects, each distinct object once, and set their message ids as flwr's Grid does."""
    pool: dict[str, bytes] = {}
    with _no_recompute():
        return [_deflate(message, pool) for message in messages]


def _deflate(message: Message, pool: dict[str, bytes]) -> Deflated:
    set_message_id(message, message.object_id)
    objects = _nested_objects(message)
    # Strategies share one content among all messages of a round: the pool spares its second serialization.
    pool.update({key: value.deflate() for key, value in objects.items() if key not in pool})
    return Deflated(message.object_id, {key: pool[key] for key in objects})


def inflate(deflated: Deflated) -> Message:
    """Rebuild a message from its bytes: a fresh object that shares no mutable data with the one that was sent."""
    inflated = _inflate_object(
        deflated.message_id, cast("dict[str, bytes]", deflated.contents), keep_object_contents=True
    )
    message = cast(Message, inflated)
    set_message_id(message, deflated.message_id)
    return message


def set_message_id(message: Message, message_id: str) -> None:
    """Write the id that `message.metadata.message_id` shows; flwr offers no setter."""
    message.metadata.__dict__["_message_id"] = message_id


def set_reply_to(message: Message, message_id: str) -> None:
    """Write the id that `message.metadata.reply_to_message_id` shows; flwr offers no setter."""
    message.metadata.__dict__["_reply_to_message_id"] = message_id


def context_to_bytes(context: Context) -> bytes:
    """Serialize a whole context, state included, into the protobuf that a SuperNode keeps."""
    return cast(bytes, _context_to_proto(context).SerializeToString())


def context_from_bytes(data: bytes) -> Context:
    """Read a context back from `context_to_bytes`."""
    return cast(Context, _context_from_proto(_ContextProto.FromString(data)))


def identify_process(run_id: int, node_id: int) -> None:
    """Give this process the identity that `Message(...)` asks for, unless an engine gave it one already.

    Before flwr 1.38 processes have none, and messages are given theirs as they are sent: see `identify_messages`.
    """
    if _TaskIdentity is None:
        return
    try:
        _ = _TaskIdentity.run_id, _TaskIdentity.task_id, _TaskIdentity.node_id
    except RuntimeError:
        _TaskIdentity.run_id, _TaskIdentity.task_id, _TaskIdentity.node_id = run_id, 1, node_id


def identify_messages(messages: Sequence[Message], run_id: int, node_id: int) -> None:
    """Write run and sender into messages about to be sent, where `Message(...)` does not: before flwr 1.38."""
    for message in messages if _TaskIdentity is None else ():
        message.metadata.__dict__.update(_run_id=run_id, _src_node_id=node_id)


def empty_run(run_id: int) -> Run:
    """Return the description of a run of which nothing but its id is known."""
    return Run.create_empty(run_id)


@contextmanager
def fixed_sampling(seed: int) -> Iterator[None]:
    """Make the node sampling of flwr's strategies repeatable inside the block; the caller's `random` is untouched."""
    before = random.getstate()
    random.seed(seed)  # flwr samples with the module's own generator and takes no other
    try:
        yield
    finally:
        random.setstate(before)
