"""One thread per test process, and the same hypothesis examples at every run."""

from __future__ import annotations

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("thinwire", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("thinwire")
