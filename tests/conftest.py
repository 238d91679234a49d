"""One thread per test process, and the same hypothesis examples at every run."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from typing import TextIO

import pytest
import torch
from hypothesis import settings

from thinwire.collective.loopback import GLOO_INTERFACE, interface

torch.set_num_threads(1)
os.environ[GLOO_INTERFACE] = interface()
"""Ranks that tests start are nobody else's to reach; processes inherit it."""
settings.register_profile("thinwire", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("thinwire")

HANGS_S = 420
"""More than the five minutes in which hypothesis makes a failing example smaller: what failed should be told."""


@pytest.fixture(scope="session")
def _traceback(pytestconfig: pytest.Config) -> Iterator[TextIO]:
    """Where a hang is written: nobody reads the stderr of a test process that xdist started."""
    path = pytestconfig.rootpath / ".pytest_cache" / f"hang-{os.getpid()}.txt"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        yield file
    path.unlink()


@pytest.fixture(autouse=True)
def _no_test_hangs(request: pytest.FixtureRequest, _traceback: TextIO) -> Iterator[None]:
    """End the test process, with a traceback of every thread, where a fast test takes minutes: a hang is a failure."""
    if request.node.get_closest_marker("slow") is None:
        faulthandler.dump_traceback_later(HANGS_S, exit=True, file=_traceback)
    yield
    faulthandler.cancel_dump_traceback_later()
