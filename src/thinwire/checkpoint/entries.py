"""What a packed file says about each tensor: name, shape, dtype, and how much of it is meant against a base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from thinwire.codec import Spec
from thinwire.wire import Limits

METADATA = "__metadata__"
"""The name that safetensors keeps for a file's texts."""
CARRIERS: Mapping[str, torch.dtype] = {
    "F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.uint8,
    "U64": torch.int64, "U32": torch.int32, "U16": torch.int16, "C64": torch.int64,
    "F8_E4M3": torch.uint8, "F8_E5M2": torch.uint8, "F8_E4M3FNUZ": torch.uint8, "F8_E5M2FNUZ": torch.uint8,
    "F8_E8M0": torch.uint8,
}  # fmt: skip
"""dtype in safetensors -> what carries it in a frame. A tensor of any other dtype travels as its bytes, flat."""
PLACES = (*(dict(CARRIERS) | {"BOOL": torch.bool}).items(), ("BOOL", torch.uint8))
"""By the place that a file of version 1 holds: the order never changes. Bools were once carried as 0 and 1 alone."""

LIMITS = Limits(tensors=1 << 18, header_bytes=1 << 25)
MOST_TEXTS = 1 << 18
"""What `unpack` accepts, texts being pairs of metadata. Large public mixtures of experts have about 100,000 tensors."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint."""

    name: str
    dtype: str
    """As safetensors calls it."""
    spec: Spec
    """Shape, and the dtype that carries it."""
    based: bool = False
    """The base has a tensor of this name, dtype and shape, the first side aside: a difference to it may travel."""
    overlap: int | None = None
    """Leading elements that the base has too, where it has fewer or more rows; None: all. Whole rows."""
    said_shape: tuple[int, ...] | None = None
    """The shape in the file's header, where what is carried is plain bytes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, as safetensors says it."""
        return self.spec.shape if self.said_shape is None else self.said_shape

    @property
    def based_elements(self) -> int:
        """Leading elements that travel against the base."""
        if not self.based:
            return 0
        return self.spec.numel if self.overlap is None else self.overlap
