"""What every feedback does: before encoding it makes the target, afterwards it says what to keep."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from thinwire.codec import Encoded, State


class Feedback(Protocol):
    """What a compressor adds to a tensor before encoding, and keeps of it afterwards.

    It holds no state itself. What it keeps of one tensor is a small State: at most the names in ``keeps``, each a
    tensor of the same shape in the working dtype. A name that is missing counts as zeros.
    """

    @property
    def keeps(self) -> tuple[str, ...]:
        """Names of what is kept. ``residual`` is what was not sent."""
        ...

    def target(self, x: Tensor, kept: State) -> tuple[Tensor, State]:
        """Return what should be sent, and what else is to be kept (no residual among it).

        All are new contiguous tensors in x's working dtype, the compressor's to change; ``x`` and ``kept`` stay as
        they are.
        """
        ...

    def keep(self, left: Tensor | None, pending: State, sent: Encoded) -> State:
        """Return what to keep: ``left`` is ``target - sent`` (None: nothing), ``pending`` what ``target`` returned.

        Both are the feedback's to change.
        """
        ...
