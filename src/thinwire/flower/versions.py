"""Which flwr is installed, which ones thinwire is tested with, and what is said when these differ."""

from __future__ import annotations

import importlib
import re
import warnings
from importlib import metadata
from typing import Any

OLDEST, NEWEST = (1, 33), (1, 42)
"""First and last release (major, minor) that the tests of `thinwire.flower` pass on; pyproject.toml states the same."""

DISTRIBUTIONS = "flwr", "flwr-nightly"


def find(name: str, *modules: str, optional: bool = False) -> Any:
    """Return `name` from the first of `modules` that has it; releases of flwr move what is outside its API.

    Raises:
        ImportError: none of them has it and it is not `optional` (then None is returned).
    """
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    if optional:
        return None
    raise ImportError(f"flwr has no {name} in {' or '.join(modules)}", name=modules[0])


def installed() -> str | None:
    """Return the version of the installed flwr, nightly builds included; None without one."""
    for distribution in DISTRIBUTIONS:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def explain(error: ImportError) -> None:
    """Raise `error` anew, as a sentence about the installed flwr, if it is one of flwr's names that is missing."""
    if (error.name or "").split(".")[0] != "flwr":
        return
    version = installed()
    found = f"flwr {version} is installed" if version else "flwr is not installed"
    broken = f", but this one lacks a part ({error})" if version and _tested(version) else ""
    message = f"{found}; thinwire.flower works with {_range()}{broken}: {_remedy()}"
    raise type(error)(message, name=error.name) from error


def warn_if_untested() -> None:
    """Warn when the installed flwr imports well but is none that thinwire is tested with."""
    version = installed()
    if version is not None and not _tested(version):
        warnings.warn(
            f"flwr {version} is installed; thinwire.flower is tested with {_range()}. It may work; if not: {_remedy()}",
            stacklevel=3,
        )


def _tested(version: str) -> bool:
    release = re.match(r"(\d+)\.(\d+)", version)
    return release is not None and OLDEST <= (int(release[1]), int(release[2])) <= NEWEST


def _range() -> str:
    return "flwr {}.{} to {}.{}".format(*OLDEST, *NEWEST)


def _remedy() -> str:
    return "pip install 'flwr>={}.{},<{}.{}'".format(*OLDEST, NEWEST[0], NEWEST[1] + 1)
