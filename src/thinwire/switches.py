"""The one switch of the environment that thinwire cannot run under, refused before anything else is imported."""

from __future__ import annotations

import os

if os.environ.get("NUMBA_DISABLE_JIT", "0").strip() not in ("", "0"):
    raise ImportError(
        "NUMBA_DISABLE_JIT is set, and thinwire's loops run compiled by numba or not at all: unset it for this process"
    )
