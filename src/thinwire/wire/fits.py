"""Whether a frame carries a tensor, or a schema: one place that both sides ask, so that nothing is written in vain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch

from thinwire.codec import Spec, Specs
from thinwire.wire.limits import DEFAULT_LIMITS, Limits

DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
"""In wire order, which never changes."""

COUNT_BYTES = 4
_RECORD_BYTES = 64
"""What the codec table and the records take of a tensor, and much to spare: they are told once it is encoded."""


def refusal(name: str, spec: Spec, limits: Limits = DEFAULT_LIMITS) -> str | None:
    """Return the sentence that says why no frame carries this tensor, or None where one does."""
    told = f"tensor {name[:64]!r}{'...' if len(name) > 64 else ''}"
    try:
        name_bytes = len(name.encode())
    except UnicodeEncodeError:
        return f"{told}: the name has no UTF-8 form (it holds a surrogate); rename it"
    if name_bytes > limits.name_bytes:
        return f"{told}: a name of {name_bytes} bytes, frames carry at most {limits.name_bytes}"
    if len(spec.shape) > limits.dims:
        return f"{told}: {len(spec.shape)} dimensions, frames carry at most {limits.dims}; reshape it"
    if spec.dtype not in DTYPES:
        return f"{told} is {spec.dtype}; frames carry {', '.join(map(str, DTYPES))}"
    # Zeros hide the other sides from a product, yet no library takes any side for an empty tensor.
    if math.prod(max(side, 1) for side in spec.shape) * spec.dtype.itemsize > limits.decoded_bytes:
        return f"{told}: the shape {spec.shape} is over the limit of {limits.decoded_bytes} bytes"
    return None


def split_specs(expect: Mapping[str, Spec], limits: Limits = DEFAULT_LIMITS) -> tuple[Specs, dict[str, str]]:
    """Return what one frame carries, in order, and the rest: name -> the sentence that says why not.

    What would take the whole over a limit (tensors, decoded bytes, bytes of names and records) is among the rest; a
    smaller tensor behind it may still fit.
    """
    carried, rest = Specs(), dict[str, str]()
    for name, spec, why in _judged(expect, limits):
        if why is None:
            carried[name] = spec
        else:
            rest[name] = why
    return carried, rest


def first_refusal(expect: Mapping[str, Spec], limits: Limits = DEFAULT_LIMITS) -> str | None:
    """Return the sentence that says why no frame carries a schema, or None where one does."""
    return next((why for _, _, why in _judged(expect, limits) if why is not None), None)


def entry_bytes(name: str, spec: Spec) -> int:
    """Return the bytes of a tensor's name, dtype and shape in a schema."""
    return 4 + len(name.encode()) + 8 * len(spec.shape)


def _judged(expect: Mapping[str, Spec], limits: Limits) -> Iterator[tuple[str, Spec, str | None]]:
    tensors, decoded, header = 0, 0, COUNT_BYTES
    for name, spec in expect.items():
        why = refusal(name, spec, limits)
        if why is None:
            more = tensors + 1, decoded + spec.nbytes, header + entry_bytes(name, spec) + _RECORD_BYTES
            why = _over(name, more, limits)
        if why is None:
            tensors, decoded, header = more
        yield name, spec, why


def _over(name: str, totals: tuple[int, int, int], limits: Limits) -> str | None:
    most = limits.tensors, limits.decoded_bytes, limits.header_bytes_of(totals[0])
    if all(total <= allowed for total, allowed in zip(totals, most, strict=True)):
        return None
    return (
        f"tensor {name[:64]!r}: with it the message would have {totals[0]} tensors, {totals[1]} decoded bytes and "
        f"{totals[2]} of names and records; frames carry at most {most[0]}, {most[1]} and {most[2]}"
    )
