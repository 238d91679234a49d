"""Run by test_compressor.py in a process of its own: print the peak memory of compressing, as JSON.

For every case: what ``compress`` took at its peak beside the new state and the message, as a share of the tensor.
"""

from __future__ import annotations

import json

import torch
from peak_memory import peak_bytes

import thinwire as tw

NUMEL = 1 << 24
CODECS = ("TopK(0.01)", "TopK(0.005, values=Uniform(bits=8))", "RandomK(0.005, rescale=False)")
FEEDBACKS = {"ErrorFeedback()": 1, "MomentumCorrection()": 2}


def main() -> None:
    torch.set_num_threads(1)
    x = torch.randn(4096, NUMEL // 4096, generator=torch.Generator().manual_seed(1))
    shares = {f"{codec}, {feedback}": beside(x, codec, feedback) for codec in CODECS for feedback in FEEDBACKS}
    print(json.dumps(shares))


def beside(x: torch.Tensor, codec: str, feedback: str) -> float:
    compressor = tw.parse(f"Compressor(Fixed({codec}), {feedback})")
    message, state, _ = compressor.compress({"x": x}, {})
    # What the allocator keeps from before only ever adds to a peak.
    peak = min(peak_bytes(lambda: compressor.compress({"x": x}, state)) for _ in range(3))
    return (peak - message["x"].payload_bytes) / (x.numel() * x.itemsize) - FEEDBACKS[feedback]


if __name__ == "__main__":
    main()
