"""What a packed file says about each tensor: name, shape, dtype, and whether it is meant against a base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from thinwire.codec import Spec
from thinwire.wire import Limits

CARRIERS: Mapping[str, torch.dtype] = {
    "F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "U64": torch.int64, "U32": torch.int32, "U16": torch.int16, "C64": torch.int64,
    "F8_E4M3": torch.uint8, "F8_E5M2": torch.uint8, "F8_E4M3FNUZ": torch.uint8, "F8_E5M2FNUZ": torch.uint8,
    "F8_E8M0": torch.uint8,
}  # fmt: skip
"""dtype in safetensors -> what carries it in a frame. The order never changes: a packed file holds the place in it."""
DTYPES = tuple(CARRIERS)

LIMITS = Limits(tensors=1 << 18, header_bytes=1 << 25)
"""What `unpack` accepts. The largest public mixtures of experts have about 100,000 tensors."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint."""

    name: str
    dtype: str
    """As safetensors calls it."""
    spec: Spec
    """Shape, and the dtype that carries it."""
    based: bool = False
    """The base has a tensor of this name, shape and dtype: what travels may be the difference to it."""
