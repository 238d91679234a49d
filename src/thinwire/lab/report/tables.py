"""The figures as text, once, so that the page and the Markdown cannot disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from thinwire.lab.report import units
from thinwire.lab.report.kinds import Compared
from thinwire.lab.report.model import BASELINE, Configuration, Metric, Report, TensorRow

MOMENTS = 8
"""Of how many rounds a table has a column."""
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
    """Return the metric after some rounds or epochs, one row per configuration: as many as a narrow page takes."""
    numbers = some(sorted({point.round for row in report.configurations for point in row.points}), MOMENTS)
    found = [{point.round: point.metric.mean for point in row.points} for row in report.configurations]
    cells = ((_cell(report.metric, known.get(at)) for at in numbers) for known in found)
    rows = tuple((row.group, *values) for row, values in zip(report.configurations, cells, strict=True))
    return Table((f"after {report.turn}", *map(str, numbers)), rows)


def some(numbers: Sequence[int], most: int) -> list[int]:
    """Return at most so many of the numbers, the first and the last and such at about equal distances between."""
    if len(numbers) <= most:
        return list(numbers)
    last = len(numbers) - 1
    return [numbers[round(at * last / (most - 1))] for at in range(most)]


def parts(data: Table, *starts: int) -> list[Table]:
    """Return a table as several narrower ones that all begin with its first column; ``starts``: where others begin."""
    edges = [1, *starts, len(data.head)]
    return [
        Table((data.head[0], *data.head[a:b]), tuple((row[0], *row[a:b]) for row in data.rows))
        for a, b in pairwise(edges)
    ]


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
