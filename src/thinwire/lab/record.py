"""What a run writes down: one row per round, from the grid's traffic, the ledger and the clients' clocks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid
from torch import nn

from thinwire.flower import CompressedGrid, LocalGrid, Traffic, Transfer
from thinwire.lab.diverged import Diverged
from thinwire.lab.federation import Trained
from thinwire.lab.tasks import Task
from thinwire.lab.tasks.base import Rows

Row = dict[str, Any]
_SUMMED = ("up_bytes", "down_bytes", "up_payload_bytes", "down_payload_bytes", "encode_s", "decode_s")


@dataclass
class Recorder:
    """Evaluates the global model after every round and records what the round cost.

    ``model`` is evaluated in place; ``trained`` is the list that the clients append to.
    """

    task: Task
    model: nn.Module
    test: Rows
    trained: list[Trained]
    on_round: Callable[[Row], None]
    rows: list[Row] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    _seen: tuple[int, int, int] = (0, 0, 0)
    _ended: float = field(default_factory=time.perf_counter)

    def watch(self, grid: LocalGrid, compressed: CompressedGrid | None) -> Grid:
        """Count the traffic of ``grid``; returns the grid that the strategy should use."""
        self._traffic, self._ledger = grid.traffic, compressed.ledger if compressed else None
        self._sizes = {name: x.numel() * x.element_size() for name, x in self.model.state_dict().items()}
        self._ended = time.perf_counter()
        return compressed or grid

    def evaluate(self, number: int, arrays: ArrayRecord) -> MetricRecord:
        """Record a round: Flower calls this with the global model. Raises Diverged."""
        round_s = time.perf_counter() - self._ended
        self.model.load_state_dict(arrays.to_torch_state_dict())
        metric, loss = self.task.evaluate(self.model, self.test)
        if not math.isfinite(metric):
            raise Diverged(f"after round {number} the {self.task.metric} is {metric}: try a smaller learning rate")
        self.rows.append(self._row(number, metric, loss, round_s))
        self.on_round(self.rows[-1])
        self._ended = time.perf_counter()
        return MetricRecord({"metric": metric})

    def _row(self, number: int, metric: float, loss: float, round_s: float) -> Row:
        traffic, trained, transfers = self._news()
        self.transfers += transfers
        sent = sum(item.direction == "down" for item in traffic)
        replies = sum(item.direction == "up" and item.kind != "refused" for item in transfers)
        return {
            "round": number,
            "metric": metric,
            "loss": loss if math.isfinite(loss) else None,
            **{f"{way}_bytes": sum(t.engine_bytes for t in traffic if t.direction == way) for way in ("up", "down")},
            **{f"{way}_payload_bytes": sum(_of(transfers, way, "payload_bytes")) for way in ("up", "down")},
            **{f"{way}_nmse": _mean(_of(transfers, way, "nmse")) for way in ("up", "down")},
            "encode_s": sum(item.encode_s for item in transfers),
            "decode_s": sum(item.decode_s for item in transfers),
            "train_s": sum(item.train_s for item in trained),
            "round_s": round_s,
            "replies": replies,
            "failures": sent - replies,
        }

    def _news(self) -> tuple[Sequence[Traffic], Sequence[Trained], Sequence[Transfer]]:
        """Return what was added since the last call."""
        ledger = self._ledger if self._ledger is not None else []
        at = self._seen
        self._seen = len(self._traffic), len(self.trained), len(ledger)
        traffic, trained = self._traffic[at[0] :], self.trained[at[1] :]
        return traffic, trained, self._dense(traffic, trained) if self._ledger is None else ledger[at[2] :]

    def _dense(self, traffic: Iterable[Traffic], trained: Iterable[Trained]) -> list[Transfer]:
        """Return what a ledger would say of stock Flower: every message and every answer holds the dense arrays."""
        size, kind = sum(self._sizes.values()), "dense"
        down = [
            Transfer(t.round, t.node_id, "down", kind, size, size, tensors=self._sizes)
            for t in traffic
            if t.direction == "down"
        ]
        up = [Transfer(0, client.node_id, "up", kind, size, size, tensors=self._sizes) for client in trained]
        return down + up

    def model_bytes(self) -> dict[str, Any]:
        """Return the model's size, and what every tensor cost over the run."""
        state = self.model.state_dict()
        return {
            "parameters": sum(x.numel() for x in self.model.parameters()),
            "dense_bytes": sum(self._sizes.values()),
            "tensors": {
                name: {
                    "shape": list(x.shape),
                    "up_bytes": self._cost("up", name),
                    "down_bytes": self._cost("down", name),
                }
                for name, x in state.items()
            },
        }

    def _cost(self, way: str, name: str) -> int:
        return sum(item.tensors.get(name, 0) for item in self.transfers if item.direction == way)


def totals(rows: Sequence[Row]) -> Row:
    """Return the sums over all rounds."""
    sums = {key: sum(row[key] for row in rows) for key in _SUMMED}
    both = {"total_bytes": sums["up_bytes"] + sums["down_bytes"]}
    return {key: sums[key] for key in _SUMMED[:2]} | both | {key: sums[key] for key in _SUMMED[2:]}


def _of(transfers: Iterable[Transfer], way: str, name: str) -> list[Any]:
    return [getattr(item, name) for item in transfers if item.direction == way]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return fmean(known) if known else None
