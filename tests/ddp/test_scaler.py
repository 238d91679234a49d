"""Loss scales: taken out before anything is encoded, and an overflow skips the step on all ranks."""

from __future__ import annotations

import scalers
from ranks import Ranks


def test_a_loss_scale_changes_no_bit(ranks: Ranks) -> None:
    """The scale doubles on its way; residuals are in the gradient's own unit."""
    assert ranks.run(scalers.scaled, 256.0) == ranks.run(scalers.scaled, None)


def test_an_overflow_skips_the_step_and_keeps_the_residuals(ranks: Ranks) -> None:
    found = ranks.run(scalers.overflow_on_rank_0)
    assert {each[:3] for each in found} == {(True, True, 512.0)}
    assert len({each[3] for each in found}) == 1
