"""Fixed-rate quantizers at equal bits: error on three kinds of data, and speed.

    python bench/rotation.py --out results/rotation.json

Bits are those of real payloads, scales and padding included. Data: 2**18 normal and Laplace samples, a tensor of
channels of different spread with heavy tails, and the hidden layer's update of one client on the digits task. Speed is
that of one thread on 2**22 float32, in units of a copy in the same run, the least of several.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from choices import laplace, updates
from torch import Tensor

import thinwire as tw
from thinwire.codec import decode, encode_parts
from thinwire.files import write_files
from thinwire.kernels.distortion import nmse
from thinwire.lab.environment import environment

COUNT = 1 << 18
WIDTHS = (1, 2, 3, 4, 8)
BY_WIDTH = {
    "Eden, least error": "Eden(bits={b}, scale='mse')",
    "Eden, unbiased": "Eden(bits={b})",
    "QSGD, largest of 128": "Uniform(bits={b}, symmetric=True, rounding='stochastic', block=128)",
    "QSGD, norm of 512": "Qsgd(levels={s})",
    "min-max, tensor": "Uniform(bits={b})",
    "min-max, channel": "Uniform(bits={b}, block='channel')",
    "min-max, 128": "Uniform(bits={b}, block=128)",
}
FIXED = (
    "NF4()",
    "NF4(scales=Cast())",
    "Natural()",
    "Natural(rounding='nearest')",
    "Eden(bits=0.5, scale='mse')",
    "Eden(bits=4.25, scale='mse')",
)
RANGES = ((1, 2), (1, 4), (2, 4), (4, 4), (6, 4), (3, 8), (8, 8), (9, 8))
FAST = (
    *(f"Eden(bits={bits}, scale={scale!r})" for scale in ("mse", "unbiased") for bits in WIDTHS),
    "Eden(bits=2.5, scale='mse')", "NF4()", "Ranges()", "Ranges(edges='histogram')", "Qsgd()",
    "Uniform(bits=4, block=128)", "Uniform(bits=8)",
)  # fmt: skip


def sources() -> dict[str, Tensor]:
    """Return name -> float32 matrix."""
    random = torch.Generator().manual_seed(0)
    normal = torch.randn(512, COUNT // 512, generator=random)
    student = normal / torch.randn(3, 512, COUNT // 512, generator=random).square().mean(0).sqrt()
    return {
        "normal": normal,
        "laplace": laplace(COUNT).float().view(512, -1),
        "student-t3": student,
        "digits update": updates()["after 1"].float(),
    }


def measured(text: str, x: Tensor) -> dict[str, float]:
    """Return bits an element and NMSE."""
    codec = tw.parse(text)
    encoded = encode_parts(codec, x, 5, {})[0]
    return {"bits": 8 * encoded.payload_bytes / x.numel(), "nmse": nmse(x, decode(encoded))}


def errors(data: dict[str, Tensor]) -> list[dict]:
    """Compare all at 1, 2, 3, 4 and 8 bits."""
    texts = [
        (name, text.format(b=b, s=2 ** (b - 1)))
        for name, text in BY_WIDTH.items()
        for b in WIDTHS
        if b > 1 or "symmetric" not in text
    ]
    rows = []
    for name, text in texts + [(text, text) for text in FIXED]:
        rows.append({"name": name, "codec": text, "data": {key: measured(text, x) for key, x in data.items()}})
        print(text, *(f"{key}: {row['bits']:.2f} b {row['nmse']:.3g}" for key, row in rows[-1]["data"].items()))
    return rows


def ranges(data: dict[str, Tensor]) -> list[dict]:
    """Compare several ranges with one range a channel at the same bits: squared error, and relative error."""
    rows = []
    for bits, splits in RANGES:
        texts = {
            "sort": f"Ranges(bits={bits}, splits={splits})",
            "histogram": f"Ranges(bits={bits}, splits={splits}, edges='histogram')",
            "plain": f"Uniform(bits={tw.Ranges(bits, splits).code_bits}, block='channel')",
        }
        cells = {
            key: {way: measured(text, x) | {"relative": relative(text, x)} for way, text in texts.items()}
            for key, x in data.items()
        }
        rows.append({"bits": bits, "splits": splits, "data": cells})
        shown = (f"{key}: " + " ".join(f"{cell['nmse']:.3g}" for cell in of.values()) for key, of in cells.items())
        print(f"{bits} bits x {splits}:", *shown)
    return rows


def relative(text: str, x: Tensor) -> float:
    """Return the median of ``|x - y| / |x|`` over the elements that are not zero."""
    y = decode(encode_parts(tw.parse(text), x, 5, {})[0])
    return float(((x - y).abs() / x.abs())[x != 0].median())


def least(action: Callable[[], object], times: int = 9) -> float:
    """Return the shortest of several runs, in seconds."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        found.append(time.perf_counter() - start)
    return min(found)


def speeds() -> list[dict]:
    """Encode and decode 2**22 float32, in copies."""
    x, rows = torch.randn(1 << 22, generator=torch.Generator().manual_seed(1)) * 1e-3, []
    for text in FAST:
        codec = tw.parse(text)
        encoded = encode_parts(codec, x, 1, {})[0]
        copy = least(x.clone, 25)
        row = {
            "codec": text,
            "copy_s": copy,
            "encode_copies": least(lambda codec=codec: encode_parts(codec, x, 1, {})) / copy,
            "decode_copies": least(lambda encoded=encoded: decode(encoded)) / copy,
        }
        rows.append(row)
        print(f"{text}: encode {row['encode_copies']:.1f}, decode {row['decode_copies']:.1f} copies")
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=Path("results/rotation.json"))
    out = arguments.parse_args().out
    torch.set_num_threads(1)
    data = sources()
    result = {
        "schema": "thinwire.rotation/1",
        "environment": environment(),
        "errors": errors(data),
        "ranges": ranges(data),
        "speeds": speeds(),
    }
    write_files({out: json.dumps(result, indent=1) + "\n"})


if __name__ == "__main__":
    main()
