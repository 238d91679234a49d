"""From a subject, a link and a list of options to one JSON-able answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from thinwire.compressor import Compressor
from thinwire.lab.advise.measure import Measured, free, measure
from thinwire.lab.advise.rows import NONE, Row, described, row
from thinwire.lab.advise.subject import BadSubject, Subject
from thinwire.lab.advise.times import floor_s
from thinwire.lab.advise.verdict import judge
from thinwire.lab.environment import environment
from thinwire.lab.links import Link
from thinwire.lab.one_thread import threads
from thinwire.lab.traces import Trace
from thinwire.policy import Signals
from thinwire.zoo import compressor

SCHEMA = "thinwire.advise/1"
WAYS = {"up": ("up",), "down": ("down",), "both": ("down", "up")}
LOSSLESS = "lossless"
GOALS = ("ErrorBound(nmse=0.01)", "ErrorBound(nmse=0.1)", "ByteBudget(ratio=64)")
FOR_UPDATES = (NONE, LOSSLESS, "int8", "topk", "auto", *GOALS)
FOR_MODELS = (
    NONE,
    LOSSLESS,
    "int8",
    "Uniform(bits=4, block=64)",
    "ErrorBound(nmse=0.001)",
    "ErrorBound(nmse=0.0001)",
)
MOST_NMSE_OF_UPDATES, MOST_NMSE_OF_MODELS = 0.25, 0.001
"""The largest errors to advise: what error feedback makes up for, and what a model that is sent whole bears."""
_ALL_THE_SAME = "no tensor here may lose bits: every option sends what lossless sends"
LATE = 100
"""The round that policies are told: warm-ups are over by then."""
OnOption = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Settings:
    """What is asked. None: what fits the subject. Raises ValueError for what cannot be."""

    options: tuple[str, ...] = ()
    direction: str = "up"
    clients: int = 1
    compute_s: float | None = None
    most_nmse: float | None = None
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.direction not in WAYS:
            raise ValueError(f"direction is {self.direction!r}, expected up, down or both")
        if self.clients < 1 or self.threads < 1:
            raise ValueError(f"clients is {self.clients} and threads {self.threads}, expected 1 or more")
        if self.threads > (os.cpu_count() or 1):
            raise ValueError(f"threads is {self.threads}, expected at most the number of cores, {os.cpu_count() or 1}")
        if self.most_nmse is not None and not 0 <= self.most_nmse <= 1:
            raise ValueError(f"nmse is {self.most_nmse!r}, expected 0 to 1")
        if not 0 <= self.seed < 1 << 31:
            raise ValueError(f"seed is {self.seed}, expected 0 to 2**31 - 1")
        for option in self.options:
            compressor(option, "up"), compressor(option, "down")

    def asked(self, subject: Subject) -> tuple[str, ...]:
        """Return the options that were asked for, or the usual ones, the dense one first."""
        usual = FOR_MODELS if subject.whole else FOR_UPDATES
        return tuple(dict.fromkeys((NONE, *(self.options or usual))))

    def chosen(self, subject: Subject) -> tuple[str, ...]:
        """Return those to measure: where nothing may lose bits, all are one and the same."""
        return self.asked(subject) if subject.may_lose else (NONE, LOSSLESS)

    def limit(self, subject: Subject) -> float:
        """Return the largest error to advise."""
        usual = MOST_NMSE_OF_MODELS if subject.whole else MOST_NMSE_OF_UPDATES
        return usual if self.most_nmse is None else self.most_nmse

    def compute(self, subject: Subject) -> float:
        """Return the seconds of training in a round."""
        return (subject.compute_s or 0.0) if self.compute_s is None else self.compute_s


def advise(subject: Subject, link: Link, settings: Settings, on_option: OnOption | None = None) -> dict[str, Any]:
    """Measure every option and return the answer; ``on_option`` gets each one, its number and how many, at its turn.

    An option that cannot take these tensors is under ``skipped`` with its reason. Raises BadSubject where they cannot
    be sent at all.
    """
    rows: list[Row] = []
    options, compute_s = settings.chosen(subject), settings.compute(subject)
    skipped = {option: _ALL_THE_SAME for option in settings.asked(subject) if option not in options}
    with threads(settings.threads):
        for number, option in enumerate(options):
            if on_option:
                on_option(option, number, len(options))
            try:
                measured = {way: _measured(option, way, subject, link, settings) for way in WAYS[settings.direction]}
            except ValueError as error:
                if option == NONE:
                    raise BadSubject(f"{subject.name} cannot be sent: {error}") from error
                skipped[option] = str(error)
            else:
                rows.append(row(option, measured, link, compute_s, settings.clients))
    return _answer(rows, skipped, subject, link, settings)


def _measured(option: str, way: str, subject: Subject, link: Link, settings: Settings) -> Measured:
    # The sample over its share of the link takes as long as all of it over the link: a deadline stays what it is.
    bandwidth_bps = link.mean_bps * subject.share
    signals = Signals(round=LATE, rounds=LATE, bandwidth_bps=bandwidth_bps, latency_s=link.latency_s)
    measured = measure(_for_sample(compressor(option, way), subject), subject, signals, settings.seed)
    return free(measured) if option == NONE else measured


def _for_sample(given: Compressor, subject: Subject) -> Compressor:
    """Return a compressor whose budget in bytes is the sample's share of what was meant for all."""
    policy: Any = given.policy
    total_bytes = getattr(policy, "total_bytes", None)
    if total_bytes is None or not subject.sampled:
        return given
    return replace(given, policy=replace(policy, total_bytes=max(1, round(total_bytes * subject.share))))


def _answer(
    rows: Sequence[Row], skipped: dict[str, str], subject: Subject, link: Link, settings: Settings
) -> dict[str, Any]:
    least_s, limit = floor_s(link, rows[0].legs, settings.compute(subject)), settings.limit(subject)
    return {
        "schema": SCHEMA,
        "settings": asdict(settings)
        | {"options": settings.chosen(subject), "most_nmse": limit, "compute_s": settings.compute(subject)},
        "environment": environment(),
        "subject": {
            "name": subject.name,
            "about": subject.about,
            "elements": subject.elements,
            "dense_bytes": round(subject.dense_bytes),
            "sample_bytes": subject.sample_bytes,
            "sampled": subject.sampled,
            "synthetic": subject.synthetic,
            "whole": subject.whole,
        },
        "link": {
            "mean_bps": link.mean_bps,
            "rtt_s": link.rtt_s,
            "trace_s": link.bandwidth.duration_s if isinstance(link.bandwidth, Trace) else None,
            "floor_s": least_s,
            "dense_wire_s": 8 * rows[0].sent_bytes / link.mean_bps,
        },
        "rows": described(rows, limit),
        "skipped": skipped,
        "verdict": asdict(judge(rows, limit, link.mean_bps, least_s)),
    }
