"""Commands: `compare`, `federate`, `train`, `report`, `bench`, `advise`, `pack`, `unpack`, `inspect`, `list`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from thinwire.cli.bad_input import BadInput, missing_package
from thinwire.cli.parser import parse

__all__ = ["main"]

STOPPED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 a run failed, 2 bad input (one line on stderr), 130 Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in arguments if not word.startswith("-")), "")
    try:
        options = parse(arguments)
        return int(options.act(options))
    except BadInput as error:
        return _complain(command, str(error))
    except ModuleNotFoundError as error:
        return _complain(command, missing_package(error))
    except KeyboardInterrupt:
        return STOPPED


def _complain(command: str, text: str) -> int:
    line = " ".join(text.split())
    print(f"thinwire {command}: {line}" if command else f"thinwire: {line}", file=sys.stderr)
    return 2
