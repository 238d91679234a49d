"""Run by tests in a process of its own: print what codecs take at their peak beside input and output, as JSON.

As a share of the tensor, for encoding and for decoding. The arguments are codecs.
"""

from __future__ import annotations

import json
import sys

import torch
from peak_memory import peak_bytes

import thinwire as tw

NUMEL = 1 << 24


def main() -> None:
    torch.set_num_threads(1)
    x = torch.randn(4096, NUMEL // 4096, generator=torch.Generator().manual_seed(1))
    shares = {}
    for text in sys.argv[1:]:
        codec = tw.parse(text)
        encoded = tw.encode(codec, x)
        encoding = min(peak_bytes(lambda codec=codec: tw.encode(codec, x)) for _ in range(2)) - encoded.payload_bytes
        decoding = min(peak_bytes(lambda encoded=encoded: tw.decode(encoded)) for _ in range(2)) - 4 * NUMEL
        shares |= {f"{text} encode": encoding / (4 * NUMEL), f"{text} decode": decoding / (4 * NUMEL)}
    print(json.dumps(shares))


if __name__ == "__main__":
    main()
