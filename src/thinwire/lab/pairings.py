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


def by_volume(level: str, coarse: float, middle: float, fine: float) -> str:
    """Return a policy of three levels of one codec; vectors, which are few bytes and matter, take 8 bits."""
    names = {"coarse": coarse, "middle": middle, "fine": fine}
    levels = ", ".join(f"{name}={level.format(value)}" for name, value in names.items())
    return f"ByVolume({levels}, small=Uniform(bits=8))"


def error_bound(nmse: float, codec: str) -> str:
    """Return a policy that meets an error bound; vectors meet a tighter one."""
    return f"ErrorBound(nmse={nmse}, codec={codec}, small=Step(nmse=0.005))"


UP = {
    "quantize": by_volume("Uniform(bits={}, symmetric=True, codes=Zstd())", 3, 4, 6),
    "lowrank": by_volume("LowRank(ratio={}, bits=6)", 0.06, 0.1, 0.15),
    "sparsify": by_volume("TopK({}, values=Uniform(bits=8))", 0.02, 0.05, 0.1),
}
DOWN = {
    "quantize": error_bound(0.1, "Uniform(symmetric=True, codes=Zstd())"),
    "lowrank": error_bound(0.1, "LowRank()"),
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
