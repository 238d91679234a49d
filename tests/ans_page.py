"""A decoder of `Ans` streams written from docs/wire-format.md alone, bit by bit and slowly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from thinwire.kernels import chunks
from thinwire.kernels.ans.tables import _POWERS as P

Table = list[tuple[int, int, int]]
"""Per signed token: its value (of least magnitude), its frequency, its raw bits."""


class Bits:
    def __init__(self, data: bytes) -> None:
        self.bits = [byte >> i & 1 for byte in data for i in range(8)]
        self.at = 0

    def take(self, width: int) -> int:
        self.at += width
        return sum(bit << i for i, bit in enumerate(self.bits[self.at - width : self.at]))

    def eg(self, k: int) -> int:
        w = 0
        while not self.take(1):
            w += 1
        return ((1 << w) + self.take(w) - 1 << k) + self.take(k)

    def sg(self, k: int) -> int:
        code = self.eg(k)
        return -(code + 1) // 2 if code % 2 else code // 2


def levels(head: Bits, lengths: list[int]) -> list[list[int]]:
    k, rows, before = head.take(2), [], []
    for length in lengths:
        row: list[int] = []
        for place in range(length):
            guess = before[min(place, len(before) - 1)] if before else row[-1] if row else 0
            row.append(guess + head.sg(k))
        rows.append(row)
        before = row or before
    return rows


def chance(level: int, fineness: int) -> int:
    if level == 16 << fineness:
        return 65536
    i = level << 4 - fineness
    a, b = int(P[i % 16]) << max(i // 16, 0), 65536 << max(-(i // 16), 0)
    return a * 65536 // (a + b)


def walks(head: Bits, count: int) -> tuple[int, list[list[int]]]:
    """Return the fineness and the frequencies of magnitude tokens of every table."""
    fineness = head.take(2) + 1
    sizes = [1]
    for _ in range(count):
        sizes.append(sizes[-1] + head.sg(2))
    explicit = [head.eg(0) + 1 if size > 1 else 0 for size in sizes[1:]]
    tables = []
    for size, row in zip(sizes[1:], levels(head, explicit), strict=True):
        rest, table = 16384, []
        for token in range(size - 1):
            takes = rest * chance(row[min(token, len(row) - 1)], fineness) // 65536
            takes = max(min(takes, rest - 2 * (size - 1 - token)), 2 if token else 1)
            table.append(takes)
            rest -= takes
        tables.append([*table, rest])
    return fineness, tables


def magnitude(token: int, d: int) -> tuple[int, int]:
    """Return the least magnitude of a token and its raw bits."""
    if token < 1 << d:
        return token, 0
    p, part = d + (token - (1 << d)) // 4, (token - (1 << d)) % 4
    return (1 << p) + (part << p - 2), p - 2


def signed(table: list[int], chances: list[int], d: int) -> Table:
    out = [(0, table[0], 0)]
    for token, frequency in enumerate(table[1:], 1):
        value, raw = magnitude(token, d)
        chance = chances[min(token, 3) - 1]
        plus = max(1, min(frequency - 1, (frequency * chance + 32768) // 65536)) if chance < 65536 else frequency
        out += [(-value, frequency - plus, raw), (value, plus, raw)]
    return out


def holder(table: Table, slot: int) -> tuple[int, tuple[int, int, int]]:
    """Return where the token that holds a slot starts, and the token."""
    start, tokens = 0, iter(table)
    token = next(tokens)
    while slot >= start + token[1]:
        start += token[1]
        token = next(tokens)
    return start, token


def block(data: bytes, order: list[Table], states: int) -> list[int]:
    """Return one value per table of ``order``."""
    x = np.frombuffer(data, "<u4", states).astype(int).tolist()
    words = iter(np.frombuffer(data, "<u2", offset=4 * states).astype(int).tolist())
    out = []
    for turn, table in enumerate(order):
        lane = turn % states
        start, (value, frequency, raw) = holder(table, x[lane] % 16384)
        state = frequency * (x[lane] >> 14) + x[lane] % 16384 - start
        state = state << 16 | next(words) if state < 1 << 16 else state
        more = 0
        for shift in range(0, raw, 16):
            piece = min(16, raw - shift)
            more |= state % (1 << piece) << shift
            state >>= piece
            state = state << 16 | next(words) if state < 1 << 16 else state
        x[lane] = state
        out.append(value + more if value > 0 else value - more)
    assert x == [1 << 16] * states
    assert next(words, None) is None
    return out


def decoded(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    n = math.prod(shape)
    mode, body = data[0], data[1:]
    if mode == 0:
        return np.zeros(n, np.int32)
    if mode == 1:
        return chunks.decode(body, n)
    values = modelled(body, n)
    if mode == 3:
        swapped = values.reshape(shape[1], shape[0], *shape[2:])
        return swapped.swapaxes(0, 1).reshape(-1)
    return np.where(values % 2 == 1, -(values + 1) // 2, values // 2) if mode == 4 else values


def modelled(body: bytes, n: int) -> np.ndarray:
    head = Bits(body)
    d = head.take(3) + 4
    table_of = [0]
    for _ in range(head.eg(2)):
        table_of.append(table_of[-1] + head.take(1))
    fineness, tables = walks(head, table_of[-1] + 1)
    chance_of, chances = [0], [[32768] * 3]
    if head.take(1):
        for _ in range(11):
            chance_of.append(chance_of[-1] + head.take(1))
        chances += [[chance(x, fineness) for x in row] for row in levels(head, [3] * chance_of[-1])]
        shifts = [head.sg(0) for _ in range(12)]
    else:
        chance_of, shifts = [0] * 12, [0] * 12
    sides: list[Any] = []
    for _ in range(2):
        flags = head.take(1), head.take(1)
        sides.append((flags, walks(head, sum(flags))[1], head.eg(6)) if any(flags) else (flags, [], 0))
    width = head.eg(6) + 1 if any(any(flags) for flags, *_ in sides) else min(n, 4096)
    rows, step = -(-n // width), max(1, 2**20 // width)
    count = -(-rows // step)
    marks = [(head.take(1), head.eg(14) if i < count - 1 else None) for i in range(count)]
    at = (head.at + 7) // 8
    sizes, found = (rows, width), []
    for (flags, some, size_bytes), live in zip(sides, (sizes, None), strict=True):
        live = live or tuple(sum(x > 0 for x in side) for side in found)
        order = [[(v, f, 0) for v, f in enumerate(table)]
                 for table, length in zip(some, [x for x, flag in zip(live, flags, strict=True) if flag], strict=True)
                 for _ in range(length)]  # fmt: skip
        numbers = block(body[at : at + size_bytes], order, 4 if len(order) >= 4096 else 1) if order else []
        at += size_bytes
        for flag, length in zip(flags, live, strict=True):
            found.append(numbers[:length] if flag else [1 if not len(found) // 2 else 2] * length)
            numbers = numbers[length:] if flag else numbers
    classes = found[:2]
    phases = [iter(-(x + 1) // 2 if x % 2 else x // 2 for x in side) for side in found[2:]]
    phase = [[next(own) if x else 0 for x in side] for own, side in zip(phases, classes, strict=True)]
    out = np.zeros(n, np.int64)
    for i, (chunked, size_bytes) in enumerate(marks):
        end = len(body) if size_bytes is None else at + size_bytes
        these = range(i * step, min((i + 1) * step, rows))
        if chunked:
            part = chunks.decode(body[at:end], min(n, these.stop * width) - these.start * width)
            out[these.start * width : these.start * width + part.size] = part
        else:
            places = [(r * width + c, r, c) for r in these for c in range(width)
                      if r * width + c < n and classes[0][r] and classes[1][c]]  # fmt: skip
            order = []
            for _, r, c in places:
                both = (abs(phase[0][r]), abs(phase[1][c]))
                angle = sum(both) - 1 if all(both) else 0
                table = classes[0][r] + classes[1][c] - 2 + shifts[angle]
                table = table_of[max(0, min(table, len(table_of) - 1))]
                order.append(signed(tables[table], chances[chance_of[angle]], d))
            coded = sum(classes[0][r] > 0 for r in these) * sum(x > 0 for x in classes[1])
            numbers = block(body[at:end], order, 4 if coded >= 4096 else 1) if places else []
            for (place, r, c), value in zip(places, numbers, strict=True):
                out[place] = -value if phase[0][r] * phase[1][c] < 0 else value
        at = end
    return out
