"""The end of a comparison on the screen: a table, the verdict, where the report is."""

from __future__ import annotations

from thinwire.cli.screen import folded, say, table
from thinwire.lab.report import Report, TrainReport, Written, units
from thinwire.lab.report.distributed import tables as train_tables


def show_report(written: Written) -> None:
    """Print it."""
    report = written.report
    if isinstance(report, TrainReport):
        _training(report)
        verdicts = (report.verdict, report.time_verdict)
    else:
        _federated(report)
        verdicts = (report.verdict, report.pairing_verdict)
    for verdict in verdicts:
        if verdict:
            say(f"\n{verdict.sentence}\n  {verdict.detail}".rstrip())
    for note in report.notes:
        say(f"note: {note}")
    say(f"\nreport: {written.html}")


def _federated(report: Report) -> None:
    unit = " (pp)" if report.metric.percent else ""
    head = ("configuration", report.metric.label, f"diff{unit}", "within", "bytes", "ratio", "up", "down")
    table(head, [line for row in _rows(report) for line in folded(row)])


def _rows(report: Report) -> list[tuple[str, ...]]:
    from thinwire.lab.report.tables import mark

    return [
        (
            row.group,
            units.metric_spread(report.metric, row.metric),
            units.NONE if row.difference is None else units.difference(report.metric, row.difference.mean),
            mark(row),
            units.size(row.total_bytes),
            *(units.ratio(value) for value in (row.total_ratio, row.up_ratio, row.down_ratio)),
        )
        for row in report.configurations
    ]


def _training(report: TrainReport) -> None:
    unit = units.unit(report.metric)
    head = ("method", report.metric.label, f"diff ({unit})" if unit else "diff", "within", "bytes", "ratio", "k")
    seconds = () if report.simulated else ("step", "exposed")
    rows = zip(report.configurations, train_tables.figures(report).rows, strict=True)
    times = ("step_s", "exposed_s") if seconds else ()
    cells = [(*row[:4], row[5], *row[7:9], *(units.seconds(getattr(own, key)) for key in times)) for own, row in rows]
    table((*head, *seconds), [line for row in cells for line in folded(row)])
