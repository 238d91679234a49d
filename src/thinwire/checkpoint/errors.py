"""What a user of checkpoints gave that cannot be."""

from __future__ import annotations


class CheckpointError(ValueError):
    """What was given, what was expected, what to do: a file, a base or a goal does not fit. Nothing was written."""
