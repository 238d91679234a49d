"""The methods of the default data-parallel comparison, and names for several at once. Nothing is loaded here."""

from __future__ import annotations

DENSE = "none"
"""What all are compared with: DistributedDataParallel without a hook."""

TORCH_FP16, TORCH_POWERSGD = "torch-fp16", "torch-powersgd"
STOCK = (TORCH_FP16, TORCH_POWERSGD)
"""torch's own hooks."""

METHODS = (
    *(DENSE, *STOCK),
    *("hggtopk", "topk", "topk-int8", "dgc", "randomkec"),
    *("powersgd", "int8", "int4-block", "1bit", "fp16"),
)
"""By default: dense, torch's own hooks, and ten of ours, each with error feedback."""

GROUPS = {
    "default": METHODS,
    "sparsifiers": (
        *("topk", "topk2", "gaussian", "gaussian2", "randomk"),
        *("randomkec", "dgcsampling", "redsync", "redsynctrim", "hggtopk"),
    ),
}
"""``sparsifiers`` are the ten compressors that scripts know by name."""


def label(compressor: str, density: float | None) -> str:
    """Return what all seeds of a method are filed under: its name, and its density where that was chosen."""
    if compressor == DENSE:
        return "dense"
    return compressor if density is None else f"{compressor} {100 * density:g}%"
