"""How fine a codec is: one number that can be multiplied, whatever field of the codec it lives in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from thinwire.codec import Codec

_FIELDS = ("levels", "bits", "nmse", "absolute", "relative", "step")
_MOST_LEVELS = 1 << 16
_LARGEST_NMSE = 0.9
_LARGEST_FACTOR = 2.0**32


def resolution_field(codec: Codec) -> str | None:
    """Return the field that says how fine a codec is, or None where it has none that is set."""
    return next((name for name in _FIELDS if getattr(codec, name, None) is not None), None)


def resolution_bits(codec: Any) -> float:
    """Return log2 of how fine a codec is, up to a constant of its class; 0 where it has no such field."""
    name = resolution_field(codec)
    if name is None:
        return 0.0
    value = float(getattr(codec, name))
    return {"levels": math.log2(value), "bits": value, "nmse": -math.log2(value or 1e-300) / 2}.get(
        name, -math.log2(value)
    )


def finer(codec: Any, factor: float, whole: Callable[[float], int] = round) -> Codec:
    """Return the codec with ``factor`` times as many levels, as near as its field and its limits allow.

    ``levels`` are multiplied (``whole`` rounds them; at least 1), ``bits`` gain ``whole(log2(factor))``, an error bound
    ``nmse`` is divided by the factor's square, a step by the factor. A codec without any of these stays as it is.
    """
    name, factor = resolution_field(codec), min(max(factor, 1 / _LARGEST_FACTOR), _LARGEST_FACTOR)
    if name is None or factor == 1:
        return codec  # type: ignore[no-any-return]
    if name == "bits":
        return _with_bits(codec, codec.bits + whole(math.log2(factor)))
    if name == "levels":
        value: float = min(max(1, whole(codec.levels * factor)), max(codec.levels, _MOST_LEVELS))
    elif name == "nmse":
        value = min(codec.nmse / factor**2, max(codec.nmse, _LARGEST_NMSE))
    else:
        value = getattr(codec, name) / factor
    return replace(codec, **{name: value})  # type: ignore[no-any-return]


def check_resolution(owner: str, codec: Codec) -> None:
    """Raise ValueError where a codec has no field that says how fine it is."""
    if resolution_field(codec) is None:
        raise ValueError(
            f"{owner}: {codec!r} cannot be made finer; use one with levels, bits or an nmse, such as Qsgd()"
        )


def _with_bits(codec: Any, bits: float) -> Codec:
    """Return the codec with these bits, or the nearest ones that it takes."""
    while bits != codec.bits:
        try:
            return replace(codec, bits=bits)  # type: ignore[no-any-return]
        except ValueError:
            bits += 1 if bits < codec.bits else -1
    return codec  # type: ignore[no-any-return]
