"""Every name of flwr outside its documented API that thinwire relies on, in one file (checked on 1.41 and 1.42).

`Message(...)` needs an identity of the process; a message becomes objects (`deflate`) and comes back from them
(`inflate`) exactly as between SuperLink and SuperNode; a context travels as one protobuf, as between a SuperNode and
its ClientApp process; `metadata._message_id`, which the engines set on the message that they push; the name of
flwr's logger; and that its strategies sample nodes with the `random` module.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from flwr.app import Context, Message
from flwr.common.constant import ErrorCode
from flwr.common.serde import context_from_proto, context_to_proto
from flwr.proto.message_pb2 import Context as ContextProto
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

CLIENT_RAISED = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
MOD_FAILED = ErrorCode.MOD_FAILED_PRECONDITION


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
    with no_object_id_recompute():
        return [_deflate(message, pool) for message in messages]


def _deflate(message: Message, pool: dict[str, bytes]) -> Deflated:
    set_message_id(message, message.object_id)
    objects = get_all_nested_objects(message)
    # Strategies share one content among all messages of a round: the pool spares its second serialization.
    pool.update({key: value.deflate() for key, value in objects.items() if key not in pool})
    return Deflated(message.object_id, {key: pool[key] for key in objects})


def inflate(deflated: Deflated) -> Message:
    """Rebuild a message from its bytes: a fresh object that shares no mutable data with the one that was sent."""
    inflated = inflate_object_from_contents(
        deflated.message_id, cast("dict[str, bytes]", deflated.contents), keep_object_contents=True
    )
    message = cast(Message, inflated)
    set_message_id(message, deflated.message_id)
    return message


def set_message_id(message: Message, message_id: str) -> None:
    """Write the id that `message.metadata.message_id` shows; flwr offers no setter."""
    message.metadata.__dict__["_message_id"] = message_id


def context_to_bytes(context: Context) -> bytes:
    """Serialize a whole context, state included, into the protobuf that a SuperNode keeps."""
    return cast(bytes, context_to_proto(context).SerializeToString())


def context_from_bytes(data: bytes) -> Context:
    """Read a context back from `context_to_bytes`."""
    return context_from_proto(ContextProto.FromString(data))


def identify_process(run_id: int, node_id: int) -> None:
    """Give this process the identity that `Message(...)` asks for, unless an engine gave it one already."""
    try:
        _ = TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id
    except RuntimeError:
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = run_id, 1, node_id


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


@contextmanager
def quiet_flwr(level: int = logging.WARNING) -> Iterator[None]:
    """Silence flwr's log lines below `level` inside the block, and put its level back afterwards."""
    flwr_logger = logging.getLogger("flwr")
    before = flwr_logger.level
    flwr_logger.setLevel(level)
    try:
        yield
    finally:
        flwr_logger.setLevel(before)
