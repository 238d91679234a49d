"""Codecs without a model of the data: the bytes themselves, a narrower float, and lossless byte planes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from thinwire.codec import VARIABLE, Codec, Spec, State
from thinwire.errors import WireError
from thinwire.kernels import zstd
from thinwire.kernels.narrow import saturate
from thinwire.kernels.raw_bytes import raw_bytes


@dataclass(frozen=True)
class Raw(Codec, id="raw", tag=1):
    """The tensor itself, byte for byte. Until ``dumps``, what is encoded shares memory with the tensor."""

    linear = static = lossless = unbiased = True

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"data": x}``."""
        return {"data": x}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return the tensor's own spec."""
        return {"data": spec}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return a copy of the data."""
        return parts["data"].clone()


@dataclass(frozen=True)
class Cast(Codec, id="cast", tag=2):
    """A narrower float. Values beyond its range saturate at the largest finite one: never a silent infinity."""

    dtype: Literal["float16", "bfloat16"] = "float16"

    wire_fields = ("dtype",)
    choices = MappingProxyType({"dtype": ("float16", "bfloat16")})
    static = True

    def __post_init__(self) -> None:
        if self.dtype not in self.choices["dtype"]:
            raise ValueError(f"Cast: dtype is {self.dtype!r}, expected 'float16' or 'bfloat16'")

    @property
    def narrow(self) -> torch.dtype:
        """The torch dtype that travels."""
        return torch.float16 if self.dtype == "float16" else torch.bfloat16

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"data": x in the narrow dtype}``, rounded to nearest even."""
        return {"data": saturate(x, self.narrow)}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return the same shape in the narrow dtype."""
        return {"data": Spec(spec.shape, self.narrow)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the data widened to the tensor's dtype."""
        return saturate(parts["data"], spec.dtype).clone()


@dataclass(frozen=True)
class Planes(Codec, id="planes", tag=3):
    """Lossless: the k-th bytes of all elements side by side, then zstd. Exponents compress, mantissas hardly do.

    Keeps every bit, also of NaN and negative zero. The same idea as ZipNN (Hershcovitch et al. 2024, arXiv:2411.05239).
    """

    level: int = 1

    lossless = unbiased = True

    def to_parts(self, x: Tensor, seed: int, history: State) -> tuple[dict[str, Tensor], State]:
        """Return ``{"planes": uint8}``."""
        planes = np.ascontiguousarray(raw_bytes(x).numpy().reshape(-1, x.dtype.itemsize).T)
        return {"planes": torch.frombuffer(bytearray(zstd.compress(planes, self.level)), dtype=torch.uint8)}, {}

    def layout(self, spec: Spec, size: int) -> dict[str, Spec]:
        """Return one variable part."""
        return {"planes": Spec((VARIABLE,), torch.uint8)}

    def from_parts(self, parts: Mapping[str, Tensor], spec: Spec, seed: int) -> Tensor:
        """Return the tensor, bit for bit. A bool must be 0 or 1."""
        data = zstd.decompress(parts["planes"].numpy().tobytes(), spec.nbytes)
        if len(data) != spec.nbytes:
            raise WireError(f"planes: {len(data)} bytes decoded, the schema says {spec.nbytes}")
        planes = np.frombuffer(data, np.uint8).reshape(spec.dtype.itemsize, -1)
        if spec.dtype == torch.bool and planes.size and planes.max() > 1:
            raise WireError("planes: a bool is neither 0 nor 1")
        return torch.from_numpy(planes.T.copy().reshape(-1)).view(spec.dtype).reshape(spec.shape)
