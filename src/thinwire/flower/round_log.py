"""What a user sees of a run: a line a round, a summary, and a word about all that was not compressed or failed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from flwr.app import Message

from thinwire.flower.ledger import Transfer
from thinwire.flower.nodes import Nodes, Sent
from thinwire.flower.rounds import trains

_log = logging.getLogger("thinwire")
_AS_THEY_ARE = ("dense", "opaque", "refused")


class RoundLog:
    """Follows a ledger: one line at INFO for each round, with what every direction cost."""

    def __init__(self, ledger: Sequence[Transfer]) -> None:
        self._ledger, self._at = ledger, 0
        self._answers, self._failures = 0, Counter[str]()

    def answered(self, sent: Sent, reply: Message) -> None:
        """Count a reply to a training message; an error among them is a failure."""
        if reply.has_error():
            self.failed(sent, reply.error.reason or "", said=True)
        elif trains(sent.message):
            self._answers += 1

    def failed(self, sent: Sent, reason: str, said: bool = False) -> None:
        """Count a failure, and log it unless that was ``said``."""
        if trains(sent.message):
            self._failures[reason] += 1
        if not said:
            _log.warning("node %d in round %d (%s): %s", sent.node_id, sent.round, sent.kind, reason)

    @property
    def all_failed(self) -> str:
        """Why training failed on every client in every round, most often; empty where it did not."""
        return "" if self._answers or not self._failures else self._failures.most_common(1)[0][0]

    def round_ends(self, number: int, nodes: Nodes) -> None:
        """Log what a round cost."""
        transfers, self._at = self._ledger[self._at :], len(self._ledger)
        if not transfers:
            return
        plain = sum(node.plain for node in nodes.by_id.values())
        refused = sum(item.kind == "refused" for item in transfers)
        more = f"; {plain} nodes without thinwire" if plain else ""
        more += f"; {refused} replies refused or failed" if refused else ""
        beside = sum(item.not_compressed for item in transfers)
        more += f"; {_bytes(beside)} of kinds that are not compressed" if beside else ""
        _log.info("thinwire round %d: %s; %s%s", number, _way(transfers, "down"), _way(transfers, "up"), more)

    def run_ends(self, nodes: Nodes) -> None:
        """Log what the whole run cost; warn where nothing was compressed."""
        if not self._ledger:
            _log.warning("thinwire: no message of this run carried arrays, so nothing was compressed")
            return
        _log.info("thinwire, the whole run: %s; %s", _way(self._ledger, "down"), _way(self._ledger, "up"))
        plain = {node_id for node_id, node in nodes.by_id.items() if node.plain}
        if all(item.kind in _AS_THEY_ARE or item.node_id in plain for item in self._ledger):
            _log.warning(
                "thinwire: nothing of this run was compressed: every message went dense. Are all ClientApps wrapped by "
                "compress_client, and do their messages carry numpy arrays?"
            )


def _way(transfers: Sequence[Transfer], direction: str) -> str:
    """Return what one direction cost, in words."""
    mine = [item for item in transfers if item.direction == direction and item.kind != "refused"]
    sent, dense = sum(item.payload_bytes for item in mine), sum(item.dense_bytes for item in mine)
    errors = [item.nmse for item in mine if item.nmse is not None]
    ratio = f", {dense / sent:.1f}x fewer than dense" if sent else ""
    error = f", NMSE {sum(errors) / len(errors):.2g}" if errors else ""
    return f"{direction} {_bytes(sent)}{ratio}{error}"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
