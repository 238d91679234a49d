"""What a user gave that cannot be: one sentence, exit code 2, nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

EXTRAS = {
    "flwr": "lab",
    "sklearn": "lab",
    "matplotlib": "lab",
    "rich": "lab",
    "jinja2": "lab",
    "markupsafe": "lab",
    "transformers": "train",
    "tensorboard": "train",
}
"""Packages that thinwire does without until a command needs them, and the extra that brings each."""


class BadInput(Exception):
    """What was given, what is possible, what to do: one sentence for stderr."""


class Unwritten(Exception):
    """A result that was made but could not be written where it was to go: where it is instead, one sentence."""


@contextmanager
def bad_input() -> Iterator[None]:
    """Turn ValueError and OSError inside the block, which checks input and does nothing else, into BadInput."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise BadInput(str(error)) from error


def missing_package(error: ModuleNotFoundError) -> str:
    """Return the sentence for a package of an extra that is not installed, or is in a version that does not fit.

    Raises ``error`` again for any other missing module: that is a bug.
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        raise error
    if package == "flwr" and find_spec(package):  # it is there, and a part of it is not
        return _unfit_flower(error)
    return f"the package {package} is not installed; install it with: pip install 'thinwire[{EXTRAS[package]}]'"


def _unfit_flower(error: ModuleNotFoundError) -> str:
    try:
        from thinwire.flower.versions import explain

        explain(error)
    except ImportError as explained:
        return str(explained)
    raise error
