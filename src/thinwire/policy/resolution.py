"""How fine a codec is: one number that can be multiplied, whatever field of the codec it lives in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from thinwire.codec import Codec
from thinwire.registry import text

LEAST_NMSE, MOST_NMSE = 1e-7, 0.97
"""No factor leads to an error bound outside of these."""
_FIELDS = ("levels", "bits", "nmse", "absolute", "relative", "step")
_SMOOTH = ("step", "nmse")
_MOST_LEVELS = 1 << 16
_LARGEST_FACTOR = 2.0**32


def resolution_field(codec: Codec) -> str | None:
    """Return the field that says how fine a codec is, or None where it has none that is set."""
    return next((name for name in _FIELDS if getattr(codec, name, None) is not None), None)


def smooth_field(codec: Codec) -> str | None:
    """Return the codec's knob where that is set and takes any factor, a step or an error; None for all others."""
    name = codec.knob
    return name if name in _SMOOTH and getattr(codec, name, None) is not None else None


def resolution_bits(codec: Codec, field: str | None = None) -> float:
    """Return log2 of how fine a codec is, up to a constant of its class; 0 where it has no such field.

    ``field`` is the one to go by, by default ``resolution_field``.
    """
    name = field or resolution_field(codec)
    if name is None:
        return 0.0
    value = float(getattr(codec, name))
    return {"levels": math.log2(value), "bits": value, "nmse": -math.log2(value or 1e-300) / 2}.get(
        name, -math.log2(value)
    )


def finer(codec: Any, factor: float, whole: Callable[[float], int] = round, field: str | None = None) -> Codec:
    """Return the codec with ``factor`` times as many levels, as near as its field and its limits allow.

    ``levels`` are multiplied (``whole`` rounds them; at least 1), ``bits`` gain ``whole(log2(factor))``, an error bound
    ``nmse`` is divided by the factor's square, a step by the factor. A codec without any of these stays as it is.
    ``field`` is the one to change, by default ``resolution_field``.
    """
    name, factor = field or resolution_field(codec), min(max(factor, 1 / _LARGEST_FACTOR), _LARGEST_FACTOR)
    if name is None or factor == 1:
        return codec  # type: ignore[no-any-return]
    if name == "bits":
        return _with_bits(codec, codec.bits + whole(math.log2(factor)))
    if name == "levels":
        value: float = min(max(1, whole(codec.levels * factor)), max(codec.levels, _MOST_LEVELS))
    elif name == "nmse":
        value = min(max(codec.nmse / factor**2, min(codec.nmse, LEAST_NMSE)), max(codec.nmse, MOST_NMSE))
    else:
        value = getattr(codec, name) / factor
    return replace(codec, **{name: value})  # type: ignore[no-any-return]


def coarser(codec: Codec, factor: float) -> Codec:
    """Return a codec with its step times a factor, or its error with the square of it; others as they are.

    What a search varies: only knobs that take any factor move, so that ``coarser_by`` can tell how far.
    """
    name = smooth_field(codec)
    return finer(codec, 1 / factor, field=name) if name else codec


def coarser_by(before: Codec, after: Codec) -> float | None:
    """Return by which factor ``coarser`` made one of the other; None where it does not, or came to a limit."""
    name = smooth_field(before)
    if name is None or name != smooth_field(after):
        return None
    if name == "nmse" and not LEAST_NMSE < getattr(after, name) < MOST_NMSE:
        return None
    return float(2.0 ** (resolution_bits(before, name) - resolution_bits(after, name)))


def check_resolution(owner: str, codec: Codec) -> None:
    """Raise ValueError where a codec has no field that says how fine it is."""
    if resolution_field(codec) is None:
        raise ValueError(
            f"{owner}: {text(codec)} cannot be made finer; use one with levels, bits or an nmse, such as Qsgd()"
        )


def _with_bits(codec: Any, bits: float) -> Codec:
    """Return the codec with these bits, or the nearest ones that it takes."""
    while bits != codec.bits:
        try:
            return replace(codec, bits=bits)  # type: ignore[no-any-return]
        except ValueError:
            bits += 1 if bits < codec.bits else -1
    return codec  # type: ignore[no-any-return]
