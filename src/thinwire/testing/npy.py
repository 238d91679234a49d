"""Hostile bytes in numpy's format: headers that lie, break parsers or say the same in another form.

for data in (hostile_npy(rng, x) for _ in range(1000)): ...
"""

from __future__ import annotations

import struct
from random import Random
from typing import Any

import numpy as np

MAGIC = b"\x93NUMPY"
DESCRS = (
    "'<f4'", "'>f4'", "'<f8'", "'<f2'", "'<f16'", "'<c8'", "'<i8'", "'<u4'", "'|b1'", "'|O'", "'|V4'", "'|V0'", "'<U1'",
    "'<U0'", "'|S0'", "'<M8[ns]'", "'<m8[s]'", "'f4,f4'", "'(1000000,)f4'", "('<f4', (2,))", "('<f4', (1000000000,))",
    "('|O', (1,))", "[('a', '<f4')]", "[('a', '|O')]", "[('', '|V4')]", "[('a', '<f4', (2, 2))]", "[]", "None", "1",
    "('<f4',)", "('<f4', -1)", "{'a': 1}", "'<f4' '<f4'", "b'<f4'", "'nonsense'", "''", "'<f3'", "'<i99999999999'",
    "[('\\x1b[31m', '<f4')]", "[['a', '<f4'], ['a', '<f4']]", "['a', ['b']]",
)  # fmt: skip
SHAPES = (
    "(1000000000000,)", "(-1,)", "(-30, -40)", "(0, 1099511627776)", "(0, 9223372036854775807, 9223372036854775807)",
    "(4294967296, 4294967296, 0)", "(True, 3)", "()", "(0,)", "[3]", "3", "None", "(3.0,)", "('3',)", "((3,),)",
    "(" + "1, " * 33 + ")", "(" + "1, " * 65 + ")", "(" + "9" * 400 + ",)", "(" + "9" * 5000 + ",)", "(3,) * 2",
    "(2**40,)", "(-0,)", "(1, -1, -1)",
)  # fmt: skip
TEXTS = (
    "", " ", "{", "}", "{}", "[" * 150 + "]" * 150, "[" * 9000, "(" * 9000, "-" * 9000 + "1", "~" * 9900 + "1",
    "1" + "+1" * 4000, "1" + "**1" * 2500, "'''", '"', "  x\n y", "\tx\n  y\n z", "\x00", "\\", "lambda: 0", "f'{1}'",
    "__import__('os')", "'\\N{no such name}'", "'\\ud800'", "#", "{'descr': '<f4'}", "1 if 1 else " * 800 + "1",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'more': 1}", "{**{}}", "{1: 2}", "9" * 9000, "1L",
    "{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}", "not " * 2000 + "1", "x" * 9999, "y" * 60000,
)  # fmt: skip


def npy(header: str | bytes, body: bytes, version: bytes = b"\1\0", length: int | None = None) -> bytes:
    """Return bytes in numpy's format with this header; ``length`` is what they say of its length."""
    raw = header.encode("latin1", "replace") if isinstance(header, str) else header
    size = len(raw) if length is None else length
    wide = version[:1] not in (b"\1",)
    return MAGIC + version + (struct.pack("<I", size % 2**32) if wide else struct.pack("<H", size % 2**16)) + raw + body


def head(descr: str, shape: str, fortran: str = "False") -> str:
    """Return a header as numpy writes it, not padded."""
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


def hostile_npy(rng: Random, x: np.ndarray[Any, Any]) -> bytes:
    """Return bytes that a receiver of ``x`` may be sent instead."""
    body, descr, shape = x.tobytes(), repr(x.dtype.str), repr(x.shape)
    if rng.random() < 0.2:
        return npy(head(descr, shape), body, rng.choice((b"\1\0", b"\2\0", b"\3\0")))
    if rng.random() < 0.4:
        descr = rng.choice(DESCRS)
    if rng.random() < 0.3:
        shape = rng.choice(SHAPES)
    text = head(descr, shape, rng.choice(("False",) * 6 + ("True", "True", "1", "None")))
    if rng.random() < 0.1:
        text = rng.choice(TEXTS)
    if rng.random() < 0.2:
        text = rng.choice((text.strip() + " # \xff\n", "\n" + text, text * 2, text + " " * rng.choice((1, 64, 9000))))
    if rng.random() < 0.3:
        body = rng.choice(
            (b"", body[:-1], body + b"\0", body[: len(body) // 2], body * 2, bytes(len(body)), b"\xff" * len(body))
        )
    version = rng.choice((b"\1\0",) * 12 + (b"\2\0", b"\3\0", b"\4\0", b"\0\0", b"\1\1", b"\xff\xff"))
    data = npy(text, body, version, rng.choice((None,) * 30 + (0, 1, 65535, 2**32 - 1)))
    if rng.random() < 0.2:
        at = rng.randrange(len(data))
        data = rng.choice(
            (
                data[:at],
                data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
                b"PK\3\4" + data,
                b"\x80\4]q\0." + data,
            )
        )
    return data
