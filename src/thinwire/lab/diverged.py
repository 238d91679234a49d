"""What every kind of run raises where training left the numbers."""

from __future__ import annotations


class Diverged(RuntimeError):
    """A loss or a metric is NaN or infinite: the text says whose, when, and what to try."""
