"""The sentences around the figures, shared by the page and the Markdown."""

from __future__ import annotations

from thinwire.lab.report import units
from thinwire.lab.report.model import Configuration, Report

COUNTING = (
    "Bytes are engine bytes: everything that Flower serializes and sends for a round, headers and configuration "
    "included, summed over all clients and rounds and averaged over seeds. The payload ratio counts our frames alone "
    "(for uncompressed, the dense arrays). A ratio is the bytes of uncompressed over the bytes of the configuration, "
    "on the same seeds. Up is client to server, down is server to client. kB and MB are decimal."
)
NMSE = "NMSE is sum((x − y)²) / sum(x²) of what one side sent (x) and the other decoded (y), averaged over rounds."
CODEC = (
    "Codec time is encode and decode, all clients and the server together, per round; its share is of the training "
    "time of all clients."
)
LINKS_BPS = ((1e6, "1 Mbit/s"), (10e6, "10 Mbit/s"), (100e6, "100 Mbit/s"))


def transfer_times(report: Report, row: Configuration) -> tuple[tuple[str, str, str], ...]:
    """Return per link speed what one client's bytes take, this configuration and uncompressed: (link, own, base)."""
    if not report.clients or row.baseline_bytes is None:
        return ()
    own, base = (8 * value / report.clients for value in (row.total_bytes, row.baseline_bytes))
    return tuple((name, units.seconds(own / bps), units.seconds(base / bps)) for bps, name in LINKS_BPS)


TRANSFER = (
    "Time on the wire is calculated from the bytes of one client over the whole run, both directions, without latency; "
    "it is not measured."
)
