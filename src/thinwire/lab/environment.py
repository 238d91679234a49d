"""Where a run took place: versions, machine and, in a checkout of thinwire, its commit."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import thinwire

PACKAGE = Path(thinwire.__file__).parent


@cache
def environment() -> dict[str, str]:
    """Return what a run file says about its place; values are short texts."""
    return {
        "python": platform.python_version(),
        "torch": _version("torch"),
        "flwr": _version("flwr"),
        "thinwire": thinwire.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "commit": commit(PACKAGE),
    }


def commit(package: Path) -> str:
    """Return the commit of the checkout that `package` is part of, `-dirty` where files differ; else 'unknown'."""
    top = _git(package, "rev-parse", "--show-toplevel")
    # An installed package may lie inside some other project's repository, whose commit would say nothing.
    ours = bool(top) and Path(top).resolve() / "src" / "thinwire" == package.resolve()
    return (_git(package, "describe", "--always", "--dirty") if ours else "") or "unknown"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
