"""The end of a comparison on the screen: a table, the verdict, where the report is."""

from __future__ import annotations

from thinwire.cli.screen import table
from thinwire.lab.report import Report, Written, units


def show_report(written: Written) -> None:
    """Print it."""
    report = written.report
    unit = " (pp)" if report.metric.percent else ""
    head = ("configuration", report.metric.label, f"diff{unit}", "within", "bytes", "ratio", "up", "down")
    table(head, _rows(report))
    for verdict in (report.verdict, report.pairing_verdict):
        if verdict:
            print(f"\n{verdict.sentence}\n  {verdict.detail}".rstrip())
    print(f"\nreport: {written.html}")


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
