"""The rule, and the sentence that it leads to."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.lab.report import guards, units
from thinwire.lab.report.model import AUTO, BASELINE, TOLERANCE, Configuration, Metric, Verdict

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def rule(metric: Metric) -> str:
    """Return the rule in words."""
    return (
        f"The rule: the fewest total bytes among the configurations whose final {metric.label}, averaged over seeds, "
        f"is at most {units.points(metric, TOLERANCE)} {'below' if metric.higher_is_better else 'above'} that of "
        f"uncompressed on the same seeds. Equal bytes: the better {metric.label} wins."
    )


def choose(rows: Sequence[Configuration], metric: Metric) -> Configuration | None:
    """Return the winner by the rule, or None when no configuration keeps the metric."""
    kept = [row for row in rows if row.within and row.group != BASELINE]
    return min(kept, key=lambda row: (row.total_bytes, -metric.gain(row.metric.mean), row.group), default=None)


def verdict_of(rows: Sequence[Configuration], metric: Metric, untrained: str = "") -> Verdict:
    """Judge all configurations; ``untrained`` says why uncompressed is nothing to compare with, if it is not."""
    others = [row for row in rows if row.group != BASELINE]
    if not others:
        return Verdict("", "", "There are only uncompressed runs here: nothing to compare.", "")
    if all(row.difference is None for row in others):
        text = "No configuration can be compared: there is no finished uncompressed run of the same task and seed."
        return Verdict("", "", text, f"Run the group {BASELINE!r} with the same settings and seeds.")
    return guards.untrained(BASELINE, untrained) if untrained else _judge("", others, metric)


def verdict_of_pairings(rows: Sequence[Configuration], metric: Metric) -> Verdict | None:
    """Judge the pairings alone: all but uncompressed and auto. None when there is none to compare."""
    pairings = [row for row in rows if row.group not in (BASELINE, AUTO) and row.difference]
    count = len(pairings)
    number = _WORDS[count] if count < len(_WORDS) else str(count)
    return _judge(f"Among the {number} pairings, ", pairings, metric) if count > 1 else None


def _judge(lead: str, rows: Sequence[Configuration], metric: Metric) -> Verdict:
    best = choose(rows, metric)
    if best is None:
        return _none_qualifies(lead, rows, metric)
    if best.total_ratio is None or best.total_ratio <= 1:
        text = f"none that keeps the {metric.label} sends fewer bytes than uncompressed: compression does not pay here."
        return Verdict(lead, "", _begin(lead, text), _detail(best, metric))
    better = metric.gain(best.difference.mean) > TOLERANCE if best.difference else False
    if better or len(best.seeds) == 1:
        said = f"and {guards.ends(best, metric, TOLERANCE)}"
    else:
        said = f"{_kept(best, metric)}{guards.spoken(best, metric, TOLERANCE)}"
    return Verdict(lead, best.group, f" sends {_saving(best)} {said}.", _detail(best, metric))


def _none_qualifies(lead: str, rows: Sequence[Configuration], metric: Metric) -> Verdict:
    compared = [row for row in rows if row.difference]
    near = max(compared, key=lambda row: metric.gain(row.difference.mean) if row.difference else 0.0)
    text = f"no configuration stays within {units.points(metric, TOLERANCE)} of the {metric.label} of uncompressed."
    return Verdict(
        lead, "", _begin(lead, text), f"The closest is {near.group}: {_saving(near)}. {_detail(near, metric)}"
    )


def _begin(lead: str, text: str) -> str:
    return text if lead else text[0].upper() + text[1:]


def _saving(row: Configuration) -> str:
    fewer = f"{units.round_ratio(row.total_ratio or 0)} fewer bytes than uncompressed"
    return f"{fewer} ({units.size(row.total_bytes)} instead of {units.size(row.baseline_bytes)})"


def _kept(row: Configuration, metric: Metric) -> str:
    loss = -metric.gain(row.difference.mean) if row.difference else 0.0
    near = units.points(metric, units.ceiling(metric, loss))
    return (
        f"at no loss of {metric.label}"
        if loss <= 0
        else f"within {near}{' of' if metric.percent else ''} {metric.label}"
    )


def _detail(row: Configuration, metric: Metric) -> str:
    base, gap = row.baseline_metric, row.difference
    if base is None or gap is None:
        return ""
    unit = " pp" if metric.percent else ""
    values = f"{units.metric_spread(metric, row.metric)} against {units.metric_spread(metric, base)}"
    change = f"difference {units.difference(metric, gap.mean)}{unit}"
    if gap.sd is None:
        return f"{metric.title} {values}, {change}, one seed.{_notes(row)}"
    ends = f"{units.difference(metric, gap.low)} to {units.difference(metric, gap.high)}{unit}"
    seeds = f"mean ± standard deviation over {units.counted(len(row.seeds), 'seed')}"
    low, high = units.metric(metric, row.metric.low), units.metric(metric, row.metric.high)
    return f"{metric.title} {values} ({seeds}; {low} to {high}), {change}, {ends} by seed.{_notes(row)}"


def _notes(row: Configuration) -> str:
    return "".join(f" Note: {note}." for note in row.notes)
