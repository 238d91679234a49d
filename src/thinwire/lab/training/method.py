"""How gradients are averaged, as the user names it: dense, by a stock hook of torch, or compressed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from thinwire.compressor import Compressor
from thinwire.ddp.method import resolved
from thinwire.feedback import MomentumCorrection
from thinwire.lab.training.compared import DENSE, STOCK

__all__ = ["DENSE", "STOCK", "Method", "method"]


@dataclass(frozen=True)
class Method:
    """What averages gradients: ``compressor``, or where it is None what ``text`` names: ``none``, or one of torch's."""

    text: str
    compressor: Compressor | None = None

    @property
    def corrects_momentum(self) -> bool:
        """Whether the momentum is the compressor's, in place of the optimizer's."""
        return self.compressor is not None and isinstance(self.compressor.feedback, MomentumCorrection)


def method(text: str, density: float | None = None, momentum: float | None = None) -> Method:
    """Return the method of a name or a description; ``momentum`` is for one that corrects it, None: as it stands there.

    Raises ValueError on what is unknown, and for a density or a momentum out of range.
    """
    if text == DENSE or text in STOCK:
        if density is not None:
            raise ValueError(f"{text!r} has no density; leave --density out")
        return Method(text)
    made = resolved(text, density)
    if momentum is not None and isinstance(made.feedback, MomentumCorrection):
        made = replace(made, feedback=replace(made.feedback, momentum=momentum))
    return Method(str(made), made)
