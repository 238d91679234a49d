"""Run by test_step.py in a process of its own: print what `Step` takes at its peak beside input and output, as JSON.

As a share of the tensor, for encoding and for decoding.
"""

from __future__ import annotations

import json

import torch
from peak_memory import peak_bytes

import thinwire as tw

NUMEL = 1 << 24


def main() -> None:
    torch.set_num_threads(1)
    x = torch.randn(4096, NUMEL // 4096, generator=torch.Generator().manual_seed(1))
    shares = {}
    for text in ("Step(step=2.0)", "Step(step=0.3)", "Step(step=0.015)", "Step(nmse=0.1)", "Step(absolute=0.01)"):
        codec = tw.parse(text)
        encoded = tw.encode(codec, x)
        encoding = min(peak_bytes(lambda codec=codec: tw.encode(codec, x)) for _ in range(2)) - encoded.payload_bytes
        decoding = min(peak_bytes(lambda encoded=encoded: tw.decode(encoded)) for _ in range(2)) - 4 * NUMEL
        shares |= {f"{text} encode": encoding / (4 * NUMEL), f"{text} decode": decoding / (4 * NUMEL)}
    print(json.dumps(shares))


if __name__ == "__main__":
    main()
