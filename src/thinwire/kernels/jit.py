"""numba's compiler, or one sentence where it is switched off.

As plain Python our loops would be thousands of times slower and, made for the integers of machine words, now and then
wrong; and a numba that was imported switched off cannot compile later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

if getattr(numba.config, "DISABLE_JIT", 0):
    raise ImportError(
        "numba's compiler is switched off (DISABLE_JIT), and thinwire's loops need it: unset it for this process"
    )

njit: Callable[..., Any] = numba.njit
