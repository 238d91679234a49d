"""Charts with one line per thing: bytes by direction, codec time, bytes by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from markupsafe import Markup

from thinwire.lab.report import theme, units
from thinwire.lab.report.model import BASELINE, Configuration, Report, TensorRow
from thinwire.lab.report.svg import Scale, canvas, line, shorten, tag, text, width_of
from thinwire.lab.report.tables import largest
from thinwire.lab.report.theme import colour

_STEP = 27
_TOP = 26
_GAP = 8
_ROW = 18
_LONGEST = 4
"""Uncompressed is drawn beside the others up to this many times their longest bar; beyond, it is put in words."""


Key = tuple[tuple[str, str], ...]
"""Of every part of the bars of a chart: its colour, and what it is."""
_DIRECTIONS: Key = (("up", "up, to the server"), ("down", "down, to clients"))


@dataclass(frozen=True)
class Bar:
    """One stacked bar, the words shown when it is pointed at, and those at its end."""

    name: str
    parts: tuple[float, ...]
    title: str
    note: str
    aside: str
    strong: bool = False

    @property
    def total(self) -> float:
        """Its length."""
        return sum(self.parts)


def bytes_by_direction(report: Report, width: float) -> Markup:
    """Return one bar per configuration, up and down."""
    rows = [row for row in report.configurations if row.group != BASELINE]
    longest = max((row.total_bytes for row in rows), default=0)
    base = report.find(BASELINE)
    fits = base is not None and base.total_bytes <= _LONGEST * longest
    shown = [*rows, base] if base and (fits or not rows) else rows
    bars = [_bar(row, row.group == report.verdict.winner) for row in shown]
    words = _beyond(base) if base and base not in shown else ""
    return bars_of("Bytes by direction", bars, _DIRECTIONS, width, words)


def bytes_by_tensor(report: Report, width: float) -> Markup:
    """Return one bar per tensor of the best configuration."""
    rows = largest(report.best) if report.best else ()
    whole = sum(row.total_bytes for row in rows) or 1
    bars = [_tensor(row, row.total_bytes / whole) for row in rows]
    return bars_of("Bytes by tensor", bars, _DIRECTIONS, width) if bars else Markup("")


def codec_time(report: Report, width: float) -> Markup:
    """Return codec time and training time per round, as two dots on one line per configuration."""
    rows = [row for row in report.configurations if row.codec_s and row.train_s]
    if not rows:
        return Markup("")
    left, right = _column([row.group for row in rows]), 66
    ends = [second for row in rows for second in (row.codec_s, row.train_s)]
    x = Scale(min(ends) / 1.4, max(ends) * 1.4, left, width - right, log=True)
    height = _TOP + _STEP * len(rows) + 40
    hues = theme.series(report)
    drawn = [_pair(at, row, x, hues[row.group], width) for at, row in enumerate(rows)]
    heads = [
        text(x(rows[0].codec_s), 14, "codec", anchor="middle", fill=colour("muted")),
        text(x(rows[0].train_s), 14, "training", anchor="middle", fill=colour("muted")),
        text(width, 14, "share", anchor="end", fill=colour("muted")),
    ]
    return canvas((width, height), "Codec time and training time per round", _axis(x, height), *heads, *drawn)


def _bar(row: Configuration, strong: bool) -> Bar:
    ratio = units.ratio(row.total_ratio) if row.total_ratio else ""
    return _sized(row.group, row.up_bytes, row.down_bytes, ratio, strong)


def _tensor(row: TensorRow, part: float) -> Bar:
    return _sized(row.name, row.up_bytes, row.down_bytes, units.share(part))


def _sized(name: str, up: float, down: float, aside: str, strong: bool = False) -> Bar:
    title = f"{name}: {units.size(up)} up, {units.size(down)} down"
    return Bar(name, (up, down), title, units.size(up + down), aside, strong)


def _beyond(base: Configuration) -> str:
    return f"{base.group}: {units.size(base.total_bytes)}, too long for this scale"


def bars_of(label: str, bars: Sequence[Bar], key: Key, width: float, words: str = "") -> Markup:
    """Return stacked bars under a key of their parts; `words` go below."""
    left = _column([bar.name for bar in bars])
    right = 10 + _GAP + max(_written(bar) + width_of(bar.aside) for bar in bars)
    x = Scale(0, max(bar.total for bar in bars) or 1, left, width - right)
    rows, swatches = _key(key, left, width)
    top = _TOP + _ROW * (rows - 1)
    height = top + _STEP * len(bars) + (26 if words else 4)
    drawn = [_stack(top + _STEP * at, bar, key, x) for at, bar in enumerate(bars)]
    note = text(0, height - 6, words, fill=colour("muted")) if words else Markup("")
    return canvas((width, height), label, swatches, *drawn, note)


def _key(key: Key, left: float, width: float) -> tuple[int, Markup]:
    """Return how many lines the key takes, and the key."""
    x, y, parts = left, 0, list[Markup]()
    for name, words in key:
        wide = 32 + width_of(words)
        if parts and x + wide > width + 16:
            x, y = left, y + 1
        parts.append(_swatch(x, _ROW * y, name, words))
        x += wide
    return y + 1, tag("g", *parts, fill=colour("muted"))


def _swatch(x: float, y: float, name: str, words: str) -> Markup:
    box = tag("rect", x=x, y=y + 4, width=11, height=11, rx=2, fill=colour(name))
    return tag("g", box, text(x + 17, y + 14, words))


def _stack(y: float, bar: Bar, key: Key, x: Scale) -> Markup:
    ends = [x(value) for value in accumulate(bar.parts, initial=0.0)]
    parts = [
        tag("rect", x=start, y=y + 4, width=max(end - start, 0), height=17, fill=colour(name))
        for (start, end), (name, _) in zip(pairwise(ends), key, strict=True)
    ]
    note = text(ends[-1] + 7, y + 17, bar.note, fill=colour("ink"), font_weight=650 if bar.strong else 400)
    aside = text(ends[-1] + 7 + _GAP + _written(bar), y + 17, bar.aside, fill=colour("muted"))
    return tag("g", tag("title", bar.title), *parts, note, aside, _label(y, bar.name, x.start, bar.strong))


def _written(bar: Bar) -> float:
    return width_of(bar.note) * (1.12 if bar.strong else 1)


def _label(y: float, name: str, left: float, strong: bool = False) -> Markup:
    weight = 650 if strong else 400
    return text(left - 10, y + 17, shorten(name), anchor="end", fill=colour("ink"), font_weight=weight)


def _column(names: Sequence[str]) -> float:
    return 12 + max(width_of(shorten(name)) for name in names)


def _pair(at: int, row: Configuration, x: Scale, hue: str, width: float) -> Markup:
    y = _TOP + _STEP * at + 13
    codec, train = x(row.codec_s), x(row.train_s)
    title = f"{row.group}: codec {units.seconds(row.codec_s)}, training {units.seconds(row.train_s)} per round"
    dots = (
        tag("circle", cx=codec, cy=y, r=5.5, fill=hue),
        tag("circle", cx=train, cy=y, r=5.5, fill=colour("card"), stroke=colour("base"), stroke_width=2),
    )
    share = text(width, y + 4, units.share(row.codec_share), anchor="end", fill=colour("ink"))
    link = line(codec, y, train, y, stroke=colour("axis"))
    return tag("g", tag("title", title), link, *dots, share, _label(y - 13, row.group, x.start))


def _axis(x: Scale, height: float) -> Markup:
    bottom = height - 34
    marks = [_mark(x(value), bottom, units.seconds_tick(value)) for value in x.ticks(x.room)]
    name = text(x.end, height - 2, "per round (log scale)", anchor="end", fill=colour("muted"), font_size=11.5)
    return tag("g", *marks, name)


def _mark(x: float, bottom: float, words: str) -> Markup:
    label = text(x, bottom + 15, words, anchor="middle", fill=colour("muted"))
    return tag("g", line(x, _TOP, x, bottom, stroke=colour("line")), label)
