"""Commands: `compare`, `federate`, `train`, `report`, `bench`, `advise`, `pack`, `unpack`, `inspect`, `list`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from thinwire.cli.bad_input import BadInput, Unwritten, missing_package
from thinwire.cli.parser import parse
from thinwire.cli.streams import flush, lost, tolerant
from thinwire.errors import escaped

__all__ = ["main"]

FAILED, BAD, STOPPED = 1, 2, 130
MOST_SIGNS = 20_000
"""Of a complaint: lists of what is known are long."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 a run failed, 2 bad input (one line on stderr), 130 Ctrl-C.

    1 with one line, too, where output cannot be written, and 141 without where nobody reads it any more.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in arguments if not word.startswith("-")), "")
    tolerant()
    try:
        try:
            return _run(arguments, command)
        finally:
            flush()
    except OSError as error:
        code, text = lost(error)
        return _complain(command, text, code) if text else code


def _run(arguments: Sequence[str], command: str) -> int:
    try:
        options = parse(arguments)
        return int(options.act(options))
    except BadInput as error:
        return _complain(command, str(error), BAD)
    except Unwritten as error:
        return _complain(command, str(error), FAILED)
    except ModuleNotFoundError as error:
        return _complain(command, missing_package(error), BAD)
    except KeyboardInterrupt:
        return STOPPED


def _complain(command: str, text: str, code: int) -> int:
    line = escaped(" ".join(text.split()), MOST_SIGNS)
    print(f"thinwire {escaped(command)}: {line}" if command else f"thinwire: {line}", file=sys.stderr)
    return code
