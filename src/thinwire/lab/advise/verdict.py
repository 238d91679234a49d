"""The verdict: which option, or none; in one sentence, with what it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from thinwire.lab.advise.rows import Row
from thinwire.lab.report import units
from thinwire.rates import rate_text

WORTH = 1.05
"""A round must get this many times shorter: less is not worth an error, and within what timings vary by."""
NEAR = 1.05
"""Of options whose rounds are this close to the shortest, the one with the least error is named."""
COMPRESS, DENSE, EITHER = "compress", "do not compress", "for the bytes only"


@dataclass(frozen=True)
class Verdict:
    """``action`` is one of COMPRESS, DENSE and EITHER; ``option`` is the one to use, empty where it is none."""

    action: str
    option: str
    sentence: str
    details: tuple[str, ...] = ()


def judge(rows: Sequence[Row], most_nmse: float, mean_bps: float, floor_s: float) -> Verdict:
    """Judge; the first row is that of sending everything dense. ``floor_s`` is a round that sends nothing."""
    dense, allowed = rows[0], [row for row in rows[1:] if row.nmse <= most_nmse]
    faster_ones = _beyond(rows, most_nmse)
    if not allowed:
        text = f"No option stays within an error (NMSE) of {most_nmse:g}: send everything dense."
        return Verdict(DENSE, "", text, faster_ones)
    best = best_of(allowed)
    if best.speed_up(dense) >= WORTH:
        details = (_break_even(best, dense, mean_bps), *_noise(best, dense), *faster_ones)
        return Verdict(COMPRESS, best.option, _compress(best, dense), details)
    no_slower = [row for row in allowed if row.round_s <= dense.round_s and row.sent_bytes < dense.sent_bytes]
    if no_slower:
        small = min(no_slower, key=lambda row: row.sent_bytes)
        details = (_break_even(small, dense, mean_bps), *faster_ones)
        return Verdict(EITHER, small.option, _either(small, no_slower, dense, floor_s), details)
    return Verdict(DENSE, "", _dense(allowed, dense, mean_bps), _pays_below(allowed, dense) + faster_ones)


def best_of(rows: Sequence[Row]) -> Row:
    """Return the row with the least error among those whose rounds are nearly the shortest; of equals, the shortest."""
    shortest_s = min(row.round_s for row in rows)
    return min((row for row in rows if row.round_s <= NEAR * shortest_s), key=lambda row: (row.nmse, row.round_s))


def _compress(best: Row, dense: Row) -> str:
    return (
        f"Compress with {best.option}: a round takes {units.seconds(best.round_s)} instead of "
        f"{units.seconds(dense.round_s)}, {units.round_ratio(best.speed_up(dense))} as fast; it sends "
        f"{_saving(best, dense)}, NMSE {units.nmse(best.nmse)}."
    )


def _either(small: Row, no_slower: Sequence[Row], dense: Row, floor_s: float) -> str:
    quick = min(no_slower, key=lambda row: row.round_s)
    saved, fixed = 1 - quick.round_s / dense.round_s, min(1.0, floor_s / dense.round_s)
    why = f", {units.share(fixed)} of which is training and latency" if fixed > 0.5 else ""
    return (
        f"For the time, compressing hardly matters: the quickest, {quick.option}, saves {units.share(saved)} of a "
        f"round of {units.seconds(dense.round_s)}{why}. Where bytes cost, use {small.option}: it sends "
        f"{_saving(small, dense)} in a round of {units.seconds(small.round_s)}, NMSE {units.nmse(small.nmse)}."
    )


def _dense(allowed: Sequence[Row], dense: Row, mean_bps: float) -> str:
    useful = [row for row in allowed if row.sent_bytes < dense.sent_bytes]
    if not useful:
        return "Do not compress: no option within the limit of error sends fewer bytes than dense tensors take."
    quick = min(useful, key=lambda row: row.codec_s)
    wire_s = 8 * dense.sent_bytes / mean_bps
    return (
        f"Do not compress: this link ({rate_text(mean_bps)}) is faster than the codecs. Everything dense is on the "
        f"wire for {units.seconds(wire_s)}; to encode and decode with {quick.option}, the quickest, takes "
        f"{units.seconds(quick.codec_s)}."
    )


def _saving(best: Row, dense: Row) -> str:
    fewer = f"{units.round_ratio(best.ratio(dense))} fewer bytes"
    return f"{units.size(best.sent_bytes)} instead of {units.size(dense.sent_bytes)} ({fewer})"


def _break_even(best: Row, dense: Row, mean_bps: float) -> str:
    limit_bps = best.break_even_bps(dense)
    if math.isinf(limit_bps):
        return f"{best.option} takes no time worth a mention: it pays on any link."
    return f"{best.option} pays on links below {rate_text(limit_bps)}; this one has {rate_text(mean_bps)}."


def _pays_below(allowed: Sequence[Row], dense: Row) -> tuple[str, ...]:
    last = max(allowed, key=lambda row: row.break_even_bps(dense))
    limit_bps = last.break_even_bps(dense)
    if not 0 < limit_bps < math.inf:
        return ()
    return (f"Compressing begins to pay below {rate_text(limit_bps)}, with {last.option}.",)


def _noise(best: Row, dense: Row) -> tuple[str, ...]:
    if best.slow_s >= dense.round_s:
        return (f"A close call: with the slowest of its timings a round takes {units.seconds(best.slow_s)}.",)
    return ()


def _beyond(rows: Sequence[Row], most_nmse: float) -> tuple[str, ...]:
    """Say which option would be quicker, were its error allowed."""
    over = [row for row in rows[1:] if row.nmse > most_nmse]
    if not over:
        return ()
    quickest, others = min(over, key=lambda row: row.round_s), [row for row in rows if row.nmse <= most_nmse]
    if quickest.round_s * WORTH >= min(row.round_s for row in others):
        return ()
    text = f"{quickest.option} is quicker, {units.seconds(quickest.round_s)}, at an NMSE of {units.nmse(quickest.nmse)}"
    return (f"{text}: above the limit of {most_nmse:g} (--nmse).",)
