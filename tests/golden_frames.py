"""What the golden files hold: good frames by codec and dtype, and bad ones with the words of their refusal.

``THINWIRE_WRITE_GOLDEN=1 python tests/golden_frames.py`` writes the files that are missing; with ``=all``, all anew.
Decoding a good file is promised for ever: what was released is never rewritten, a change of the format adds files.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from frames import (
    AFFINE8,
    ANS,
    BITROUND,
    CHUNKS,
    EDEN,
    INDICES,
    LOWRANK,
    NATURAL,
    NF4,
    ONEBIT,
    ONES,
    PLANES,
    QSGD,
    RANDOMK,
    RANGES,
    RAW,
    RDOQ,
    SEGMENTS,
    SIGN,
    STEP,
    SYMMETRIC8,
    TERNARY,
    TOPK,
    UNIFORM,
    ZSTD,
    described,
    entry,
    f32,
    frame,
    listed,
    repeated,
    resealed,
    varint,
    windowed,
)
from torch import Tensor

import thinwire as tw
from thinwire.codec import Spec, decode, encode_parts
from thinwire.kernels import zstd
from thinwire.kernels.indices import choice
from thinwire.kernels.raw_bytes import raw_bytes
from thinwire.testing import suited
from thinwire.wire import loads_any

GOLDEN = Path(__file__).parent / "golden"
MANIFEST = GOLDEN / "manifest.json"

LOSSLESS = {"raw": "Raw()", "planes": "Planes()", "zstd": "Zstd()"}
LOSSY = {
    "cast": "Cast()",
    "cast-bf16": "Cast(dtype='bfloat16')",
    "uniform-1": "Uniform(bits=1)",
    "uniform-5": "Uniform(bits=5)",
    "uniform-16": "Uniform(bits=16)",
    "uniform-symmetric": "Uniform(bits=3, symmetric=True)",
    "uniform-channel": "Uniform(bits=4, block='channel')",
    "uniform-block": "Uniform(bits=2, block=7, rounding='stochastic')",
    "uniform-zstd": "Uniform(bits=8, codes=Zstd())",
    "step": "Step(nmse=0.05)",
    "step-exact": "Step(absolute=0.0001)",
    "rdoq": "Rdoq(nmse=0.05)",
    "rdoq-symbols": "Rdoq(nmse=0.3, symbols=Symbols())",
    "step-huffman": "Step(nmse=0.05, symbols=Huffman())",
    "topk": "TopK(0.2)",
    "topk-gaps": "TopK(0.2, indices=Indices(coder='gaps'))",
    "topk-rice": "TopK(0.2, indices=Indices(coder='rice'))",
    "topk-bitmap": "TopK(0.2, indices=Indices(coder='bitmap'))",
    "topk-uniform": "TopK(0.3, values=Uniform(bits=8))",
    "topk-step": "TopK(0.5, values=Step(nmse=0.01))",
    "threshold": "Threshold(0.01)",
    "sparse": "Sparse()",
    "randomk": "RandomK(0.3)",
    "sign": "Sign()",
    "sign-fixed": "Sign(scale=0.01)",
    "sign-channel": "Sign(block='channel', scale='l2')",
    "sign-block": "Sign(block=8, codes=Zstd())",
    "topk-sign": "TopK(0.3, values=Sign(), indices=Indices(coder='gaps'))",
    "onebit": "OneBit()",
    "onebit-block": "OneBit(block=5)",
    "ternary": "Ternary()",
    "ternary-huffman": "Ternary(clip=2.5, block='channel', symbols=Huffman())",
    "natural": "Natural()",
    "natural-huffman": "Natural(rounding='nearest', symbols=Huffman())",
    "bitround": "BitRound()",
    "bitround-huffman": "BitRound(bits=3, symbols=Huffman())",
    "bitround-powers": "BitRound(bits=0)",
    "eden": "Eden()",
    "eden-mse": "Eden(bits=3, scale='mse', block=64)",
    "eden-parts": "Eden(bits=1.5)",
    "eden-few": "Eden(bits=0.3)",
    "nf4": "NF4()",
    "nf4-channel": "NF4(block='channel', scales=Cast())",
    "ranges": "Ranges(bits=3, splits=8)",
    "ranges-wide": "Ranges(bits=9, splits=2, edges='histogram', codes=Zstd())",
    "qsgd": "Qsgd(block=16)",
    "qsgd-huffman": "Qsgd(levels=1, block='tensor', symbols=Huffman())",
    "segments": "Segments(bits=5, lengths=(40, 22, 1))",
    "segments-symmetric": "Segments(bits=9, symmetric=True, lengths=(2, 61), ends=Zstd())",
    "lowrank": "LowRank(rank=1)",
    "lowrank-huffman": "LowRank(rank=2, bits=5, left=Huffman(), right=Huffman())",
}
SHIFTING = [1] * 4096 + [37 * i * i % 1999 + 1 for i in range(100)]
"""Steps between indices: a chunk without gaps, and one with."""
FLOAT_NAMES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}
INTEGER_NAMES = {
    "int64": torch.int64,
    "int32": torch.int32,
    "int16": torch.int16,
    "int8": torch.int8,
    "uint8": torch.uint8,
}
SYMBOLS = {"symbols": "Symbols()", "huffman": "Huffman()", "ans": "Ans()"}


def good() -> Iterator[tuple[str, bytes]]:
    """Yield the name and frame of every good file, as today's encoders make them."""
    for name, text in (LOSSLESS | LOSSY).items():
        for dtype_name, dtype in FLOAT_NAMES.items():
            yield f"{name}-{dtype_name}", one(text, suited("update", (9, 7), dtype, seed=11))
    for name, text in LOSSLESS.items():
        for dtype_name, dtype in INTEGER_NAMES.items():
            yield f"{name}-{dtype_name}", one(text, torch.arange(-3, 60).to(dtype))
        yield f"{name}-bool", one(text, suited("update", (9, 7)) > 0)
        yield f"{name}-special", one(text, torch.tensor([-0.0, torch.nan, -torch.inf, torch.inf, 1e-45, 3e38]))
        yield f"{name}-empty", one(text, torch.zeros(0, 3))
    for name, text in SYMBOLS.items():
        for kind, x in symbols().items():
            yield f"{name}-{kind}", one(text, x)
    for kind, x in nested().items():
        yield f"symbols-{kind}", one("Symbols()", x)
    for kind, x in ordered().items():
        yield f"ans-{kind}", one("Ans()", x)
    for coder in ("smallest", "gaps", "rice", "bitmap", "local12", "split", "runs"):
        yield f"indices-{coder}", one(f"Indices(coder={coder!r})", torch.tensor([0, 1, 5, 300, 301, 70_000]))
    yield "indices-bits", one("Indices(coder='bitmap')", torch.tensor([0, 1, 5, 300, 301, 700]))
    yield "indices-chunks", indices_frame(choice.smallest(np.cumsum(SHIFTING), 12), len(SHIFTING))
    yield "message", whole()


def ordered() -> dict[str, Tensor]:
    """Return int32 tensors whose rows and columns differ, so that `Ans` models them in every way it can."""
    draw = torch.Generator().manual_seed(8)
    normal = torch.randn((40, 60), generator=draw)
    scales = torch.exp(torch.randn(40, 1, generator=draw) + torch.randn(60, generator=draw))
    signs = torch.randn(40, 1, generator=draw).sign() * torch.randn(60, generator=draw).sign()
    deep = torch.randn((6, 24, 3, 3), generator=draw) * torch.exp(2 * torch.randn((1, 24, 1, 1), generator=draw))
    return {
        "classes": (normal * scales * 0.3).round().int(),
        "dead": (normal * scales * (torch.arange(60) % 3 > 0) * (torch.arange(40) > 9)[:, None] * 0.3).round().int(),
        "signs": (normal.abs() * signs * 0.7).round().int(),
        "swapped": (deep * 0.2).round().int(),
        "folded": torch.tensor([-3, -2, -2, -2, 0, 1, 1, 1, 5, 5])[torch.randint(10, (40, 60), generator=draw)].int(),
        "four-lanes": (torch.randn(6000, generator=draw) * 0.35).round().int(),
        "lines": (torch.randn(20_000, generator=draw) * (torch.arange(20_000) > 18_000) * 0.7).round().int(),
    }


def symbols() -> dict[str, Tensor]:
    """Return int32 tensors that reach every way of coding a chunk."""
    normal = torch.randn(120, generator=torch.Generator().manual_seed(3))
    return {
        "zeros": torch.zeros(50, dtype=torch.int32),
        "sparse": (normal * (normal.abs() > 1.6)).round().int(),
        "sparse-ones": (normal > 1.6).int() - (normal < -1.6).int(),
        "narrow": (normal * 0.8).round().int(),
        "medium": (normal * 4).round().int(),
        "broad": (normal * 60).round().int(),
        "wide": (normal * 1e8).int(),
        "escapes": (normal * 0.8).round().int() * torch.where(torch.arange(120) % 40 == 0, 10**6, 1).int(),
    }


def nested() -> dict[str, Tensor]:
    """Return int32 tensors whose escapes, or values that are not zero, are a chunk of their own."""
    normal = torch.randn(1500, generator=torch.Generator().manual_seed(9))
    return {
        "nested-2": (normal * 1.2).round().int(),
        "nested-4": (normal * 6).round().int(),
        "nested-8": (normal * 100).round().int(),
        "sparse-nested": ((normal * 3).round() * (torch.arange(1500) % 8 == 0)).int(),
    }


def one(text: str, x: Tensor) -> bytes:
    codec = tw.parse(text)
    concrete = codec if codec.lossless else codec.fit(x, 5)
    return tw.dumps({"x": encode_parts(concrete, x, 5, {})[0]}, schema=True)


def whole() -> bytes:
    tensors = {
        "fc.weight": suited("update", (40, 30)),
        "fc.bias": suited("update", (30,)),
        "重み/steps": torch.tensor(7),
    }
    message, _, _ = tw.Compressor(tw.Fixed(tw.parse("TopK(0.02, values=Uniform(bits=8))"))).compress(tensors, {})
    return tw.dumps(message, schema=True)


def bad() -> Iterator[tuple[str, bytes, str]]:
    """Yield the name, the frame and the words of the refusal of every bad file."""
    plain, integers = frame(RAW, b"\0", ONES, inline=True), Spec((10,), torch.int64)
    yield "magic", resealed(plain, magic=b"TWIX"), "not a thinwire frame"
    yield "version", resealed(plain, version=2), "not a thinwire frame of version 1"
    yield "flags", resealed(plain, flags=3), "unknown flags"
    yield "header-too-long", resealed(plain, head=1 << 21), "over the limit"
    yield "too-many-tensors", resealed(plain, tensors=1 << 20), "over the limit"
    yield "too-many-codecs", resealed(plain, codecs=2), "a table of 2 codecs for 1 tensors"
    yield "cut-short", plain[:-1], "checksum"
    yield "flipped-bit", plain[:60] + bytes([plain[60] ^ 4]) + plain[61:], "checksum"
    yield "schema-hash", resealed(plain, schema=bytes(16)), "disagrees with its hash"
    yield "schema-2-to-the-64", described(listed(entry(b"x", 0, 2**64 - 1))), "over the limit"
    yield "schema-empty-but-huge", described(listed(entry(b"x", 0, 2**63, 0))), "over the limit"
    yield "schema-name-twice", described(listed(entry(b"x", 0, 1), entry(b"x", 0, 1))), "comes twice"
    yield "schema-name-not-utf8", described(listed(entry(b"\xff\xfe", 0, 1))), "not UTF-8"
    yield "schema-nine-dimensions", described(listed(entry(b"x", 0, *[1] * 9))), "over the limits"
    yield "unknown-tag", frame(b"\x7f", b"\0", ONES, inline=True), "unknown codec tag 127"
    yield "nested-too-deep", frame(TOPK * 6 + RAW * 7, b"\0", b"", inline=True), "nested too deep"
    yield "field-out-of-range", frame(UNIFORM + b"\x11\0\0" + RAW, b"\0", b"", inline=True), "bits is 17"
    yield "field-not-a-bool", frame(UNIFORM + b"\x08\2\0" + RAW, b"\0", b"", inline=True), "neither 0 nor 1"
    yield "record-leading-zeros", frame(RAW, b"\x80\0", ONES, inline=True), "leading zeros"
    yield "record-left-over", frame(RAW, b"\0\0", ONES, inline=True), "left over"
    yield "body-left-over", frame(RAW, b"\0", ONES + b"\0", inline=True), "left over"
    yield "body-cut-short", frame(RAW, b"\0", ONES[:-1], inline=True), "39 are left"
    yield "k-above-n", frame(TOPK + RAW + RAW, b"\0\x0b", bytes(200), inline=True), "11 elements kept of a tensor of 10"
    yield "randomk-above-n", frame(RANDOMK + RAW, b"\0\x0b" + bytes(48), b"", inline=True), "11 elements kept"
    yield "rank-above-side", frame(LOWRANK + RAW * 2, b"\0\3", b"", Spec((2, 5), torch.float32), inline=True), "rank 3"
    yield "lossy-for-integers", frame(AFFINE8, b"\0", bytes(18), integers, inline=True), "a lossy codec for torch.int64"
    yield "zstd-bomb", zstd_frame(repeated(128)), "larger than the 40 bytes"
    yield "zstd-cut-short", zstd_frame(zstd.compress(ONES)[:-1]), "cut short or followed by other bytes"
    yield "zstd-followed", zstd_frame(zstd.compress(ONES) + b"\0"), "cut short or followed by other bytes"
    yield "zstd-too-little", zstd_frame(zstd.compress(ONES[1:])), "39 bytes decoded"
    yield "zstd-window", zstd_frame(windowed(24)), "zstd"
    for name, indices in {"descend": (2, 1), "repeat": (1, 1), "outside": (0, 10), "negative": (-1, 0)}.items():
        body = f32(1.0, 2.0) + torch.tensor(indices).numpy().tobytes()
        yield f"indices-{name}", frame(TOPK + RAW * 2, b"\0\2", body, inline=True), "not strictly ascending"
    for name, (stream, count, words) in hostile_indices().items():
        yield f"indices-{name}", indices_frame(stream, count), words
    for name, (stream, words) in hostile_ans().items():
        packed, three = b"\0" + varint(len(stream)), Spec((3,), torch.int32)
        yield f"ans-{name}", frame(ANS, packed, stream, three, inline=True), words
    for name, (stream, words) in hostile_symbols().items():
        packed, four = b"\0" + varint(len(stream)), Spec((4,), torch.int32)
        yield f"symbols-{name}", frame(CHUNKS, packed, stream, four, inline=True), words
    for name, scale in {"nan": torch.nan, "negative": -1.0, "infinite": torch.inf}.items():
        yield f"scale-{name}", frame(AFFINE8, b"\0", bytes(10) + f32(scale, 0.0), inline=True), "a scale is"
        yield f"step-{name}", frame(STEP + RAW * 2, b"\0\0", bytes(40) + f32(scale), inline=True), "the step is"
        yield f"rdoq-{name}", frame(RDOQ, b"\0", bytes(40) + f32(scale) + bytes(3), inline=True), "the step is"
    yield (
        "symbol-beyond-levels",
        frame(SYMMETRIC8, b"\0", b"\xff" * 10 + f32(1.0), inline=True),
        "beyond the 255 levels",
    )
    for name, (count, ends, words) in {
        "short": (1, (9,), "the last, at 10"),
        "long": (1, (11,), "not strictly ascending"),
        "none": (0, (), "the last, at 10"),
        "empty": (2, (0, 10), "end from 1 on"),
        "descend": (2, (10, 5), "not strictly ascending"),
        "above-n": (11, tuple(range(11)), "11 of them in 10 elements"),
    }.items():
        body = bytes(10) + f32(*[0.0] * 2 * count) + torch.tensor(ends, dtype=torch.int64).numpy().tobytes()
        yield f"segments-{name}", frame(SEGMENTS, b"\0" + bytes([count]), body, inline=True), words
    body = bytes(10) + f32(torch.nan, 0.0) + torch.tensor([10]).numpy().tobytes()
    yield "segments-scale-nan", frame(SEGMENTS, b"\0\1", body, inline=True), "a scale is"
    for name, (table, body, words) in hostile_signs().items():
        yield name, frame(table, b"\0", body, inline=True), words
    for name, (table, record, body, words) in hostile_levels().items():
        yield name, frame(table, record, body, inline=True), words
    for name, (table, body, words) in hostile_mantissas().items():
        record = b"\0" + bytes([len(body) - 42])
        yield f"bitround-{name}", frame(table, record, body, inline=True), words
    yield "value-overflows", frame(AFFINE8, b"\0", b"\xff" * 10 + f32(3e38, 0.0), inline=True), "not finite"
    yield "bool-of-two", frame(RAW, b"\0", b"\0\1\2", Spec((3,), torch.bool), inline=True), "neither 0 nor 1"
    twos = zstd.compress(b"\0\1\2")
    packed = frame(PLANES, b"\0" + varint(len(twos)), twos, Spec((3,), torch.bool), inline=True)
    yield "bool-of-two-in-planes", packed, "neither 0 nor 1"


def hostile_signs() -> dict[str, tuple[bytes, bytes, str]]:
    """Return name -> codec table, body and refusal for ten float32, codes and symbols as they are."""
    ternary, natural = struct.Struct("<2if").pack, struct.Struct("<10ih").pack
    return {
        "sign-scale-negative": (SIGN, b"\0\0" + f32(-1.0), "a scale is negative"),
        "sign-padding": (SIGN, b"\0\4" + f32(1.0), "padding bits"),
        "onebit-mean-negative": (ONEBIT, b"\0\0" + f32(-1.0, -1.0), "wrong side of zero"),
        "onebit-mean-nan": (ONEBIT, b"\0\0" + f32(1.0, torch.nan), "a mean is NaN"),
        "ternary-symbol-122": (TERNARY, ternary(0, 122, 1.0), "beyond 121"),
        "ternary-scale-infinite": (TERNARY, ternary(0, 0, torch.inf), "a scale is negative, NaN or infinite"),
        "natural-exponent-above": (NATURAL, natural(*[1] * 10, 129), "the largest exponent is 129"),
        "natural-power-below": (NATURAL, natural(*[1] * 9, -151, 0), "too small"),
    }


def hostile_mantissas() -> dict[str, tuple[bytes, bytes, str]]:
    """Return name -> codec table, body and refusal for BitRound of ten elements, the symbols as they are."""
    head = struct.Struct("<10ih").pack
    return {
        "exponent-above": (BITROUND, head(*[1] * 10, 130) + bytes(9), "exponents from 130 to 130"),
        "exponent-below": (BITROUND, head(*[1] * 9, -150, 0) + bytes(9), "exponents from -149 to 0"),
        "mantissas-short": (BITROUND, head(*[1] * 10, 0) + bytes(8), "10 elements take 9 or none"),
        "mantissas-of-zeros": (BITROUND, head(*[0] * 10, 0) + bytes(9), "0 elements take 0 or none"),
        "padding": (BITROUND, head(*[1] * 10, 0) + bytes(8) + b"\x40", "padding bits"),
        "of-17-bits": (b"\x1d\x11" + RAW, head(*[0] * 10, 0), "bits is 17"),
    }


def hostile_levels() -> dict[str, tuple[bytes, bytes, bytes, str]]:
    """Return name -> codec table, record, body and refusal for ten float32, codes and symbols as they are."""
    seeded = b"\0\1\0\0\0"
    return {
        "eden-scale-negative": (EDEN, seeded, bytes(32) + f32(-1.0), "a scale is negative"),
        "eden-scale-nan": (EDEN, seeded, bytes(32) + f32(torch.nan), "a scale is negative, NaN or infinite"),
        "eden-padding": (b"\x20\0\1\1\x40", seeded, b"\2" + f32(1.0), "padding bits of fine"),
        "eden-cut-short": (EDEN, seeded, bytes(31) + f32(1.0), "3 are left"),
        "eden-no-bits": (b"\x20\0\0\0\x40", seeded, f32(1.0), "expected 1/256 to 8"),
        "eden-nine-bits": (b"\x20\x09\0\0\x40", seeded, b"", "bits is 9"),
        "eden-fine-of-256": (b"\x20\1\x80\2\0\x40", seeded, b"", "fine is 256"),
        "eden-block-of-100": (b"\x20\1\0\0\x64", seeded, b"", "block is 100"),
        "eden-block-too-large": (b"\x20\1\0\0\x80\x80\1", seeded, b"", "block is 16384"),
        "nf4-scale-infinite": (NF4, b"\0", bytes(5) + f32(torch.inf), "a scale is negative, NaN or infinite"),
        "nf4-scale-negative": (NF4, b"\0", bytes(5) + f32(-1.0), "a scale is negative"),
        "ranges-step-negative": (RANGES, b"\0", bytes(5) + f32(1, 0, -1, 0), "a step is negative"),
        "ranges-minimum-nan": (RANGES, b"\0", bytes(5) + f32(1, torch.nan, 1, 0), "NaN or infinite"),
        "ranges-overflow": (RANGES, b"\0", b"\xff" * 5 + f32(3e38, 0, 3e38, 0), "not finite"),
        "ranges-of-three": (b"\x22\3\3" + RAW, b"\0", b"", "splits is 3"),
        "ranges-of-17-bits": (b"\x22\x10\2" + RAW, b"\0", b"", "17 bits"),
        "qsgd-scale-nan": (QSGD, b"\0", bytes(40) + f32(torch.nan), "a scale is negative, NaN or infinite"),
    }


def hostile_ans() -> dict[str, tuple[bytes, str]]:
    """Return name -> stream and refusal; the head is that of one table that knows nothing but zero."""
    head, state = b"\2\x08\1\0", b"\0\0\1\0"
    return {
        "mode": (b"\x09" + head[1:] + state, "mode 09"),
        "swapped-vector": (b"\3" + head[1:] + state, "1 dimensions"),
        "direct": (b"\2\x0d\1\0" + state, "9 bits of direct magnitudes"),
        "cut-short": (head[:2], "the head is cut short"),
        "head-padding": (head[:3] + b"\x80" + state, "padding of the head"),
        "state-missing": (head + state[:3], "a block of 3 bytes"),
        "state-too-small": (head + bytes(4), "a state is too small"),
        "state-of-another": (head + b"\1\0\1\0", "does not end where its encoder began"),
        "word-left": (head + state + b"\0\0", "does not end where its encoder began"),
        "zeros-and-more": (b"\0\0", "2 bytes for 3 zeros"),
        "chunk-mode": (b"\1\7", "unknown mode 7"),
    }


def hostile_symbols() -> dict[str, tuple[bytes, str]]:
    """Return name -> stream and refusal, for four symbols: codes of 2 bits as they are, all of them escapes."""
    escapes = b"\x8b\1\0\0\0\xff"
    return {
        "nested-too-deep": (escapes * 4 + b"\0", "unknown mode 11"),
        "nested-missing": (escapes, "an empty chunk"),
        "nested-cut-short": (escapes[:4], "packed codes are cut short"),
        "nested-too-long": (b"\x8b\2\0\0\0\xff\xff\0", "packed codes are cut short"),
        "zeros-and-more": (b"\0\0", "a chunk of zeros has a body"),
    }


def hostile_indices() -> dict[str, tuple[bytes, int, str]]:
    """Return name -> stream, count and refusal."""
    zero = b"\x01\0\x80"
    return {
        "coder-7": (b"\x07", 1, "coder 7 is none of"),
        "rice-width": (b"\x01\x2b" + bytes(7), 1, "no remainder width"),
        "rice-too-many": (b"\x01\0\xc0", 1, "at least 2 indices, expected 1"),
        "rice-beyond": (b"\x01\x28" + bytes(5) + b"\x40", 1, "or more"),
        "bitmap-tail": (b"\x02" + zstd.compress(b"\1\0"), 1, "does not end at the last index"),
        "local12-order": (b"\x04\x02\0\x05\x50\0", 2, "not strictly ascending"),
        "local12-counts": (b"\x04\x01\0\x05\x50\0", 2, "blocks of 1 indices"),
        "split-bomb": (b"\x05\0" + repeated(128), 1, "larger than the 4112 bytes"),
        "runs-too-many": (b"\x06" + struct.pack("<2I", 3, 3) + zero * 2, 2, "3 runs of 2 indices"),
        "runs-too-short": (b"\x06" + struct.pack("<2I", 1, 3) + zero * 2, 2, "runs of 1 indices, expected 2"),
        "runs-of-runs": (b"\x06" + struct.pack("<2I", 1, 1) + b"\x06", 1, "coder 6 is none of"),
        "chunks-too-small": (b"\x03\x0b" + zero, 1, "chunks of 2**11"),
        "chunks-cut-short": (b"\x03\x0c\x09\0\0\0" + zero, 4097, "longer than the stream"),
        "chunks-of-chunks": (b"\x03\x0c\x03\x0c" + zero, 1, "coder 3 is none of"),
    }


def indices_frame(stream: bytes, count: int) -> bytes:
    return frame(INDICES, b"\0" + varint(len(stream)), stream, Spec((count,), torch.int64), inline=True)


def zstd_frame(packed: bytes) -> bytes:
    return frame(ZSTD, b"\0" + varint(len(packed)), packed, inline=True)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def decoded_digests(data: bytes) -> dict[str, str]:
    """Return the hash of spec and bytes of every tensor in a frame that brings its schema."""
    decoded = {name: decode(encoded) for name, encoded in loads_any(data).items()}
    return {name: digest(f"{tuple(x.shape)} {x.dtype} ".encode() + bytes(raw_bytes(x))) for name, x in decoded.items()}


def write(anew: bool) -> None:
    """Write the files and the manifest; ``anew`` also those that are there."""
    manifest = {"good": {}, "bad": {}} if anew or not MANIFEST.exists() else json.loads(MANIFEST.read_text())
    for name, data in good():
        if anew or name not in manifest["good"]:
            (GOLDEN / "good" / f"{name}.twf").write_bytes(data)
            codecs = sorted({str(encoded.codec) for encoded in loads_any(data).values()})
            manifest["good"][name] = {"sha256": digest(data), "codecs": codecs, "tensors": decoded_digests(data)}
    for name, data, words in bad():
        if anew or name not in manifest["bad"]:
            (GOLDEN / "bad" / f"{name}.twf").write_bytes(data)
            manifest["bad"][name] = {"sha256": digest(data), "error": words}
    MANIFEST.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    switch = os.environ.get("THINWIRE_WRITE_GOLDEN")
    sys.exit("set THINWIRE_WRITE_GOLDEN=1 (or =all) to write") if not switch else write(anew=switch == "all")
