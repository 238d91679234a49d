"""What `inspect` prints of a ledger: a line a round and direction, what went dense, what was refused, which codecs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

from thinwire.cli.bad_input import BadInput
from thinwire.cli.ledger_file import Line, read_ledger
from thinwire.cli.screen import table

HEAD = ("round", "way", "message", "sent", "bytes", "dense", "ratio", "NMSE", "plain", "refused", "uncompressed")
NONE = "-"
_REASONS, _CODECS, _NAMES = 20, 3, 40
"""How many are shown before the rest is one line: reasons, codecs a tensor, tensors."""


def show_ledger(file: Path, round_: int | None, node: int | None) -> None:
    """Print it; of one round or node only, if given. Raises BadInput, OSError."""
    every = read_ledger(file)
    lines = _of(every, file, round_, node)
    nodes, rounds = {line.node for line in lines}, {line.round for line in lines}
    counts = f"{_counted(len(lines), 'transfer')}, {_counted(len(rounds), 'round')}, {_counted(len(nodes), 'node')}"
    print(f"{_plain(file)}: {counts}")
    if not lines:
        print("nothing was sent: no message with arrays went through thinwire")
        return
    print()
    table(HEAD, list(_rows(lines)), left=3)
    print("\nplain: messages and replies of which nothing was compressed; uncompressed: bytes of arrays that travelled")
    print("as they were, in those or beside a frame; a ratio is dense over sent, over what was not refused")
    for part in (_totals(lines), _dense(lines), _refused(lines), _codecs(lines, round_, node)):
        print(*("", *part), sep="\n") if part else None


def _of(every: Sequence[Line], file: Path, round_: int | None, node: int | None) -> list[Line]:
    """Return the lines of a round and a node, where these are given. Raises BadInput where there are none."""
    found = [line for line in every if round_ in (None, line.round) and node in (None, line.node)]
    if every and not found:
        rounds = sorted({line.round for line in every})
        wanted = " and ".join(
            f"{name} {value}" for name, value in (("round", round_), ("node", node)) if value is not None
        )
        nodes = ", ".join(map(str, sorted({line.node for line in every})[:5]))
        raise BadInput(
            f"{file} has nothing of {wanted}: it has rounds {rounds[0]} to {rounds[-1]}, nodes such as {nodes}"
        )
    return found


def _rows(lines: Sequence[Line]) -> Iterator[tuple[str, ...]]:
    groups: dict[tuple[int, str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.round, line.way, line.message), []).append(line)
    for (round_, way, message), group in sorted(groups.items(), key=lambda item: item[0][0]):
        taken = [line for line in group if not line.refused]
        sent, dense = (sum(getattr(line, key) for line in taken) for key in ("payload_bytes", "dense_bytes"))
        plain, refused = sum(line.dense for line in group), len(group) - len(taken)
        about = (str(round_), way, _plain(message) or NONE, str(len(group)))
        yield (
            *about,
            f"{sent:,}",
            f"{dense:,}",
            _ratio(dense, sent),
            _error(taken),
            *_some(plain, refused, _idle(group)),
        )


def _some(*counts: int) -> tuple[str, ...]:
    return tuple(f"{count:,}" if count else NONE for count in counts)


def _idle(lines: Iterable[Line]) -> int:
    """Return the bytes of arrays that travelled as they were."""
    return sum(line.payload_bytes if line.dense else line.beside_bytes for line in lines)


def _totals(lines: Sequence[Line]) -> list[str]:
    said = []
    for way, name in (("down", "down"), ("up", "up"), ("", "both")):
        taken = [line for line in lines if line.way.startswith(way) and not line.refused]
        sent, dense = (sum(getattr(line, key) for line in taken) for key in ("payload_bytes", "dense_bytes"))
        error = f", NMSE {_error(taken)}" if way else ""
        said.append(f"{name:5s} {sent:>15,} bytes of {dense:,} dense, {_ratio(dense, sent)}{error}")
    return said


def _dense(lines: Sequence[Line]) -> list[str]:
    """Return what travelled as it was, and whether that is everything."""
    taken = [line for line in lines if not line.refused]
    plain = [line for line in taken if line.dense]
    said = []
    if taken and len(plain) == len(taken):
        said.append("warning: nothing was compressed")
    if plain:
        nodes = sorted({line.node for line in plain})
        shown = ", ".join(map(str, nodes[:_NAMES])) + (
            f" and {len(nodes) - _NAMES} more" if len(nodes) > _NAMES else ""
        )
        said.append(f"not compressed: {_counted(len(plain), 'transfer')} with {_counted(len(nodes), 'node')}: {shown}")
    if beside := sum(line.beside_bytes for line in taken if not line.dense):
        said.append(f"as they were: {beside:,} bytes, of arrays that no frame carries or in ConfigRecords")
    return said


def _refused(lines: Sequence[Line]) -> list[str]:
    refused = [line for line in lines if line.refused]
    said = [
        f"refused: round {line.round}, node {line.node}, {line.way} {_plain(line.message)}".rstrip()
        + f": {_plain(line.reason, 300) or 'no reason was noted'}"
        for line in refused[:_REASONS]
    ]
    return [*said, f"and {len(refused) - _REASONS} more"] if len(refused) > _REASONS else said


def _codecs(lines: Sequence[Line], round_: int | None, node: int | None) -> list[str]:
    """Return which codecs were chosen: a line a direction and tensor, the most frequent ones first."""
    chosen: dict[tuple[str, str], Counter[str]] = {}
    for line in lines:
        for name, codec in line.codecs.items():
            chosen.setdefault((line.way, name), Counter())[codec] += 1
    said = [f"{way} {_plain(name)}: {_most(counts)}" for (way, name), counts in sorted(chosen.items())]
    rest = [f"and {len(said) - _NAMES} more tensors"] if len(said) > _NAMES else []
    head = ["codecs, and how often:" if round_ is None or node is None else "codecs:"] if said else []
    return [*head, *(f"  {text}" for text in said[:_NAMES]), *rest]


def _most(counts: Counter[str]) -> str:
    shown = [_plain(codec) + (f" x{count}" if count > 1 else "") for codec, count in counts.most_common(_CODECS)]
    left = len(counts) - len(shown)
    return "; ".join(shown) + (f"; and {left} more" if left > 0 else "")


def _ratio(dense: int, sent: int) -> str:
    return f"{dense / sent:.1f}x" if sent else NONE


def _error(lines: Iterable[Line]) -> str:
    known = [line.nmse for line in lines if line.nmse is not None]
    return f"{fmean(known):.2g}" if known else NONE


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _plain(text: object, most: int = 120) -> str:
    """Return a stranger's text as it may be shown: in one line, and nothing in it moves or hides what is there."""
    whole = str(text)
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in whole[:most])
    return shown if len(whole) <= most else f"{shown}..."
