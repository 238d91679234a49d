"""What rows amount to: ratios of ours to rivals and to the entropy, at the same error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from thinwire.lab.bench.rates.bound import ORDER0
from thinwire.lab.bench.rates.rivals import TOP_K

Row = Mapping[str, Any]
QUANTIZER = "Rdoq()"
"""The method that is shown by itself too: what of the gain is not low rank."""


def figures(rows: Sequence[Row], errors: Sequence[float]) -> dict[str, Any]:
    """Return case -> error -> figures, and under `fixed` every method without a knob beside ours at its error.

    An error is written as `%g`. Ours is the smallest of our methods; ratios above 1 are in favour of ours, but for
    `ratio`, which is our bytes over the best rival's.
    """
    names = dict.fromkeys(row["case"] for row in rows)
    return {name: _case([row for row in rows if row["case"] == name], errors) for name in names}


def _case(rows: Sequence[Row], errors: Sequence[float]) -> dict[str, Any]:
    at = {f"{nmse:g}": _error([row for row in rows if row["asked"] == nmse]) for nmse in errors}
    curve = envelope(rows)
    return {
        **{name: found for name, found in at.items() if found},
        "fixed": [_fixed(row, curve) for row in _fixeds(rows)],
    }


def _error(rows: Sequence[Row]) -> dict[str, Any]:
    ours, rival = least(rows, "ours"), least(rows, "rival")
    if not ours:
        return {}
    by_name = {row["method"]: row for row in rows}
    found = {"ours": _short(ours), **_against(ours, rival, by_name)}
    if QUANTIZER in by_name:
        found["rdoq"] = {"bits": by_name[QUANTIZER]["bits"], **_against(by_name[QUANTIZER], rival, by_name)}
    return found | ({"rival": _short(rival)} if rival else {})


def _against(ours: Row, rival: Row | None, by_name: Mapping[str, Row]) -> dict[str, float]:
    found = {"ratio": ours["bits"] / rival["bits"]} if rival else {}
    for key, method in (("order0", ORDER0), ("topk", TOP_K)):
        if method.name in by_name:
            found[key] = by_name[method.name]["bits"] / ours["bits"]
    return found


def least(rows: Sequence[Row], kind: str) -> Row | None:
    """Return the row of the fewest bits of a kind."""
    return min((row for row in rows if row["kind"] == kind), key=lambda row: float(row["bits"]), default=None)


def _short(row: Row) -> dict[str, Any]:
    return {"method": row["method"], "bits": row["bits"]}


def _fixeds(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["asked"] is None]


def _fixed(row: Row, curve: Sequence[tuple[float, float]]) -> dict[str, Any]:
    bits = between(curve, row["nmse"])
    named = {key: row[key] for key in ("method", "setting", "nmse", "bits")}
    return named | {"ours_bits": bits, "times": row["bits"] / bits if bits else None}


def envelope(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Return our curve: (error, bits), errors ascending, at each error asked for the fewest bits."""
    asked = sorted({row["asked"] for row in rows if row["kind"] == "ours" and row["asked"]})
    best = [least([row for row in rows if row["asked"] == nmse], "ours") for nmse in asked]
    return [(row["nmse"], row["bits"]) for row in best if row]


def between(curve: Sequence[tuple[float, float]], nmse: float) -> float | None:
    """Return the bits of a curve at an error, None outside of it.

    The straight line between two points, against the logarithm of the error: above a convex curve, so never in favour.
    """
    for (low, more), (high, fewer) in pairwise(curve):
        if low <= nmse <= high:
            share = math.log(nmse / low) / math.log(high / low)
            return more + share * (fewer - more)
    return None
