"""Three ranks for the whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ranks import Ranks


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    made = Ranks(3)
    yield made
    made.close()
