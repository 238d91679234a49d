"""One thread per test process, and the same hypothesis examples at every run."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("thinwire", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("thinwire")

HANGS_S = 240


@pytest.fixture(autouse=True)
def _no_test_hangs(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the test process, with a traceback of every thread, where a fast test takes minutes: a hang is a failure."""
    if request.node.get_closest_marker("slow") is None:
        faulthandler.dump_traceback_later(HANGS_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
