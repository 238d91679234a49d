"""Choose the loops: compiled for lists worth it, the numpy reference for short ones. Both make the same bytes."""

from __future__ import annotations

from typing import Any

from thinwire.kernels.indices import reference

WORTH_COMPILING = 1 << 12


def of(count: int) -> Any:
    """Return the module whose loops suit ``count`` indices."""
    if count < WORTH_COMPILING:
        return reference
    from thinwire.kernels.indices import compiled

    return compiled
