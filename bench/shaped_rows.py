"""What `bench/shaped.py` runs and what it makes of a run: configs, rows, the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from shaped_net import Shape
from shaped_rank import POWERSGD_START, SKIPPED

TIMES = ("forward_s", "backward_s", "encode_s", "exposed_s", "update_s")
HEADER_BYTES = 66
"""Of a packet: Ethernet 14, IPv4 20, TCP with its time stamps 32."""
FEW = 5
"""Steps of a run whose dense step would wait long."""
LONG_S = 4.0

MODELS: Mapping[str, dict[str, Any]] = {
    "small-resnet": {"dataset": "digits", "batch_size": 16},
    "char-gpt": {"dataset": "scikit-learn-pages", "batch_size": 4, "context": 64},
}
"""The data ship with scikit-learn, and batches are small: what is measured is averaging."""
STEPS: Mapping[str, int] = {"small-resnet": 20, "char-gpt": 12}
"""Within the first epoch, also of 4 ranks: an evaluation between two steps would be in the interfaces' bytes."""
LATE = f"Compressor(WarmUp(LowRank(rank=2, method='range'), densities=(1.0,), every={POWERSGD_START}), ErrorFeedback())"
"""PowerSGD that begins as torch's does: with as many steps that are dense."""
METHODS: Mapping[str, tuple[str, float | None]] = {
    "none": ("none", None),
    "torch-fp16": ("torch-fp16", None),
    "torch-powersgd": ("torch-powersgd", None),
    "hggtopk": ("hggtopk", 0.01),
    "topk-int8": ("topk-int8", 0.01),
    "powersgd": ("powersgd", None),
    "powersgd-late": (LATE, None),
    "int4-block": ("int4-block", None),
}
"""Compressor and density by name; the first three are not thinwire's and overlap as torch does."""
STOCK = ("none", "torch-fp16", "torch-powersgd")
COLUMNS = (
    "model", "link, measured", "method", "pipeline", "steps", "compute", "encode", "exposed", "dense / exposed", "loss",
    "bytes a step", "less than dense", "interface", "without headers", "worth it",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row: a model, a method, a link and whether averaging goes on beside backward."""

    model: str
    method: str
    link: str
    pipeline: bool
    ranks: int
    steps: int

    @property
    def id(self) -> str:
        """Its name in the result."""
        return f"{self.model}-{self.link}-{self.method}{'-pipeline' if self.pipeline else ''}"

    def config(self) -> dict[str, Any]:
        """Return the fields of its TrainConfig."""
        compressor, density = METHODS[self.method]
        own = {"model": self.model, "compressor": compressor, "density": density, "use_pipeline": self.pipeline}
        rest = {"workers": self.ranks, "steps": self.steps, "epochs": self.steps, "schedule": "constant"}
        return own | rest | MODELS[self.model]


def cases(
    models: Sequence[str], methods: Sequence[str], link: str, pipelines: Sequence[bool], ranks: int, steps: int | None,
    dense_bytes: Mapping[str, int],
) -> Iterator[Case]:  # fmt: skip
    """Yield the rows of a link, of STEPS where ``steps`` is None; torch's get FEW where a dense step waits long."""
    rate = Shape(link).bits_per_s
    for model in models:
        own = steps or STEPS[model]
        for method in methods:
            waits = 8 * dense_bytes[model] / rate if rate and method in STOCK else 0.0
            for pipeline in pipelines if method not in STOCK else (False,):
                yield Case(model, method, link, pipeline, ranks, min(FEW, own) if waits > LONG_S else own)


def row(case: Case, result: Mapping[str, Any], seen: Sequence[Mapping[str, Any]], measured: float) -> dict[str, Any]:
    """Return the row of a run: its train.json, the counters, and the link's measured bits a second."""
    steps = result["steps"]
    times = {name: median(steps[name][SKIPPED:]) for name in TIMES}
    compute = times["forward_s"] + times["backward_s"] + times["update_s"]
    return {
        "id": case.id, "model": case.model, "method": case.method, "link": case.link, "pipeline": case.pipeline,
        "config": case.config(), "parameters": result["model"]["parameters"],
        "nominal_bps": Shape(case.link).bits_per_s, "measured_bps": measured,
        "steps": case.steps, "timed_steps": case.steps - SKIPPED,
        **times, "compute_s": compute, "step_s": compute + times["exposed_s"],
        "losses": steps["loss"], "loss": steps["loss"][-1], "test_loss": result["final"]["loss"],
        "dense_bytes": sum(steps["dense_bytes"][SKIPPED:]), **_bytes(steps["sent_bytes"], seen),
        "less": sum(steps["dense_bytes"][SKIPPED:]) / sum(steps["sent_bytes"][SKIPPED:]),
        "worth": result.get("worth"), "probed": result.get("link"),
        "commit": result["environment"]["commit"],
    }  # fmt: skip


def _bytes(sent: Sequence[int], seen: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return our bytes and those of the interfaces over the same steps, all ranks together."""
    first, last = seen
    ours = sum(sent[first["step"] : last["step"]])
    total = {
        name: sum(b[name] - a[name] for a, b in zip(first["counters"], last["counters"], strict=True))
        for name in ("tx_bytes", "tx_packets")
    }
    headers = HEADER_BYTES * total["tx_packets"]
    return {
        "sent_bytes": ours, "interface_bytes": total["tx_bytes"], "interface_packets": total["tx_packets"],
        "over": total["tx_bytes"] / ours - 1, "over_without_headers": (total["tx_bytes"] - headers) / ours - 1,
    }  # fmt: skip


def table(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown table; exposed times beside that of `none` on the same link."""
    rows = sorted(rows, key=lambda one: str(one["model"]))
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for one in rows:
        yield _line(one, rows)


def _line(one: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    beside = [other for other in rows if (other["model"], other["link"]) == (one["model"], one["link"])]
    dense = next((other["exposed_s"] for other in beside if other["method"] == "none"), None)
    at = min(other["steps"] for other in beside)
    cells = (
        one["model"], f"{one['link']}, {one['measured_bps'] / 1e6:,.1f} Mbit/s", one["method"],
        "yes" if one["pipeline"] else "no", one["steps"],
        *(f"{1e3 * one[name]:,.1f} ms" for name in ("compute_s", "encode_s", "exposed_s")),
        f"{dense / one['exposed_s']:.1f}" if dense and one["exposed_s"] else "-",
        f"{one['losses'][at - 1]:.4f} after {at}", f"{one['sent_bytes'] / one['timed_steps']:,.0f}",
        f"{one['less']:.1f}x", f"{one['over']:+.1%}", f"{one['over_without_headers']:+.1%}",
        "-" if one["worth"] is None else "yes" if one["worth"]["pays"] else "no",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"
