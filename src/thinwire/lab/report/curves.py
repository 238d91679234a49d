"""Lines with names: at the right edge where all end there, on flags above where each ends somewhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from thinwire.lab.report import flags
from thinwire.lab.report.dots import Dot, width
from thinwire.lab.report.frame import Domain, Frame, Margins, frame
from thinwire.lab.report.labels import Spot, spread
from thinwire.lab.report.marks import along, shape
from thinwire.lab.report.svg import Style, line, path, shorten, tag, text, width_of
from thinwire.lab.report.theme import colour

_SAMPLE = 26
"""Pixels of a line beside its name."""


@dataclass(frozen=True)
class Track:
    """One line in the units of the axes: its name, its title and, if given, one a point."""

    name: str
    points: Sequence[Spot]
    title: str
    hue: str
    dash: str = ""
    strong: bool = False
    hollow: bool = False
    spots: Sequence[str] = ()
    marker: str = "circle"
    place: int = 0
    """Which of the lines it is: where its shapes are."""

    @property
    def style(self) -> Style:
        """How it is drawn."""
        dash: Style = {"stroke_dasharray": self.dash} if self.dash else {}
        return {"stroke": self.hue, "stroke_width": 3 if self.strong else 1.75} | dash


def beside(tracks: Sequence[Track], size: Domain, x: Domain, y: Domain, log: str, left: float) -> tuple[Frame, Markup]:
    """Return a frame and the lines in it, their names to the right of their ends."""
    right = 26 + _SAMPLE + max(width_of(shorten(track.name)) * (1.15 if track.strong else 1) for track in tracks)
    plot = frame(size, x, y, Margins(left, right), log)
    wanted = [_inside(plot, plot.y(track.points[-1][1])) for track in tracks]
    ends = spread(wanted, 15, plot.box.top, plot.box.bottom)
    drawn = [_beside(plot, track, end) for track, end in zip(tracks, ends, strict=True)]
    return plot, tag("g", *drawn, class_="series-set")


def flagged(
    tracks: Sequence[Track], size: Domain, x: Domain, y: Domain, log: str, left: float = 46
) -> tuple[Frame, Markup]:
    """Return a frame and the lines in it, their names on flags above their ends."""
    plot = _room_for_names(tracks, size, lambda room: frame(size, x, y, room, log), left)
    lines = [tag("g", _line(plot, track), class_="series") for track in tracks]
    names = flags.draw([_end(plot, track) for track in tracks], plot.box.top)
    return plot, tag("g", plot.clip(*lines), names, class_="series-set")


def _room_for_names(tracks: Sequence[Track], size: Domain, make: Callable[[Margins], Frame], left: float) -> Frame:
    plot = make(Margins(left))
    ends = [_end(plot, track) for track in tracks]
    shares = [(end.x - plot.x.start) / (plot.x.end - plot.x.start) for end in ends]
    beyond = [(end.x + width(end) + 8 - size[0]) / share for end, share in zip(ends, shares, strict=True) if share]
    steps = flags.levels([end.x for end in ends], [width(end) for end in ends])
    return make(Margins(left, right=14 + max(0.0, *beyond), top=30 + flags.STEP * (max(steps) + 2)))


def _pixels(plot: Frame, track: Track) -> list[Spot]:
    return [(plot.x(x), plot.y(y)) for x, y in track.points]


def _inside(plot: Frame, y: float) -> float:
    return min(max(y, plot.box.top), plot.box.bottom)


def _line(plot: Frame, track: Track) -> Markup:
    pixels = _pixels(plot, track)
    titles = zip(pixels, track.spots, strict=False)
    targets = [tag("circle", tag("title", words), cx=x, cy=y, r=6) for (x, y), words in titles]
    shapes = along(track.marker, pixels, track.hue, track.place)
    return tag("g", path(pixels, **track.style), shapes, tag("g", *targets, fill="transparent"))


def _end(plot: Frame, track: Track) -> Dot:
    x, y = _pixels(plot, track)[-1]
    y = _inside(plot, y)
    return Dot(x, y, y, y, track.name, track.title, track.hue, track.strong, track.hollow, track.marker)


def _beside(plot: Frame, track: Track, end: float) -> Markup:
    x, y = _pixels(plot, track)[-1]
    edge, y = plot.x.end, _inside(plot, y)
    leader = line(x + 3, y, edge + 10, end, stroke=colour("axis"))
    # The line itself again: where many end together, a leader alone does not say whose name it is.
    sample = line(edge + 11, end, edge + 11 + _SAMPLE, end, **track.style)
    weight = 650 if track.strong else 400
    label = text(edge + 15 + _SAMPLE, end + 4, shorten(track.name), fill=colour("ink"), font_weight=weight)
    dot = shape(track.marker, x, y, 3.2, track.hue, track.hollow)
    sample = tag("g", sample, shape(track.marker, edge + 11 + _SAMPLE / 2, end, 3.2, track.hue, track.hollow))
    return tag(
        "g", tag("title", track.title), plot.clip(_line(plot, track)), leader, dot, sample, label, class_="series"
    )
