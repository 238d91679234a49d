"""Updates on their way in: opened, checked, and added to the server's own model; a bad one is its client's failure."""

from __future__ import annotations

import logging
import time

from flwr.app import Error, Message

from thinwire.codec import Encoded, specs
from thinwire.delta import add, check_finite
from thinwire.errors import WireError
from thinwire.flower import carrier
from thinwire.flower.engine import MOD_FAILED, set_message_id
from thinwire.flower.ledger import Transfer
from thinwire.flower.losses import loss_of, samples_of
from thinwire.flower.nodes import TRAINS, Nodes, Sent, dense_bytes
from thinwire.flower.package import Reply
from thinwire.flower.shelf import MISSING
from thinwire.wire import decode_message, loads

_log = logging.getLogger("thinwire")
_STRIKES = 2
"""Unexplained failures in a row after which a node that never proved otherwise is taken to run without thinwire."""


class Uplink:
    """Opens replies and learns from them what each node holds."""

    def __init__(self, nodes: Nodes, ledger: list[Transfer]) -> None:
        self._nodes, self._ledger = nodes, ledger

    def open(self, reply: Message, sent: Sent, elapsed_s: float = -1.0) -> Message:
        """Return the reply as the strategy expects it; a bad one as that client's error.

        ``elapsed_s``: since its message was sent, if known.
        """
        if reply.has_error():
            self._learn_from_error(reply.error.reason or "", sent)
            return reply
        try:
            opened = self._opened(reply, sent, elapsed_s)
        except WireError as error:
            self._nodes[sent.node_id].miss(sent.round, elapsed_s)
            return self._refused(str(error), reply, sent)
        self._learn_from_reply(reply, sent)
        return opened

    def _learn_from_reply(self, reply: Message, sent: Sent) -> None:
        node = self._nodes[sent.node_id]
        node.held, node.samples, node.strikes = sent.after, samples_of(reply) or node.samples, 0
        node.proven |= sent.packed
        if sent.message.metadata.message_type == TRAINS and (loss := loss_of(reply)) is not None:
            self._nodes.reports.append((node.samples, loss))

    def _opened(self, reply: Message, sent: Sent, elapsed_s: float) -> Message:
        found = carrier.carried_anywhere(reply.content, carrier.UP)
        if found is None:
            self._check_dense(reply, sent)
            return reply
        if not sent.packed:
            raise WireError("a compressed update in answer to a message that carried no model")
        started, answer = time.perf_counter(), Reply.loads(found[1])
        if answer.round != sent.round:
            raise WireError(f"an update of round {answer.round} in answer to round {sent.round}")
        message = loads(answer.frame, specs(sent.tensors))
        trained = add(sent.tensors, decode_message(message))
        check_finite(trained)
        self._nodes[sent.node_id].accept(answer.round, elapsed_s)
        self._record(answer, len(found[1]), message, sent, time.perf_counter() - started)
        reply.content = carrier.replace_arrays(reply.content, carrier.to_records(trained))
        return reply

    def _check_dense(self, reply: Message, sent: Sent) -> None:
        """Ordinary arrays must match the model that was sent, or they would abort or poison the whole round."""
        if not reply.content.array_records or not sent.tensors:
            return
        given = carrier.to_tensors(reply.content)
        for name, x in sent.tensors.items():
            if name not in given or given[name].shape != x.shape:
                raise WireError(f"array {carrier.short(name)!r} is missing or of another shape than the model's")
        check_finite(given)
        size = dense_bytes(given)
        self._ledger.append(Transfer(sent.round, sent.node_id, "up", "dense", size, size))

    def _learn_from_error(self, reason: str, sent: Sent) -> None:
        node, node_id = self._nodes[sent.node_id], sent.node_id
        self._record_refusal(reason, sent)
        node.strikes += sent.packed and not node.proven and "thinwire:" not in reason
        if not node.plain and (carrier.DOWN in reason or node.strikes == _STRIKES):
            node.plain = True
            _log.warning(
                "node %d runs without thinwire and failed on a compressed model (%s). From now on it is sent dense "
                "arrays; to compress its link too, add `app = compress_client(app)` to its ClientApp.",
                node_id,
                reason,
            )
        elif MISSING in reason:
            node.forget()
            _log.warning("node %d lost its reference and is sent the whole model next time", node_id)
        else:
            _log.warning("node %d failed in round %d: %s", node_id, sent.round, reason)

    def _refused(self, reason: str, reply: Message, sent: Sent) -> Message:
        _log.warning("the reply of node %d in round %d is refused: %s", sent.node_id, sent.round, reason)
        self._record_refusal(reason, sent)
        error = Message(Error(MOD_FAILED, f"thinwire: {reason}"), reply_to=sent.message)
        set_message_id(error, reply.metadata.message_id)
        return error

    def _record_refusal(self, reason: str, sent: Sent) -> None:
        dense = dense_bytes(sent.tensors)
        self._ledger.append(Transfer(sent.round, sent.node_id, "up", "refused", 0, dense, reason=reason))

    def _record(self, answer: Reply, size: int, message: dict[str, Encoded], sent: Sent, decode_s: float) -> None:
        sizes = {carrier.short(name): encoded.payload_bytes for name, encoded in message.items()}
        times = {"encode_s": answer.encode_s, "decode_s": decode_s + answer.decode_s}
        head = (sent.round, sent.node_id, "up", "update", size, dense_bytes(sent.tensors), answer.nmse)
        self._ledger.append(Transfer(*head, **times, tensors=sizes))  # type: ignore[arg-type]
