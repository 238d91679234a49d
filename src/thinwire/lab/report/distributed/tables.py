"""The figures as text, once, so that the page and the Markdown cannot disagree."""

from __future__ import annotations

from thinwire.lab.report import units
from thinwire.lab.report.distributed.load import BASELINE
from thinwire.lab.report.distributed.model import Method, TrainReport
from thinwire.lab.report.distributed.verdict import is_faster
from thinwire.lab.report.tables import Table


def figures(report: TrainReport) -> Table:
    """Return the main table, one row a method."""
    unit = units.unit(report.metric)
    difference = f"difference ({unit})" if unit else "difference"
    head = ("method", f"final {report.metric.label}", difference, "within", "final loss")
    sizes = ("bytes", "bytes a step", "times fewer", "k accuracy", "averaged by")
    return Table(head + sizes, tuple(_figures(report, row) for row in report.configurations))


def _figures(report: TrainReport, row: Method) -> tuple[str, ...]:
    return (
        row.group,
        units.metric_spread(report.metric, row.metric),
        units.NONE if row.difference is None else units.difference(report.metric, row.difference.mean),
        mark(row),
        f"{row.loss.mean:.4f}",
        units.size(row.total_bytes),
        units.size(row.step_bytes),
        units.ratio(row.total_ratio),
        units.NONE if row.k_accuracy is None else f"{row.k_accuracy:.3f}",
        row.exchanges or units.NONE,
    )


def mark(row: Method) -> str:
    """Return 'yes', 'no', or a dash for dense and for what was not compared."""
    return units.NONE if row.difference is None or row.group == BASELINE else "yes" if row.within else "no"


def times(report: TrainReport) -> Table:
    """Return what a step takes, one row a method, the fastest first."""
    parts = ("forward", "backward", "encode", "exposed", "update", "step")
    head = ("method", *parts, "exposed, times less", "step, times shorter")
    rows = sorted(report.configurations, key=lambda row: (row.step_s, row.group))
    return Table(head, tuple(_times(row) for row in rows))


def _times(row: Method) -> tuple[str, ...]:
    parts = ("forward_s", "backward_s", "encode_s", "exposed_s", "update_s")
    return (
        row.group,
        *(units.seconds(row.times[key]) for key in parts),
        units.seconds(row.step_s),
        units.ratio(row.exposed_ratio),
        units.ratio(row.step_ratio),
    )


def estimates(report: TrainReport) -> Table:
    """Return what compression was estimated to be worth beside what came; no rows where nothing was."""
    rows = [row for row in report.configurations if row.pays is not None]
    cells = ((row.group, _yes(row.pays), _yes(is_faster(row)), row.estimate) for row in rows)
    return Table(("method", "estimated to pay", "was faster", "estimate"), tuple(cells))


def _yes(value: bool | None) -> str:
    return "yes" if value else "no"
