"""Names of arrays: a record and a key in it, as one; and which array of a reply answers which of its message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from thinwire.errors import WireError

_SEPARATOR = "\x00"
_ANSWERS = {"fitres.parameters": "fitins.parameters"}
"""Records of replies in Flower's older API, and those of the messages that they answer."""


_ONE_MODEL = {"evaluateins.parameters": "fitins.parameters"}
"""Records of that API which hold the same model as another one: in frames both have the name of the latter."""


def full_name(record: str, key: str) -> str:
    """Return the name that a tensor has in frames and states."""
    return record + _SEPARATOR + key


def record_of(name: str) -> str:
    """Return the record of a full name."""
    return name.split(_SEPARATOR, 1)[0]


def short(name: str) -> str:
    """Return a tensor's name as people know it: without its record."""
    return name.split(_SEPARATOR, 1)[-1]


def records_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the records of full names, each once, in order."""
    return tuple(dict.fromkeys(map(record_of, names)))


def moved(name: str, record: str) -> str:
    """Return a full name in another record; the same one where ``record`` is empty."""
    return full_name(record, short(name)) if record else name


def in_frames(name: str) -> str:
    """Return the full name by which frames and references know an array of a message."""
    return full_name(_ONE_MODEL.get(record_of(name), record_of(name)), short(name))


def in_message(name: str, record: str) -> str:
    """Invert ``in_frames``, given the record of the message that a package came in."""
    return full_name(record, short(name)) if _ONE_MODEL.get(record) == record_of(name) else name


def counterparts(reply: Sequence[str], sent: Iterable[str]) -> dict[str, str]:
    """Return full name in a reply -> that of the array of the message which it is a new value of, where there is one.

    It has the same key, in the record of the same name; or, if a reply has one record and its message had one, whatever
    their names.
    """
    names = set(sent)
    theirs, ours = records_of(reply), records_of(sorted(names))
    alone = {theirs[0]: ours[0]} if len(theirs) == len(ours) == 1 else {}
    pairs = {record: record if record in ours else _ANSWERS.get(record, alone.get(record, "")) for record in theirs}
    found = {name: full_name(pairs[record_of(name)], short(name)) for name in reply}
    return {name: base for name, base in found.items() if base in names}


def answering(record: str) -> str:
    """Return the record in which an answer to a record of a message comes."""
    return next((answer for answer, asked in _ANSWERS.items() if asked == record), record)


def rearranged(reply: Sequence[str], pairs: Mapping[str, str], sent: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a reply in the order of their counterparts in its message, where it answers all of these."""
    places = {base: name for name, base in pairs.items()}
    if len(pairs) != len(reply) or len(places) != len(reply) or len(sent) != len(reply):
        return tuple(reply)
    return tuple(places[base] for base in sent)


def check_full(names: Iterable[str]) -> None:
    """Raise WireError on a name that does not name a record and a key in it."""
    for name in names:
        if _SEPARATOR not in name:
            raise WireError(f"{name!r} does not name an array in a record")


def in_order(names: Sequence[str], others: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    """Return all names of a message: those that a frame carries, and the others at their positions.

    Raises WireError where these are not positions of that message, in order, or a name comes twice.
    """
    merged, rest = list[str](), iter(names)
    places = dict(others)
    total = len(names) + len(others)
    if len(places) != len(others) or any(at >= total for at in places) or len({*names, *places.values()}) != total:
        raise WireError("the arrays that travel beside have no place, or no name, of their own")
    for at in range(total):
        merged.append(places[at] if at in places else next(rest))
    return tuple(merged)
