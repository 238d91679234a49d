"""The default comparison: six plain pairings of published ideas, `auto`, and stock Flower to compare them with.

Upwards a client's level follows its amount of data (ByVolume), downwards the server meets an error bound (ErrorBound).
The levels were chosen on the digits task; docs/methods.md says where the ideas come from.
"""

from __future__ import annotations

from dataclasses import dataclass

BASELINE = "uncompressed"


@dataclass(frozen=True)
class Pairing:
    """One configuration of a comparison: what all its seeds are filed under, and both directions as text."""

    group: str
    name: str
    uplink: str | None = None
    downlink: str | None = None


UP = {
    "quantize": (
        "ByVolume(coarse=Uniform(bits=3, symmetric=True, codes=Zstd()), middle=Uniform(bits=4, symmetric=True, "
        "codes=Zstd()), fine=Uniform(bits=6, symmetric=True, codes=Zstd()))"
    ),
    "lowrank": "ByVolume(coarse=LowRank(ratio=0.06, bits=6), middle=LowRank(ratio=0.1, bits=6), fine=LowRank(ratio=0.15, bits=6))",
    "sparsify": (
        "ByVolume(coarse=TopK(0.02, values=Uniform(bits=8)), middle=TopK(0.05, values=Uniform(bits=8)), "
        "fine=TopK(0.1, values=Uniform(bits=8)))"
    ),
}
DOWN = {
    "quantize": "ErrorBound(nmse=0.1, codec=Uniform(symmetric=True, codes=Zstd()))",
    "lowrank": "ErrorBound(nmse=0.1, codec=LowRank())",
}
_WORDS = {"quantize": "quantize", "lowrank": "low-rank", "sparsify": "sparsify"}

PAIRINGS = (
    Pairing(BASELINE, "uncompressed: stock Flower"),
    *(
        Pairing(f"{up}+{down}", f"{_WORDS[up]} up, {_WORDS[down]} down", UP[up], DOWN[down])
        for up in UP
        for down in DOWN
    ),
    Pairing("auto", "auto in both directions", "auto", "auto"),
)


def pairings() -> dict[str, Pairing]:
    """Return the default configurations by group, the baseline first."""
    return {item.group: item for item in PAIRINGS}
