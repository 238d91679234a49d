"""The parser: every command, its help, and errors of one sentence that name the nearest match."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

import thinwire
from thinwire.cli import compare, federate, inspect, listing, report
from thinwire.cli.bad_input import BadInput
from thinwire.errors import unknown

COMMANDS = {"compare": compare, "federate": federate, "report": report, "inspect": inspect, "list": listing}
EPILOG = """examples:
  thinwire compare --out demo                   eight ways to send a model, three seeds each, and a report
  thinwire federate --uplink "TopK(0.01)"       one federated run, round by round
  thinwire list methods                         what --uplink and --downlink may name

`thinwire COMMAND --help` explains every option of a command."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises BadInput instead of printing its usage, and takes no abbreviations."""

    def __init__(self, **settings: Any) -> None:
        shape = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=shape, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise BadInput."""
        raise BadInput(f"{message}; see {self.prog} --help")


def build() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser and those of the commands by name."""
    parser = Parser(
        prog="thinwire", description="One compression library for everything that training sends.", epilog=EPILOG
    )
    parser.add_argument("--version", action="version", version=f"thinwire {thinwire.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", parser_class=Parser)
    parsers = {}
    for name, module in COMMANDS.items():
        about = {"help": module.SUMMARY, "description": module.__doc__, "epilog": module.EPILOG}
        parsers[name] = commands.add_parser(name, **about)
        module.add_options(parsers[name])
        parsers[name].set_defaults(act=module.act)
    parser.set_defaults(act=lambda _: _help(parser))
    return parser, parsers


def _help(parser: Parser) -> int:
    parser.print_help()
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line. Raises BadInput; SystemExit(0) after --help and --version."""
    parser, parsers = build()
    first = next((word for word in arguments if not word.startswith("-")), "")
    if first and first not in parsers:
        raise BadInput(unknown("command", first, parsers))
    options, rest = parser.parse_known_args(arguments)
    if rest and rest[0].startswith("-"):
        known = re.findall(r"--[\w-]+", parsers.get(first, parser).format_usage())
        raise BadInput(unknown("option", rest[0].partition("=")[0], known))
    if rest:
        raise BadInput(f"{rest[0]!r} is one argument too many; quote texts with blanks, as in --uplink 'TopK(0.1)'")
    return options
