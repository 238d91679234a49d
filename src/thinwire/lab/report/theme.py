"""Colours, once, for both colour schemes. Series colours stay apart for colour-blind readers."""

from __future__ import annotations

import re

from thinwire.lab.report.kinds import Compared

FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LIGHT = {
    "page": "#fbfaf7",
    "card": "#ffffff",
    "ink": "#1c2126",
    "muted": "#626b74",
    "line": "#e4e2dc",
    "axis": "#b9bab6",
    "keep": "#e7f3ec",
    "good": "#1a7a50",
    "bad": "#b3460f",
    "up": "#2f5d86",
    "down": "#9dbdd8",
    "base": "#6f767d",
    "c0": "#0a62b0",
    "c1": "#b8400c",
    "c2": "#3f9f6b",
    "c3": "#d65ba6",
    "c4": "#bb880e",
    "c5": "#3299d2",
    "c6": "#4a1f86",
    "c7": "#55281a",
}
DARK = {
    "page": "#14171a",
    "card": "#1b1f23",
    "ink": "#ebe9e4",
    "muted": "#9ba3ab",
    "line": "#2d3338",
    "axis": "#555d64",
    "keep": "#182b25",
    "good": "#5cc596",
    "bad": "#f0935a",
    "up": "#7fb2de",
    "down": "#3d6284",
    "base": "#a3aab1",
    "c0": "#5fb0f5",
    "c1": "#e8702a",
    "c2": "#63d69a",
    "c3": "#e07fd0",
    "c4": "#f2cf63",
    "c5": "#aee3ff",
    "c6": "#8a67d6",
    "c7": "#a8705a",
}
_SERIES = 8
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
MARKERS = ("circle", "square", "triangle", "diamond", "cross")


def colour(name: str) -> str:
    """Return the value of an SVG or CSS attribute for a named colour."""
    return f"var(--{name})"


def variables(colours: dict[str, str]) -> str:
    """Return the colours as CSS declarations."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())


def literal(svg: str) -> str:
    """Write the light colours into a picture that stands alone, where no style sheet defines them."""
    return re.sub(r"var\(--([a-z0-9]+)\)", lambda found: LIGHT.get(found[1], found[0]), svg)


def series(report: Compared) -> dict[str, str]:
    """Give each configuration its colour, the same in every chart: grey for the baseline, the first for the first."""
    hues = {name: colour(f"c{at % _SERIES}") for at, name in enumerate(report.hue_order)}
    return {report.baseline: colour("base")} | hues


def dashes(report: Compared) -> dict[str, str]:
    """Return how the line of each configuration is broken: not at all among the first eight, each of its own colour."""
    broken = {name: _DASHES[at // _SERIES % len(_DASHES)] for at, name in enumerate(report.hue_order)}
    return {report.baseline: ""} | broken


def place(report: Compared, group: str) -> int:
    """Return which of the lines a configuration is."""
    return [report.baseline, *report.hue_order].index(group)


def markers(report: Compared) -> dict[str, str]:
    """Return the shape on the line of each configuration: with its colour and dashes no other line's, up to 40.

    Neighbours in the order of colours have different ones, so that lines are told apart without colour too.
    """
    shapes = {name: MARKERS[at % len(MARKERS)] for at, name in enumerate(report.hue_order)}
    return {report.baseline: "circle"} | shapes
