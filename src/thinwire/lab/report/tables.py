"""The figures as text, once, so that the page and the Markdown cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass

from thinwire.lab.report import units
from thinwire.lab.report.kinds import Compared
from thinwire.lab.report.model import BASELINE, Configuration, Metric, Report, TensorRow

LARGEST = 12
"""How many tensors are listed by name; the rest is one row."""


_SIZES = ("total bytes", "up bytes", "down bytes", "total ratio", "up ratio", "down ratio", "payload ratio")
_COSTS = ("NMSE up", "NMSE down", "codec per round", "of training", "failures")


@dataclass(frozen=True)
class Table:
    """A head and rows of text, all of the same width."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def figures(report: Report) -> Table:
    """Return the main table, one row per configuration."""
    unit = " (pp)" if report.metric.percent else ""
    metric = ("configuration", f"final {report.metric.label}", f"difference{unit}", "within")
    return Table(metric + _SIZES + _COSTS, tuple(_figures(row, report.metric) for row in report.configurations))


def _figures(row: Configuration, metric: Metric) -> tuple[str, ...]:
    return (
        row.group,
        units.metric_spread(metric, row.metric),
        units.NONE if row.difference is None else units.difference(metric, row.difference.mean),
        mark(row),
        *(units.size(value) for value in (row.total_bytes, row.up_bytes, row.down_bytes)),
        *(units.ratio(value) for value in (row.total_ratio, row.up_ratio, row.down_ratio, row.payload_ratio)),
        units.nmse(row.up_nmse),
        units.nmse(row.down_nmse),
        units.seconds(row.codec_s),
        units.share(row.codec_share),
        str(row.failures),
    )


def mark(row: Configuration) -> str:
    """Return 'yes', 'no', or a dash for uncompressed and for what was not compared."""
    return units.NONE if row.difference is None or row.group == BASELINE else "yes" if row.within else "no"


def by_round(report: Compared) -> Table:
    """Return the metric after each round or epoch, one column per configuration."""
    numbers = sorted({point.round for row in report.configurations for point in row.points})
    columns = [{point.round: point.metric.mean for point in row.points} for row in report.configurations]
    rows = tuple((str(at), *(_cell(report.metric, column.get(at)) for column in columns)) for at in numbers)
    return Table((report.turn, *(row.group for row in report.configurations)), rows)


def _cell(metric: Metric, value: float | None) -> str:
    return units.NONE if value is None else units.metric(metric, value)


def tensors(row: Configuration) -> Table:
    """Return the bytes of the largest tensors of one configuration."""
    rows = tuple(_tensor(item) for item in largest(row))
    return Table(("tensor", "shape", "total bytes", "up bytes", "down bytes", "total ratio"), rows)


def largest(row: Configuration) -> tuple[TensorRow, ...]:
    """Return the tensors with the most bytes, and all others as one."""
    rest = row.tensors[LARGEST:]
    if not rest:
        return row.tensors
    up, down = (sum(sizes) for sizes in zip(*((item.up_bytes, item.down_bytes) for item in rest), strict=True))
    return (*row.tensors[:LARGEST], TensorRow(f"{len(rest)} smaller ones", units.NONE, up, down, None))


def _tensor(item: TensorRow) -> tuple[str, ...]:
    sizes = (units.size(value) for value in (item.total_bytes, item.up_bytes, item.down_bytes))
    return (item.name, item.shape, *sizes, units.ratio(item.ratio))
