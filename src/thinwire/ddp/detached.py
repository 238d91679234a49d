"""What a copy of a model has in place of the compression of its original."""

from __future__ import annotations

COPIED = (
    "a copy of a model whose gradients are compressed has no hook, as with any hook of torch: call "
    "compress_gradients(copy, ...) if the copy is trained. What was not sent yet is not copied either: see state_dict()"
)


class Detached:
    """Stands for a GradientCompression in a copy of its model, and does nothing."""
