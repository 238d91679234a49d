"""Numbers as people read them: decimal bytes, three significant digits, signs that can be seen."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from thinwire.lab.report.model import Metric, Spread

NONE = "–"
_BYTES = ((1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB"))
_SECONDS = ((1e-6, "µs"), (1e-3, "ms"), (1, "s"), (60, "min"), (3600, "h"))


def size(value_bytes: float | None) -> str:
    """Return bytes in decimal units: 1310000 -> '1.31 MB'."""
    return NONE if value_bytes is None else _scaled(value_bytes, _BYTES)


def size_tick(value_bytes: float) -> str:
    """Return round bytes on an axis: 10000000 -> '10 MB'."""
    return re.sub(r"\.0+(?= )|(?<=\.\d)0+(?= )", "", size(value_bytes))


def seconds_tick(value_s: float) -> str:
    """Return a round duration on an axis: 0.02 -> '20 ms'."""
    return re.sub(r"\.0+(?= )|(?<=\.\d)0+(?= )", "", seconds(value_s))


def seconds(value_s: float | None) -> str:
    """Return a duration: 0.0213 -> '21.3 ms'."""
    return NONE if value_s is None else _scaled(value_s, _SECONDS)


def significant(value: float) -> str:
    """Return three significant digits without an exponent: 31.42 -> '31.4', 1234 -> '1234'."""
    if not value:
        return "0"
    exponent = math.floor(math.log10(float(f"{abs(value):.2e}")))
    return f"{value:.{max(0, 2 - exponent)}f}"


def ratio(value: float | None) -> str:
    """Return how many times fewer: '31.4×'."""
    return NONE if value is None else f"{significant(value)}×"


def round_ratio(value: float) -> str:
    """Return a ratio for a headline: whole from ten on, '31×'."""
    return f"{value:.0f}×" if value >= 9.95 else ratio(value)


def nmse(value: float | None) -> str:
    """Return an error with two digits: '0.012', '1.2e-05'."""
    return NONE if value is None else f"{value:.2g}"


def plain_tick(value: float) -> str:
    """Return a round number on an axis, all of its digits: '0.0125', '1e-05'."""
    return f"{value:.6g}"


def share(value: float | None) -> str:
    """Return a fraction as percent with two or three digits: '2.1%'."""
    if value is None:
        return NONE
    tiny = 0 < value < 0.0005
    return "<0.1%" if tiny else f"{100 * value:.0f}%" if value >= 0.0995 else f"{100 * value:.2g}%"


def metric(kind: Metric, value: float) -> str:
    """Return a metric: '97.12%' or '0.9712'."""
    return f"{100 * value:.2f}%" if kind.percent else f"{value:.4f}"


def tick(kind: Metric, value: float) -> str:
    """Return a metric on an axis: '97.5%' or '0.975'."""
    return f"{round(100 * value, 2):g}%" if kind.percent else f"{round(value, 4):g}"


def metric_spread(kind: Metric, value: Spread) -> str:
    """Return mean and standard deviation: '97.12% ± 0.21', without the latter for one seed."""
    deviation = "" if value.sd is None else f" ± {_plain(kind, value.sd)}"
    return metric(kind, value.mean) + deviation


def difference(kind: Metric, value: float) -> str:
    """Return a signed difference without its unit: '−0.12' (percentage points, or percent) or '+0.0031'."""
    text = f"{100 * abs(value):.2f}" if kind.relative else _plain(kind, abs(value))
    return text if not float(text) else f"{'−' if value < 0 else '+'}{text}"


def points(kind: Metric, value: float) -> str:
    """Return a distance with its unit, long: '0.5 percentage points' or '0.005'."""
    if kind.relative:
        return f"{round(100 * value, 4):g}%"
    return counted(round(100 * value, 4), "percentage point") if kind.percent else f"{round(value, 6):g}"


def unit(kind: Metric) -> str:
    """Return the unit of a difference: percentage points, percent, or none."""
    return "pp" if kind.percent else "%" if kind.relative else ""


def ceiling(kind: Metric, value: float) -> float:
    """Round a distance up to 0.1 percentage points or 0.001, so that 'within' stays true."""
    return math.ceil(round(value * 1000, 6)) / 1000


def counted(number: float, noun: str) -> str:
    """Return a number and its noun: '1 seed', '3 seeds'."""
    return f"{number:g} {noun}{'' if number == 1 else 's'}"


def _plain(kind: Metric, value: float) -> str:
    return f"{100 * value:.2f}" if kind.percent else f"{value:.4f}"


def _scaled(value: float, units: Sequence[tuple[float, str]]) -> str:
    if not value:
        return f"0 {'B' if units is _BYTES else 's'}"
    rounded = float(f"{value:.2e}")
    factor, unit = next((item for item in reversed(units) if rounded >= item[0]), units[0])
    return f"{value:.0f} B" if unit == "B" else f"{significant(value / factor)} {unit}"
