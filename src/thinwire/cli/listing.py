"""List what can be named: codecs, methods, policies, tasks, models and datasets, one line each."""

from __future__ import annotations

import argparse
import inspect
import shutil
from collections.abc import Callable, Mapping

from thinwire.cli.bad_input import BadInput
from thinwire.errors import unknown

SUMMARY = "list codecs, methods, policies, tasks, models and datasets"
EPILOG = """examples:
  thinwire list                                 everything
  thinwire list methods                         published methods by name, for --uplink and --downlink
  thinwire list tasks                           what compare and federate can train
  thinwire list models                          what train can train; datasets: on what"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    what = "codecs, methods, policies, tasks, models or datasets; default: all"
    parser.add_argument("what", nargs="?", metavar="WHAT", help=what)


def act(options: argparse.Namespace) -> int:
    """Print one list, or all with headings."""
    if options.what is None:
        print("\n\n".join(f"{name}:\n{_lines(entries())}" for name, entries in LISTS.items()))
    elif options.what in LISTS:
        print(_lines(LISTS[options.what]()))
    else:
        raise BadInput(unknown("list", options.what, LISTS))
    return 0


def codecs() -> dict[str, str]:
    """Return class name -> first line of the docstring of every codec."""
    from thinwire import registry

    return {cls.__name__: _first_line(cls) for cls in registry.codecs().values()}


def methods() -> dict[str, str]:
    """Return name -> summary and text of every method of the zoo."""
    from thinwire.zoo import METHODS

    return {name: f"{method.summary}: {method.text}" for name, method in METHODS.items()}


def policies() -> dict[str, str]:
    """Return class name -> first line of the docstring of every policy."""
    from thinwire import registry

    return {name: _first_line(cls) for name, cls in registry.names().items() if hasattr(cls, "plan")}


def tasks() -> dict[str, str]:
    """Return name -> summary of every task."""
    from thinwire.lab.tasks import tasks as known

    return {name: task.summary for name, task in known().items()}


def models() -> dict[str, str]:
    """Return name -> summary of every model of ``train``."""
    from thinwire.lab.models.catalogue import MODELS

    return {name: model.summary for name, model in MODELS.items()}


def datasets() -> dict[str, str]:
    """Return name -> summary of every data set of ``train``."""
    from thinwire.lab.training.data import DATASETS

    return {name: dataset.summary for name, dataset in DATASETS.items()}


LISTS: Mapping[str, Callable[[], dict[str, str]]] = {
    "codecs": codecs,
    "methods": methods,
    "policies": policies,
    "tasks": tasks,
    "models": models,
    "datasets": datasets,
}


def _first_line(cls: type) -> str:
    return inspect.getdoc(cls).splitlines()[0]  # type: ignore[union-attr]


def _lines(entries: Mapping[str, str]) -> str:
    width = max(map(len, entries)) + 2
    room = max(40, shutil.get_terminal_size((160, 24)).columns - width - 2)
    return "\n".join(f"  {name:{width}}{_short(text, room)}" for name, text in entries.items())


def _short(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"
