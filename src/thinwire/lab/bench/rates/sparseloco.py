"""SparseLoCo's payload in our coding: 64 of every 4,096 elements in 2 bits, everything counted."""

from __future__ import annotations

from typing import Any

from thinwire.codec import Codec
from thinwire.lab.bench.rates.cases import Case
from thinwire.lab.bench.rates.method import framed
from thinwire.registry import parse

THEIRS_BITS = 64 * (12 + 2) / 4096
"""Indices of 12 bits within a chunk and values of 2, as published (Covenant-72B, arXiv:2603.08163): 0.21875."""
TEXT = "ChunkTopK(64, 4096, values=Uniform(bits=2))"
"""The same payload; values are the four levels of each tensor."""
SIGNS = "ChunkTopK(64, 4096, values=Sign())"
"""One bit a value. The largest of a chunk differ little in magnitude."""


def sparseloco(case: Case) -> list[dict[str, Any]]:
    """Return bits an element and error of both."""
    return [_row("2-bit", TEXT, case), _row("signs", SIGNS, case)]


def _row(name: str, text: str, case: Case) -> dict[str, Any]:
    codec: Codec = parse(text)
    sent = framed(codec, case)
    bits = 8 * sent.bytes / case.elements
    return {
        "case": case.name,
        "codec": text,
        "values": name,
        "elements": case.elements,
        "bits": bits,
        "nmse": sent.nmse,
        "theirs": THEIRS_BITS / bits,
    }
