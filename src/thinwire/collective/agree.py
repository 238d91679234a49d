"""What ranks tell each other before they exchange anything: that all is well, the plan, and how much comes.

A rank that cannot go on says so here, so that all ranks raise the same error instead of waiting for it; and ranks that
planned differently find out before one reads the other's bytes.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from thinwire.collective.link import Begun, TorchLink
from thinwire.errors import NonFiniteError, PeerError, PlanMismatch, WireError

KINDS = ("failed", "end", "sum", "gather", "all-to-all")
_KNOWN: dict[str, type[Exception]] = {cls.__name__: cls for cls in (NonFiniteError, WireError, PlanMismatch)}
_SHOWN = 200
_MOST_REFUSAL_BYTES, _MOST_PLAN_BYTES = 1 << 16, 1 << 24
"""Of what ranks tell each other in words: what is longer is cut where it leaves, and nobody takes in more."""
_ROW = 2
"""Numbers that a rank tells of itself, before one for each rank: the kind and a note in one, and the plan's digest."""
_NOTE, _MOST_NOTE = 1 << 8, 1 << 32


@dataclass(frozen=True)
class Plan:
    """What a rank is about to do, line by line: each under the name of the tensor (or setting) that it is for."""

    lines: Mapping[str, str]

    @cached_property
    def digest(self) -> int:
        """Return a number that other plans do not have."""
        hashed = hashlib.blake2b(self.text.encode(), digest_size=8)
        return int.from_bytes(hashed.digest(), "little", signed=True)

    @property
    def text(self) -> str:
        """Return all lines as one text."""
        return "\n".join(f"{name}\t{line}" for name, line in self.lines.items())


def terms_bytes(world: int) -> int:
    """Return the bytes that a rank sends to agree once: what it tells of itself, a number for each rank, a check."""
    return (world - 1) * 8 * (_ROW + world + 1)


@dataclass(frozen=True)
class Coming:
    """How many bytes each rank has for this one, and what of them is here already."""

    sizes: list[int]
    begun: Begun
    notes: list[int]


def agree(link: TorchLink, plan: Plan, kind: str, outgoing: Sequence[Tensor], note: int = 0) -> Coming:
    """State the next exchange and how many bytes go to each rank, and begin it; return what each has for this one.

    ``note``: a number from 0 to 2**32 - 1 that need not be the same on all ranks, at no cost.
    Raises, on all ranks alike: what a rank refused with (see ``refuse``); PlanMismatch where plans differ.
    """
    rows, begun = _told(link, [KINDS.index(kind) + note * _NOTE, plan.digest, *map(len, outgoing)], kind, outgoing)
    notes = [row[0] // _NOTE for row in rows]
    rows = [[row[0] % _NOTE, *row[1:]] for row in rows]
    if any(row[0] == KINDS.index("failed") for row in rows):
        raise _failure(link, rows, _raw("", 0))
    if any(row[:_ROW] != rows[0][:_ROW] for row in rows):
        raise _mismatch(link, plan, [KINDS[row[0]] for row in rows])
    return Coming([row[_ROW + link.rank] for row in rows], begun, notes)


def refuse(link: TorchLink, plan: Plan, error: Exception) -> Exception:
    """Tell all ranks, in place of the next ``agree``, that this one cannot go on; return the error they all raise."""
    if link.world == 1:
        return error
    raw = _raw(f"{type(error).__name__}\n{error}", _MOST_REFUSAL_BYTES)
    rows, _ = _told(link, [KINDS.index("failed"), plan.digest, *[len(raw)] * link.world])
    return _failure(link, [[row[0] % _NOTE, *row[1:]] for row in rows], raw)


def _told(
    link: TorchLink, row: list[int], kind: str = "terms", outgoing: Sequence[Tensor] | None = None
) -> tuple[list[list[int]], Begun]:
    """Return the rows of all ranks, and what came along of a message of a kind.

    Raises WireError where a row was damaged, or says what cannot be: then nobody knows what comes next.
    """
    told = torch.tensor([*row, _check_word(row)], dtype=torch.int64).view(torch.uint8)
    heads, begun = link.tell(told, kind, outgoing or [told[:0]] * link.world)
    rows = [x.view(torch.int64).tolist() for x in heads]
    for rank, (*words, check) in enumerate(rows):
        if check != _check_word(words):
            raise link.broken(WireError(f"what rank {rank} said of the next exchange was damaged on its way"))
        note, number = divmod(words[0], _NOTE)
        if len(words) > 1 and not (0 <= note < _MOST_NOTE and number < len(KINDS)):
            raise link.broken(WireError(f"rank {rank} is at an exchange of a kind that there is not: {words[0]}"))
    return [words for *words, _ in rows], begun


def _check_word(row: Sequence[int]) -> int:
    return zlib.crc32(repr(row).encode())


def _failure(link: TorchLink, rows: list[list[int]], raw: Tensor) -> Exception:
    """Return the error of the first rank that failed, naming it; further ranks' texts follow."""
    failed = [rank for rank, row in enumerate(rows) if row[0] == KINDS.index("failed")]
    sizes = [rows[rank][_ROW] if rank in failed else 0 for rank in range(link.world)]
    texts = _texts(link, raw, sizes, _MOST_REFUSAL_BYTES)
    names, _, told = zip(*(texts[rank].partition("\n") for rank in failed), strict=True)
    return failure(dict(zip(failed, zip(names, told, strict=True), strict=True)))


def failure(said: Mapping[int, tuple[str, str]]) -> Exception:
    """Return the error that all ranks raise where some failed: rank -> the name of its error, and its words."""
    sentence = "; ".join(f"rank {rank}: {words}" for rank, (_, words) in said.items())
    name = next(iter(said.values()))[0]
    return _KNOWN[name](sentence) if name in _KNOWN else PeerError(f"{name}: {sentence}")


def _mismatch(link: TorchLink, plan: Plan, kinds: list[str]) -> PlanMismatch:
    """Return an error that names the first line that is not the same on all ranks."""
    raw = _raw(plan.text, _MOST_PLAN_BYTES)
    sizes = [row[0] for row in _told(link, [len(raw)])[0]]
    texts = _texts(link, raw, sizes, _MOST_PLAN_BYTES)
    plans = [dict(line.partition("\t")[::2] for line in text.split("\n")) for text in texts]
    for name in dict.fromkeys(name for lines in plans for name in lines):
        given = [lines.get(name, "nothing") for lines in plans]
        if len(set(given)) > 1:
            return PlanMismatch(f"{name[:_SHOWN]} differs between ranks: {_by_rank(given)}")
    if len(set(kinds)) == 1:
        return PlanMismatch(f"plans differ between ranks after their first {_MOST_PLAN_BYTES:,} bytes")
    return PlanMismatch(f"ranks are at different exchanges: {_by_rank(kinds)}")


def _by_rank(given: Sequence[str]) -> str:
    """Return who has what: ranks that have the same are named together."""
    groups: dict[str, list[str]] = {}
    for rank, value in enumerate(given):
        groups.setdefault(value, []).append(str(rank))
    return "; ".join(f"rank {', '.join(ranks)}: {value[:_SHOWN]}" for value, ranks in groups.items())


def _raw(text: str, most: int) -> Tensor:
    """Return a text as 1-D uint8, cut to so many bytes."""
    data = bytearray(text.encode(errors="replace")[:most])
    return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def _texts(link: TorchLink, raw: Tensor, sizes: Sequence[int], most: int) -> list[str]:
    """Return what all ranks say in words. Raises WireError where one claims more bytes than there may be."""
    for rank, size in enumerate(sizes):
        if not 0 <= size <= most:
            raise link.broken(WireError(f"rank {rank} has {size} bytes of text to tell, expected at most {most}"))
    return [_read(x) for x in link.swap("terms", [raw] * link.world, sizes)]


def _read(raw: Tensor) -> str:
    return raw.numpy().tobytes().decode(errors="replace")
