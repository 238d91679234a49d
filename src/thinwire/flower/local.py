"""The embedded engine: a real flwr `Grid` that runs a ClientApp in this process, through flwr's own serialization.

Every message and reply is deflated to objects and inflated from their bytes, and every client state travels as the
protobuf of a deployment, so the bytes are true and nothing is shared by accident. One thread, no ports, no Ray.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from . import engine
from .engine import Run, fixed_sampling, quiet_flwr

__all__ = ["LocalGrid", "Traffic", "fixed_sampling", "quiet_flwr", "run_local"]

logger = logging.getLogger(__name__)

RUN_ID = 1
SERVER_NODE_ID = 0

Value = str | int | float
NodeConfigs = int | Sequence[Mapping[str, Value]]


@dataclass(frozen=True)
class Traffic:
    """One message that left the server ("down") or a client ("up"), also when it was lost on the way.

    Attributes:
        message_type: flwr's type, such as "train" or "evaluate".
        direction: "down" from server to client, "up" from client to server.
        node_id: the client's node.
        round: `server-round` of the message's ConfigRecord where there is one, else the count of non-empty sends.
        engine_bytes: sum of the lengths of all objects that flwr serializes the message to.
        objects: how many objects these are; in a deployment each is a request of its own.
    """

    message_type: str
    direction: Literal["up", "down"]
    node_id: int
    round: int
    engine_bytes: int
    objects: int


class LocalGrid(Grid):
    """Runs `client_app` in process for N nodes, whose ids are 1..N; replies come back in the order sent.

    A node's state survives from message to message. A client that raises gets its state changes discarded, as in
    flwr's simulation, and answers with an Error that holds the reason.

    Args:
        client_app: the app that every node runs.
        node_configs: one mapping per node, or a count n: n nodes with `partition-id` i and `num-partitions` n.
        run_config: what clients find in `context.run_config`.
        drop: asked for every message (as it is sent) and every reply (once the client has run; its
            `metadata.reply_to_message_id` is not empty); True loses it: no reply is returned, as after a time-out.

    Raises:
        ValueError: no nodes, or a message to a node that does not exist.
        TypeError: a config value or a client's state that flwr cannot serialize.
    """

    def __init__(
        self,
        client_app: ClientApp,
        node_configs: NodeConfigs,
        run_config: Mapping[str, Value] | None = None,
        drop: Callable[[Message], bool] | None = None,
    ) -> None:
        engine.identify_process(RUN_ID, SERVER_NODE_ID)
        self.traffic: list[Traffic] = []
        self._app = client_app
        self._drop = drop
        self._run = engine.empty_run(RUN_ID)
        self._sends = 0
        self._replies: dict[str, Message] = {}
        self._elapsed: dict[str, float] = {}
        self._contexts: dict[int, bytes] = {}
        for node_id, config in enumerate(_configs(node_configs), start=1):
            context = Context(RUN_ID, node_id, dict(config), RecordDict(), dict(run_config or {}))
            self._contexts[node_id] = _to_bytes(context)

    def set_run(self, run: Run) -> None:
        """Set the run that `run` describes; messages do not depend on it."""
        if not isinstance(run, Run):
            raise TypeError(f"expected a flwr Run, got {type(run).__name__}")
        self._run = run

    @property
    def run(self) -> Run:
        """A copy of the run's description."""
        return Run(**vars(self._run))

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message; `flwr.app.Message(...)` does the same and is what flwr recommends."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Return the node ids, 1..N in order."""
        return list(self._contexts)

    def context(self, node_id: int) -> Context:
        """Return a copy of a node's context: its configs and what its state holds now."""
        return engine.context_from_bytes(self._contexts[self._known(node_id)])

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Run the clients of all messages, in order, and keep their replies; returns the ids to pull them by."""
        sent = list(messages)
        for message in sent:
            self._known(message.metadata.dst_node_id)
        self._sends += bool(sent)
        self._elapsed = {message_id: self._elapsed[message_id] for message_id in self._replies}
        engine.identify_messages(sent, RUN_ID, SERVER_NODE_ID)
        deflated = engine.deflate(sent)
        for message, data in zip(sent, deflated, strict=True):
            self._deliver(message, data)
        return [data.message_id for data in deflated]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Hand out the replies to these messages, in the order of the ids; one that was lost is left out."""
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Run the clients and return their replies in the order sent; nothing here waits, so `timeout` is not used."""
        return self.pull_messages(self.push_messages(messages))

    def elapsed_s(self, message_id: str) -> float:
        """Return how long a message took, from its delivery to its reply, lost or not; not what others' took before it.

        -1: it never arrived, or another push came after the reply was pulled.
        """
        return self._elapsed.get(message_id, -1.0)

    def _deliver(self, message: Message, data: engine.Deflated) -> None:
        started = time.perf_counter()
        node_id, round_ = message.metadata.dst_node_id, self._round(message)
        self._count(message, data, "down", node_id, round_)
        if self._lost(message):
            return
        reply = self._answer(node_id, engine.inflate(data))
        (answer,) = engine.deflate([reply])
        self._count(reply, answer, "up", node_id, round_)
        if not self._lost(reply):
            self._replies[data.message_id] = engine.inflate(answer)
        self._elapsed[data.message_id] = time.perf_counter() - started

    def _answer(self, node_id: int, message: Message) -> Message:
        context = self.context(node_id)
        try:
            reply = self._app(message, context)
            if not isinstance(reply, Message):
                raise TypeError(f"the ClientApp returned {type(reply).__name__}, expected a flwr Message")
        except Exception as error:
            logger.warning("node %d: the ClientApp raised", node_id, exc_info=error)
            return Message(Error(engine.CLIENT_RAISED, f"{type(error)}:<'{error}'>"), reply_to=message)
        self._contexts[node_id] = _to_bytes(context)
        return reply

    def _round(self, message: Message) -> int:
        records = message.content.config_records.values() if message.has_content() else ()
        rounds = [record["server-round"] for record in records if "server-round" in record]
        return next((value for value in rounds if isinstance(value, int)), self._sends)

    def _count(
        self, message: Message, data: engine.Deflated, direction: Literal["up", "down"], node_id: int, round_: int
    ) -> None:
        kind, objects = message.metadata.message_type, len(data.contents)
        self.traffic.append(Traffic(kind, direction, node_id, round_, data.total_bytes, objects))

    def _lost(self, message: Message) -> bool:
        return self._drop is not None and self._drop(message)

    def _known(self, node_id: int) -> int:
        if node_id not in self._contexts:
            raise ValueError(f"there is no node {node_id}: this LocalGrid has nodes 1 to {len(self._contexts)}")
        return node_id


def run_local(
    server_app: ServerApp,
    client_app: ClientApp,
    nodes: NodeConfigs,
    run_config: Mapping[str, Value] | None = None,
    *,
    drop: Callable[[Message], bool] | None = None,
    seed: int = 0,
) -> LocalGrid:
    """Run a whole Flower app in this process; returns the grid, with its traffic and the clients' states.

    `seed` fixes which nodes the strategy samples, and in which order, so that equal runs are equal bit for bit.
    """
    grid = LocalGrid(client_app, nodes, run_config, drop)
    context = Context(RUN_ID, SERVER_NODE_ID, {}, RecordDict(), dict(run_config or {}))
    with fixed_sampling(seed):
        server_app(grid=grid, context=context)
    return grid


def _configs(node_configs: NodeConfigs) -> Sequence[Mapping[str, Value]]:
    if isinstance(node_configs, int):
        count = node_configs
        node_configs = [{"partition-id": i, "num-partitions": count} for i in range(count)]
    if not node_configs:
        raise ValueError("a LocalGrid needs at least one node: give a count above 0, or one config per node")
    return node_configs


def _to_bytes(context: Context) -> bytes:
    try:
        return engine.context_to_bytes(context)
    except Exception as error:
        raise TypeError(
            f"flwr cannot serialize the context of node {context.node_id} ({type(error).__name__}: {error}); in a "
            "deployment its state would be lost: keep only ArrayRecord, MetricRecord and ConfigRecord in "
            "context.state, and text, numbers and booleans in configs"
        ) from error
