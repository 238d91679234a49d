"""How good a selection is, beside the k largest magnitudes, and what it costs as a frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from thinwire.codec import Codec, State, decode, encode_with_history, specs
from thinwire.codecs import Raw, Uniform
from thinwire.wire import dumps, loads

EXACT, EIGHT_BITS = Raw(), Uniform(bits=8)
PAIR_BITS = 32 + 64
"""A value and an index as torch.topk returns them."""


@dataclass(frozen=True)
class Exact:
    """The k largest magnitudes of a tensor, found by partition: the smallest of them, and the sum of their squares."""

    threshold: float
    energy: float

    @classmethod
    def of(cls, target: Tensor, k: int) -> Exact:
        """Partition a copy. 1 <= k <= n."""
        magnitudes = np.partition(target.abs().numpy(), target.numel() - k)[target.numel() - k :]
        return cls(float(magnitudes[0]), _energy(magnitudes))


def selection(target: Tensor, values: Tensor, k: int) -> dict[str, Any]:
    """Return what sending `values` of `target` amounts to, compared with its k largest.

    `threshold_error` is None where the k-th magnitude is zero and so is no threshold; `energy` where all are.
    """
    exact = Exact.of(target, k)
    lowest = float(values.abs().min()) if values.numel() else 0.0
    return {
        "k_asked": k,
        "k_sent": values.numel(),
        "k_ratio": values.numel() / k,
        "threshold_exact": exact.threshold,
        "threshold_sent": lowest,
        "threshold_error": abs(lowest - exact.threshold) / exact.threshold if exact.threshold else None,
        "energy": _energy(values.numpy()) / exact.energy if exact.energy else None,
    }


def pairs(target: Tensor, values: Tensor) -> dict[str, Any]:
    """Return what `frames` does for values and indices that are sent as torch.topk returns them, with no header."""
    energy = _energy(target.numpy())
    left = 1 - _energy(values.numpy()) / energy if energy else None
    return {
        "bits": PAIR_BITS * values.numel() / target.numel(),
        "bits_values8": None,
        "nmse": left,
        "nmse_values8": None,
    }


def frames(codec: Codec, target: Tensor, seed: int, history: State) -> dict[str, Any]:
    """Return bits an element and NMSE of real frames, values as they are and in 8 bits; headers are counted."""
    bits, nmse = _frame(codec, EXACT, target, seed, history)
    bits8, nmse8 = _frame(codec, EIGHT_BITS, target, seed, history)
    return {"bits": bits, "bits_values8": bits8, "nmse": nmse, "nmse_values8": nmse8}


def _frame(codec: Any, values: Codec, target: Tensor, seed: int, history: State) -> tuple[float, float | None]:
    encoded, _ = encode_with_history(replace(codec, values=values), target, seed, history)
    frame = dumps({"x": encoded})
    decoded = decode(loads(frame, specs({"x": target}))["x"])
    energy = _energy(target.numpy())
    return 8 * len(frame) / target.numel(), _energy((decoded - target).numpy()) / energy if energy else None


def _energy(values: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    # Pairwise summation in float32 is off in the fifth digit; a float64 copy of a large tensor takes twice its memory.
    parts = np.array_split(values, max(1, values.size >> 20))
    return float(sum(np.square(part, dtype=np.float64).sum() for part in parts))
