"""Bandwidth traces of real links, and how long a message takes over them."""

from __future__ import annotations

from thinwire.lab.traces.formats import parse
from thinwire.lab.traces.sets import SETS, TraceSet, load
from thinwire.lab.traces.trace import BadTrace, Trace

__all__ = ["SETS", "BadTrace", "Trace", "TraceSet", "load", "parse"]
