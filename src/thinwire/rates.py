"""Bandwidths: as people read them, and the one at which sending less stops paying. No clock in here."""

from __future__ import annotations

import math

_RATES = ((1.0, "bit/s"), (1e3, "kbit/s"), (1e6, "Mbit/s"), (1e9, "Gbit/s"), (1e12, "Tbit/s"))


def rate_text(value_bps: float) -> str:
    """Return a bandwidth as people read it: 20000000 -> '20 Mbit/s'."""
    rounded = float(f"{value_bps:.2e}")
    factor, unit = next((item for item in reversed(_RATES) if rounded >= item[0]), _RATES[0])
    return f"{rounded / factor:.4g} {unit}"


def break_even_bps(saved_bytes: float, extra_s: float) -> float:
    """Return the bandwidth at which bytes that are not sent make up for seconds more: above, they do not.

    0 where no bytes are saved, infinity where that takes no time.
    """
    if saved_bytes <= 0:
        return 0.0
    return 8 * saved_bytes / extra_s if extra_s > 0 else math.inf
