"""The sentences around the figures, shared by the page and the Markdown."""

from __future__ import annotations

from thinwire.lab.report.distributed.model import TrainReport

COUNTING = (
    "Bytes are what all workers handed to the transport: payload, headers and the few that they need to agree; of "
    "dense and of torch's hooks, what ring all-reduces of the same tensors send. TCP's own headers are not in them. A "
    "ratio is dense's over the method's, on the same seeds. k accuracy is the number of elements that a sparsifier "
    "selected over the number that its density asks for: 1 is exact. kB and MB are decimal."
)
TIMES = (
    "Times are medians over the steps, means over workers and seeds. A step is forward, backward, exposed "
    "communication and update. Exposed communication is what training waited for: without a pipeline all of the "
    "averaging, encoding included; with one, from the last bucket to the end. Encoding and decoding are in it, or "
    "beside backward."
)
CURVES = "Every line is the mean over seeds and over {window} at a time; a point says more when pointed at."


def curves(report: TrainReport) -> str:
    """Return what the lines are."""
    return CURVES.format(window=f"{report.window} steps" if report.window > 1 else "one step")


def link(report: TrainReport) -> str:
    """Return what is known of the link, empty where nothing is."""
    pipeline = "with" if report.pipeline else "without"
    measured = f"The link, measured before training: {report.link}. " if report.link else ""
    return "" if report.simulated else f"{measured}Averaging ran {pipeline} a pipeline."
