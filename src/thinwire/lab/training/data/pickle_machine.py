"""A machine for the few pickle instructions that hold data: it builds dicts, lists and arrays, and calls nothing.

A pickle is a program. Python's own reader runs it; this one knows the instructions that CIFAR's files hold and refuses
a file with any other. They are those of protocols 2 to 4: the published files are written in 2, and copies made by a
later Python in 3 or 4.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MARK = object()
VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES"),
}
"""Instructions whose argument is the value."""
EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
IGNORED = {"PROTO", "FRAME"}
NAMES = {
    "numpy.core.multiarray _reconstruct": "array",
    "numpy._core.multiarray _reconstruct": "array",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
}


@dataclass(frozen=True)
class Name:
    """What a file may name, by our word for it."""

    word: str


@dataclass(eq=False)
class Made:
    """An array or a dtype: what it was made with and what it was filled with, as the file has them."""

    kind: str
    first: Any
    state: Any = None


def run(content: bytes) -> dict[str | bytes, Any]:
    """Return the dict that a pickle builds; raises ValueError, TypeError or such for another value or a damaged one."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for name, argument in _instructions(content):
        if name in VALUES:
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        else:
            _step(name, argument, stack)
    if len(stack) != 1 or not isinstance(stack[0], dict):
        raise ValueError("its value is not a dict")
    return stack[0]


def _instructions(content: bytes) -> Iterator[tuple[str, Any]]:
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name not in IGNORED and opcode.name != "STOP":
            yield opcode.name, argument


def _step(name: str, argument: Any, stack: list[Any]) -> None:
    if name == "MARK":
        stack.append(MARK)
    elif name in EMPTY:
        stack.append(EMPTY[name]())
    elif name in CONSTANTS:
        stack.append(CONSTANTS[name])
    elif name in TUPLES:
        stack.append(tuple(_popped(stack, TUPLES[name])))
    elif name == "TUPLE":
        stack.append(tuple(_since_mark(stack)))
    elif name in ("APPEND", "APPENDS"):
        values = _popped(stack, 1) if name == "APPEND" else _since_mark(stack)
        list.extend(stack[-1], values)
    elif name in ("SETITEM", "SETITEMS"):
        pairs = _popped(stack, 2) if name == "SETITEM" else _since_mark(stack)
        if not all(isinstance(key, str | bytes) for key in pairs[::2]):
            raise ValueError("it has a key that is no text")
        dict.update(stack[-1], zip(pairs[::2], pairs[1::2], strict=True))
    else:
        _make(name, argument, stack)


def _make(name: str, argument: Any, stack: list[Any]) -> None:
    if name in ("GLOBAL", "STACK_GLOBAL"):
        wanted = argument if name == "GLOBAL" else " ".join(_popped(stack, 2))
        if wanted not in NAMES:
            raise ValueError(f"it asks for {wanted!r}")
        stack.append(Name(NAMES[wanted]))
    elif name == "REDUCE":
        called, arguments = _popped(stack, 2)
        stack.append(_made(called, arguments))
    elif name == "BUILD":
        (state,) = _popped(stack, 1)
        if not isinstance(stack[-1], Made):
            raise ValueError("it fills what is no array")
        stack[-1].state = state
    else:
        raise ValueError(f"it holds the instruction {name}")


def _made(called: Any, arguments: Any) -> Any:
    if not isinstance(called, Name) or not isinstance(arguments, tuple):
        raise ValueError("it calls what is no name")
    return arguments[0].encode("latin-1") if called.word == "encode" else Made(called.word, arguments[0])


def _popped(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count:
        raise ValueError("it takes what is not there")
    values = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return values


def _since_mark(stack: list[Any]) -> list[Any]:
    at = next((at for at in reversed(range(len(stack))) if stack[at] is MARK), None)
    if at is None:
        raise ValueError("it takes what is not there")
    return _popped(stack, len(stack) - at)[1:]
