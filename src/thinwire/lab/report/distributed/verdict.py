"""The rule, and the two sentences that it leads to: what was kept at how many bytes, and what the link made of it."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.lab.report import guards, units
from thinwire.lab.report.distributed.load import BASELINE
from thinwire.lab.report.distributed.model import TOLERANCE, Method
from thinwire.lab.report.model import Metric, Verdict

FASTER = 0.02
"""A step that is not shorter than dense's by more than this share is not called faster: so much is noise."""


def rule(metric: Metric) -> str:
    """Return the rule in words."""
    return (
        f"The rule: a method keeps the {metric.label} if its final {metric.label}, averaged over seeds, is at most "
        f"{units.points(metric, TOLERANCE)} {'below' if metric.higher_is_better else 'above'} that of {BASELINE} on "
        f"the same seeds. Faster is a step that is over {100 * FASTER:g}% shorter than {BASELINE}'s."
    )


def verdict_of(rows: Sequence[Method], metric: Metric, untrained: str = "") -> Verdict:
    """Judge what the methods keep, and at how many bytes; ``untrained``: why dense is nothing to compare with."""
    others = [row for row in rows if row.group != BASELINE]
    compared = [row for row in others if row.difference]
    if not others:
        return Verdict("", "", f"There are only {BASELINE} runs here: nothing to compare.", "")
    if not compared:
        text = f"No method can be compared: there is no finished {BASELINE} run of the same task and seed."
        return Verdict("", "", text, f"Run {BASELINE!r} (the compressor none) with the same settings and seeds.")
    if untrained:
        return guards.untrained(BASELINE, untrained)
    kept = sorted((row for row in compared if row.within), key=lambda row: (row.total_bytes, row.group))
    if not kept:
        text = f"No method ends within {units.points(metric, TOLERANCE)} of the {metric.label} of {BASELINE}."
        return Verdict("", "", text, _missed(compared, metric))
    return _judge(kept, [row for row in compared if not row.within], metric)


def _judge(kept: Sequence[Method], lost: Sequence[Method], metric: Metric) -> Verdict:
    best, *rest = kept
    near = f"ends within {units.points(metric, TOLERANCE)} of its {metric.label}"
    if (best.total_ratio or 0) <= 1:
        text = f"No method sends fewer bytes than {BASELINE} and {near}: compression does not pay here."
        return Verdict("", "", text, _missed(lost, metric))
    others = ", ".join(f"{row.group} ({units.round_ratio(row.total_ratio or 0)} fewer bytes)" for row in rest)
    also = f"As near {'are' if len(rest) > 1 else 'is'} {others}." if rest else ""
    saving = f"{units.round_ratio(best.total_ratio or 0)} fewer bytes than {BASELINE}"
    sizes = f"{units.size(best.total_bytes)} instead of {units.size(best.baseline_bytes)}"
    detail = " ".join(filter(None, [also, _missed(lost, metric), _values(best, metric)]))
    kept_words = guards.ends(best, metric, TOLERANCE)
    return Verdict("", best.group, f" sends {saving} ({sizes}) and {kept_words}.", detail)


def _values(row: Method, metric: Metric) -> str:
    base, gap = row.baseline_metric, row.difference
    if base is None or gap is None:
        return ""
    many = f"mean ± standard deviation over {units.counted(len(row.seeds), 'seed')}"
    seeds = "one seed" if gap.sd is None else many
    values = f"{units.metric_spread(metric, row.metric)} against {units.metric_spread(metric, base)}"
    return f"{row.group}: {metric.label} {values} ({seeds}), difference {_gap(row, metric)}."


def _missed(rows: Sequence[Method], metric: Metric) -> str:
    order = sorted(rows, key=lambda row: -metric.gain(row.difference.mean if row.difference else 0.0))
    words = ", ".join(f"{row.group} ({_gap(row, metric)})" for row in order)
    return f"Further away: {words}." if words else ""


def _gap(row: Method, metric: Metric) -> str:
    gap = row.difference.mean if row.difference else 0.0
    return f"{units.difference(metric, gap)}{'%' if metric.relative else ' pp' if metric.percent else ''}"


def times_of(rows: Sequence[Method], simulated: bool) -> Verdict | None:
    """Judge the times, None without two sides: whether a step became shorter on this link, and training waited less."""
    base = next((row for row in rows if row.group == BASELINE), None)
    others = [row for row in rows if row.group != BASELINE and row.step_ratio]
    if simulated:
        text = "All ranks shared one process: no link was used, so that times say nothing about one."
        return Verdict("", "", text, "")
    if base is None or not others:
        return None
    best = min(others, key=lambda row: row.step_s)
    own, dense = units.seconds(best.step_s), units.seconds(base.step_s)
    if is_faster(best):
        rest = f" had the shortest steps: {own} instead of {dense} with {BASELINE}."
        return Verdict("On this link ", best.group, rest, _waiting(base, others))
    text = f"Do not compress on this link: {BASELINE} was fastest, with {dense} a step; {best.group} took {own}."
    return Verdict("", "", text, _waiting(base, others))


def is_faster(row: Method) -> bool:
    """Say whether steps were shorter than dense's by more than noise."""
    return (row.step_ratio or 0.0) > 1 / (1 - FASTER)


def _waiting(base: Method, others: Sequence[Method]) -> str:
    less = sorted((row for row in others if row.exposed_s < base.exposed_s), key=lambda row: row.exposed_s)
    waited = f"Exposed communication was {units.seconds(base.exposed_s)} a step with {BASELINE}"
    if not less:
        return f"{waited}, and more with every other method."
    words = ", ".join(f"{row.group} ({units.seconds(row.exposed_s)}{_times_less(row)})" for row in less)
    return f"{waited}, less with {words}{', and more with the others' if len(less) < len(others) else ''}."


def _times_less(row: Method) -> str:
    return f", {units.round_ratio(row.exposed_ratio)} less" if row.exposed_ratio else ""
