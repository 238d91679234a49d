"""The picture of `Deadline` on traces, from its JSON.

    python bench/deadline_chart.py results/deadline.json results/deadline.svg

One line a set of traces: how much distortion each way of sending left, and by each mark the share of rounds on time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from thinwire.files import write_files
from thinwire.lab.report import theme
from thinwire.lab.report.frame import Margins, frame, log_padded
from thinwire.lab.report.svg import canvas, line, tag, text
from thinwire.lab.report.theme import colour

SIZE = (860, 560)
TOP, STEP = 110, 68
HUES = {"Deadline": "c0", "best fixed": "c1", "mean": "c2", "last-sample": "c3"}
WORDS = {
    "Deadline": "Deadline", "best fixed": "the best of one setting for all",
    "mean": "mean of earlier rounds", "last-sample": "last round",
}  # fmt: skip
ADAPTIVE = ("Deadline", "last-sample", "mean")


def svg(result: Mapping[str, Any]) -> str:
    """Return the picture."""
    rows = [(row["id"], _marks(row["policies"])) for row in result["rows"]]
    values = [mark["distortion"] for _, marks in rows for mark in marks.values()]
    plot = frame(SIZE, log_padded(values), (0, 1), Margins(112, 40, TOP, 46), log="x")
    lines = [_line(plot.x, name, marks, TOP + 20 + STEP * at) for at, (name, marks) in enumerate(rows)]
    axes = plot.columns(lambda value: f"{value:g}"), plot.titles("mean NMSE (a late message counts 1; log scale)", "")
    back = tag("rect", x=0.5, y=0.5, width=SIZE[0] - 1, height=SIZE[1] - 1, rx=10, fill=colour("card"))
    picture = canvas(
        SIZE, "Deadline on bandwidth traces", back, _head(), *axes, *lines, xmlns="http://www.w3.org/2000/svg",
        width=SIZE[0], height=SIZE[1], font_family=theme.FONT,
    )  # fmt: skip
    return theme.literal(str(picture)) + "\n"


def _marks(policies: Mapping[str, Any]) -> dict[str, Any]:
    fixed = [value for name, value in policies.items() if name not in ADAPTIVE]
    marks = {name: policies[name] for name in ADAPTIVE}
    return marks | ({"best fixed": min(fixed, key=lambda value: value["distortion"])} if fixed else {})


def _head() -> Markup:
    title = text(
        24, 34, "What 20 clients lose to a deadline of 60 s", font_size=18, font_weight=650, fill=colour("ink")
    )
    about = "Each line a set of real bandwidth traces; beside each mark, the client rounds on time"
    keys = [_key(24 + 205 * at - 100 * (at > 0), name) for at, name in enumerate(HUES)]
    return tag("g", title, text(24, 54, about, font_size=12.5, fill=colour("muted")), *keys)


def _key(x: float, name: str) -> Markup:
    mark = tag("circle", cx=x + 5, cy=75, r=5, fill=colour(HUES[name]))
    return tag("g", mark, text(x + 15, 79, WORDS[name], font_size=12, fill=colour("muted")))


def _line(scale: Any, name: str, marks: Mapping[str, Any], y: float) -> Markup:
    across = line(scale.start, y, scale.end, y, stroke=colour("line"))
    dots = [_dot(scale(mark["distortion"]), y, kind, mark["on_time"], marks) for kind, mark in marks.items()]
    return tag("g", across, text(24, y + 4, name, font_size=13, font_weight=650, fill=colour("ink")), *dots)


def _dot(x: float, y: float, kind: str, on_time: float, marks: Mapping[str, Any]) -> Markup:
    above = kind in ("Deadline", "mean")
    words = text(x, y - 10 if above else y + 20, f"{100 * on_time:.0f}%", anchor="middle", fill=colour(HUES[kind]))
    title = tag("title", f"{WORDS[kind]}: NMSE {marks[kind]['distortion']:.3f}, {100 * on_time:.1f} % on time")
    return tag("g", title, tag("circle", cx=x, cy=y, r=6, fill=colour(HUES[kind])), words)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write_files({Path(sys.argv[2]): svg(json.loads(Path(sys.argv[1]).read_text()))})


if __name__ == "__main__":
    main()
