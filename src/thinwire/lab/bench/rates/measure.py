"""Every method on every update, at every error: sizes, ratios, speeds. One JSON-able result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from thinwire.lab.bench.rates.bound import ORDER0
from thinwire.lab.bench.rates.cases import GROUPS, NAMES, Case, cases
from thinwire.lab.bench.rates.claims import claims
from thinwire.lab.bench.rates.figures import figures
from thinwire.lab.bench.rates.method import Method, Point
from thinwire.lab.bench.rates.ours import TEXTS, goal, ours
from thinwire.lab.bench.rates.rivals import PACKAGES, missing, rivals
from thinwire.lab.bench.rates.sparseloco import sparseloco
from thinwire.lab.bench.rates.speeds import speeds
from thinwire.lab.bench.selectors import chosen
from thinwire.lab.environment import environment
from thinwire.lab.one_thread import one_thread
from thinwire.registry import parse

SCHEMA = "thinwire.updates/1"
ERRORS = (0.3, 0.1, 0.01, 0.001)
CURVE = (0.7, 0.5, 0.03, 1e-4, 1e-5)
"""More errors, for our quantizers alone: methods of a fixed rate are compared where they are."""

Row = dict[str, Any]
OnStep = Callable[[str, str], None]


@dataclass(frozen=True)
class Settings:
    """What is measured. Raises ValueError for unknown names, texts that do not parse and numbers out of range."""

    updates: tuple[str, ...] = ()
    codecs: tuple[str, ...] = TEXTS
    errors: tuple[float, ...] = ERRORS
    curve: tuple[float, ...] = CURVE
    side: int = 1024
    speed_side: int = 2048
    repeats: int = 5
    seed: int = 0

    QUICK: ClassVar[dict[str, Any]] = {
        "updates": ("mlp-sgd", "laplace"),
        "errors": (0.1, 0.01),
        "curve": (),
        "side": 256,
        "speed_side": 512,
        "repeats": 1,
    }
    """What `--quick` measures."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "updates", chosen("update", self.updates, NAMES, GROUPS))
        for text in self.codecs:
            ours(text)
        for nmse in (*self.errors, *self.curve):
            if not 0 < nmse < 1:
                raise ValueError(f"an error is {nmse}, expected more than 0 and less than 1")
        for name in ("side", "speed_side", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if not 0 <= self.seed < 1 << 31:
            raise ValueError(f"seed is {self.seed}, expected 0 to 2**31 - 1")

    @property
    def methods(self) -> tuple[Method, ...]:
        """Ours, the bound and the rivals that are installed."""
        return (*map(ours, self.codecs), ORDER0, *rivals())

    @property
    def steps(self) -> int:
        """How often `on_step` will be called."""
        return len(self.updates) * len(self.methods)


def measure(settings: Settings, root: Path | None = None, on_step: OnStep | None = None) -> dict[str, Any]:
    """Return the result. `root` is a data folder for better recordings; see `lab.updates`.

    `on_step` is called with a case's and a method's name when that is done. One thread of torch.
    """
    found: list[Row] = []
    facts, payloads = [], []
    with one_thread():
        for case in cases(settings.updates, settings.side, root, settings.seed):
            facts.append({"name": case.name} | dict(case.facts))
            payloads += sparseloco(case)
            found += _rows(case, settings, on_step)
        timed = list(speeds(settings.codecs, settings.speed_side, settings.repeats, settings.seed))
    ratios = figures(found, settings.errors)
    return {
        "schema": SCHEMA,
        "settings": asdict(settings),
        "environment": environment() | {name: version(name) for name in PACKAGES if name not in missing()},
        "skipped": list(missing()),
        "methods": [{"name": m.name, "kind": m.kind, "summary": m.summary} for m in settings.methods],
        "cases": facts,
        "rows": found,
        "figures": ratios,
        "sparseloco": payloads,
        "claims": claims(ratios, payloads),
        "speeds": timed,
    }


def _rows(case: Case, settings: Settings, on_step: OnStep | None) -> Iterator[Row]:
    for method in settings.methods:
        more = settings.curve if method.kind == "ours" and goal(parse(method.name)) == "step" else ()
        errors = sorted({*settings.errors, *more}, reverse=True)
        yield from (_row(case, method, point) for point in method.points(case, errors))
        if on_step:
            on_step(case.name, method.name)


def _row(case: Case, method: Method, point: Point) -> Row:
    at = f"{point.asked:g}" if point.asked is not None else point.setting
    return {
        "id": f"{case.name}:{at}:{method.name}".replace(" ", "-"),
        "case": case.name,
        "method": method.name,
        "kind": method.kind,
        "asked": point.asked,
        "setting": point.setting,
        "nmse": point.sent.nmse,
        "bytes": point.sent.bytes,
        "bits": 8 * point.sent.bytes / case.elements,
    }
