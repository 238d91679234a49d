"""Client-side differential privacy: what the server decodes of a client stays within the clipping norm."""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from flwr.app import Context
from torch import Tensor

from thinwire.codec import decode
from thinwire.delta import plus
from thinwire.flower.records import Arrays
from thinwire.flower.update import Update, View
from thinwire.kernels.distortion import rms

_log = logging.getLogger("thinwire")


def warn_unless_clipped(arrays: Arrays, view: View, norm: float, others: float, context: Context) -> None:
    """Say that an update is about to be shortened that was not clipped: the app may mean another thing by the norm."""
    bases = {name: view.bases.get(name) for name in arrays.tensors}
    changes = (
        x.double() - base.double()
        for name, x in arrays.tensors.items()
        if (base := bases[name]) is not None and base.shape == x.shape
    )
    own = math.sqrt(others + sum(_squares(change.nan_to_num(0.0, 0.0, 0.0)) for change in changes))
    if own > 1.01 * norm:
        _log.warning(
            "the update of node %s has a norm of %.4g, over the clipping_norm of %.4g that its message names, and is "
            "scaled to that. With a differentially private strategy, let its clipping mod run inside thinwire's; if "
            "clipping_norm means another thing in this app, call it otherwise in the config of its messages.",
            context.node_id,
            own,
            norm,
        )


def scale_within(update: Update, view: View, norm: float, others: float) -> float:
    """Return the factor on decoded differences that keeps the whole contribution within a norm.

    Compression may lengthen an update that was clipped, and what it adds must not count against other clients'
    privacy. What travels as it is cannot be shortened, and was not lengthened; ``others``: the energy of what travels
    beside the update. What the server's sum rounds is allowed for, in the dtype that it has.
    """
    fixed, scaled, rounding = others, 0.0, 0.0
    for at, (name, encoded) in enumerate(update.message.items()):
        x, base = decode(encoded), view.bases.get(name)
        base = base if base is not None and base.shape == x.shape else None
        if x.dtype.is_floating_point:
            known = _squares(x) + (_squares(base) if base is not None else 0.0)
            rounding += (2 * torch.finfo(x.dtype).eps) ** 2 * known
        if at not in update.verbatim and x.dtype.is_floating_point:
            scaled += _squares(x)
            continue
        value = x if at in update.verbatim or base is None else plus(base, x)
        change = value.double() - (0.0 if base is None else base.double())
        fixed += _squares(change.nan_to_num(0.0, 0.0, 0.0))  # NaN and infinity are only taken where the model has them
    room = max(0.0, norm * (1 - 1e-6) - math.sqrt(rounding)) ** 2 - fixed
    if scaled <= room:
        return 1.0
    factor = np.float32(math.sqrt(max(0.0, room) / scaled))
    return float(np.nextafter(factor, np.float32(0)))


def _squares(x: Tensor) -> float:
    """Return the energy of a tensor, summed in float64."""
    return rms(x.double()) ** 2 * x.numel()
