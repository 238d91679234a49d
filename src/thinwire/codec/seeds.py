"""Seeds of parts and tensors, and generators of their own."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, name: str) -> int:
    """Return a seed (0 to 2**32 - 1) for one part or tensor, independent of the others'."""
    digest = hashlib.blake2b(name.encode(), digest_size=4, key=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little")


def generator(seed: int) -> torch.Generator:
    """Return a private CPU generator: the same numbers for the same seed, the global generator untouched."""
    return torch.Generator().manual_seed(seed)
