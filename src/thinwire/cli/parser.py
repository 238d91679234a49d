"""The parser: every command, its help, and errors of one sentence that name the nearest match."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

import thinwire
from thinwire.cli import advise, bench, compare, federate, inspect, listing, pack, report, train, unpack
from thinwire.cli.bad_input import BadInput
from thinwire.errors import unknown

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

COMMANDS: dict[str, ModuleType] = {
    "compare": compare,
    "federate": federate,
    "train": train,
    "report": report,
    "bench": bench,
    "advise": advise,
    "pack": pack,
    "unpack": unpack,
    "inspect": inspect,
    "list": listing,
}
"""A command has options and an act; one with PARTS is a family of commands instead, and one with VARIANTS takes other
options, and acts otherwise, where the option that names a variant is given."""
EPILOG = """examples:
  thinwire compare --out demo                   eight ways to send a model, three seeds each, and a report
  thinwire federate --uplink "TopK(0.01)"       one federated run, round by round
  thinwire train --compressor hggtopk           data-parallel training, the gradients compressed
  thinwire bench selectors                      speed and quality of every way to select, on this machine
  thinwire pack model.safetensors --bound nmse=0.001
                                                a checkpoint in a fraction of its bytes
  thinwire list methods                         what --uplink and --downlink may name

`thinwire COMMAND --help` explains every option of a command."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises BadInput instead of printing its usage, and takes no abbreviations."""

    def __init__(self, **settings: Any) -> None:
        shape = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=shape, allow_abbrev=False, **settings)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # argparse's own swallows what goes wrong, and a help that nobody got is no success.
        (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        """Raise BadInput."""
        raise BadInput(f"{message}; see {self.prog} --help")


def build() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser and those of the commands by name."""
    parser = Parser(
        prog="thinwire", description="One compression library for everything that training sends.", epilog=EPILOG
    )
    parser.add_argument("--version", action="version", version=f"thinwire {thinwire.__version__}")
    return parser, _add_commands(parser, COMMANDS)


def _add_commands(parser: Parser, modules: dict[str, ModuleType], family: str = "") -> dict[str, Parser]:
    """Add commands to a parser, which alone shows its help; return their parsers by full name."""
    parser.set_defaults(act=lambda _: _help(parser))
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", parser_class=Parser)
    parsers: dict[str, Parser] = {}
    for name, module in modules.items():
        about = {"help": module.SUMMARY, "description": module.__doc__, "epilog": module.EPILOG}
        added = parsers[family + name] = commands.add_parser(name, **about)
        if parts := getattr(module, "PARTS", None):
            parsers |= _add_commands(added, parts, f"{name} ")
        else:
            module.add_options(added)
            added.set_defaults(act=module.act)
            parsers |= _variants(added.prog, name, getattr(module, "VARIANTS", {}))
    return parsers


def _variants(prog: str, name: str, modules: dict[str, ModuleType]) -> dict[str, Parser]:
    """Return the parsers of a command's variants by full name: 'compare --distributed'."""
    parsers: dict[str, Parser] = {}
    for flag, module in modules.items():
        made = parsers[f"{name} {flag}"] = Parser(
            prog=f"{prog} {flag}", description=module.__doc__, epilog=module.EPILOG
        )
        module.add_options(made)
        made.set_defaults(act=module.act)
    return parsers


def _help(parser: Parser) -> int:
    parser.print_help()
    return 0


def _command(arguments: Sequence[str], parsers: dict[str, Parser]) -> str:
    """Return the full name of the command that is asked for, empty if none is. Raises BadInput for one that is none."""
    words = [word for word in arguments if not word.startswith("-")]
    first = words[0] if words else ""
    if first and first not in parsers:
        raise BadInput(unknown("command", first, [name for name in parsers if " " not in name]))
    others = [name.partition(" ")[2] for name in parsers if name.startswith(f"{first} ")]
    for flag in others:
        if flag.startswith("-") and flag in arguments:
            return f"{first} {flag}"
    parts = [name for name in others if not name.startswith("-")]
    if parts and len(words) > 1 and words[1] not in parts:
        raise BadInput(unknown(f"{first} command", words[1], parts))
    return " ".join(words[:2]) if parts else first


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line. Raises BadInput; SystemExit(0) after --help and --version."""
    parser, parsers = build()
    command = _command(arguments, parsers)
    options, rest = _read(arguments, command, parsers, parser)
    if rest and rest[0].startswith("-"):
        raise BadInput(_unknown_option(rest[0].partition("=")[0], command, parsers, parser))
    if rest:
        raise BadInput(f"{rest[0]!r} is one argument too many; quote texts with blanks, as in --uplink 'TopK(0.1)'")
    return options


def _read(
    arguments: Sequence[str], command: str, parsers: dict[str, Parser], top: Parser
) -> tuple[argparse.Namespace, list[str]]:
    name, _, variant = command.partition(" ")
    if not variant.startswith("-"):
        return top.parse_known_args(arguments)
    at = list(arguments).index(name)
    return parsers[command].parse_known_args([*arguments[:at], *arguments[at + 1 :]])


def _unknown_option(flag: str, command: str, parsers: dict[str, Parser], top: Parser) -> str:
    """Return the sentence for an option that a command does not have: whose it is, or what it may have meant."""
    for other, parser in parsers.items():
        variant = other.startswith(f"{command} --") or command.startswith(f"{other} --")
        if variant and flag in _flags(parser):
            return f"{flag} is an option of `thinwire {other}`, not of `thinwire {command}`"
    return unknown("option", flag, _flags(parsers.get(command, top)) or ["--help"])


def _flags(parser: Parser) -> list[str]:
    return re.findall(r"--[\w-]+", parser.format_usage())
