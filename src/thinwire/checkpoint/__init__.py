"""Checkpoints as compressed files: whole ones, or the difference between two. docs/checkpoints.md is the contract.

Everything streams: memory is that of a few slices, however large the model.
"""

from thinwire.checkpoint.bounds import Bounded
from thinwire.checkpoint.goals import Goal, Lossless, WithCodec
from thinwire.checkpoint.pack import PackReport, pack
from thinwire.checkpoint.packed import PackedFile, open_packed
from thinwire.checkpoint.spend import Budget
from thinwire.checkpoint.unpack import UnpackReport, unpack
from thinwire.errors import CheckpointError

__all__ = [
    "Bounded",
    "Budget",
    "CheckpointError",
    "Goal",
    "Lossless",
    "PackReport",
    "PackedFile",
    "UnpackReport",
    "WithCodec",
    "open_packed",
    "pack",
    "unpack",
]
