"""What a configuration made of two texts is called, and how its figures are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thinwire.lab.pairings import BASELINE, Pairing
from thinwire.lab.planned import plain as plain


def pairing(uplink: str, downlink: str) -> Pairing:
    """Return the configuration of two texts, filed under a name made of them; empty texts are stock Flower."""
    if not (uplink or downlink):
        return Pairing(BASELINE, "uncompressed: stock Flower")
    up, down = uplink or "none", downlink or "none"
    group = "auto" if up == down == "auto" else f"{plain(up)}+{plain(down)}"
    return Pairing(group, f"{up} up, {down} down", uplink, downlink)


def progress(row: Mapping[str, Any], sent_bytes: int, metric: str) -> str:
    """Return one line on how far a run is."""
    return f"round {row['round']}: {metric} {row['metric']:.4f}, {size(sent_bytes)} so far"


def size(count_bytes: float) -> str:
    """Return bytes in decimal units: 1310000 -> '1.31 MB'."""
    from thinwire.lab.report import units

    return units.size(count_bytes)
