"""A report that reads run files and nothing else: one page, its figures as Markdown and as JSON, one picture."""

from __future__ import annotations

from thinwire.lab.report.chart_overview import overview_svg
from thinwire.lab.report.distributed.model import TrainReport
from thinwire.lab.report.model import Report
from thinwire.lab.report.write import Written, write_report

__all__ = ["Report", "TrainReport", "Written", "overview_svg", "write_report"]
