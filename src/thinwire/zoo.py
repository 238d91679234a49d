"""Methods by name: each a line or two of composition. docs/methods.md says where they come from and when they win."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from thinwire.codec import Codec
from thinwire.compressor import Compressor
from thinwire.errors import unknown
from thinwire.feedback import ErrorFeedback, NoFeedback
from thinwire.policy import Fixed
from thinwire.registry import parse, register_methods


@dataclass(frozen=True)
class Method:
    """A named composition: its text, as ``parse`` reads it, and one line on what it is."""

    text: str
    summary: str


METHODS: dict[str, Method] = {
    "none": Method("Compressor(Fixed(Raw()), NoFeedback())", "dense tensors, framed: nothing is compressed"),
    "lossless": Method(
        "Compressor(Fixed(Planes(), small=Planes()), NoFeedback())", "byte planes and zstd: every bit stays"
    ),
    "auto": Method(
        "Compressor(Fixed(Smallest(nmse=0.2), small=Step(nmse=0.005)), ErrorFeedback())",
        "our best for updates: the smaller of entropy-coded quantizer and low rank, with error feedback",
    ),
    "auto-down": Method(
        "Compressor(ErrorBound(nmse=0.2, codec=Smallest(), small=Step(nmse=0.005)), NoFeedback())",
        "the same for a server's model: what a round did not send, the next difference holds",
    ),
    "minmax4-floor": Method("Uniform(bits=4, rounding='floor')", "floor((x - min) / (max - min) * (2**b - 1)), b = 4"),
    "minmax8-floor": Method("Uniform(bits=8, rounding='floor')", "8-bit min-max with truncation"),
    "minmax8-round": Method("Uniform(bits=8)", "8-bit min-max with + 0.5 rounding"),
    "fixed-step8": Method("Uniform(bits=8, step=1/254, rounding='floor')", "trunc(x * 127 * 2), 8 bits, saturating"),
    "fixed-step12": Method("Uniform(bits=12, step=1/254, rounding='floor')", "trunc(x * 127 * 2), 12 bits"),
    "fixed-step16": Method("Uniform(bits=16, step=1/254, rounding='floor')", "trunc(x * 127 * 2), 16 bits"),
    "scaled-round8": Method("Uniform(bits=8, step=1/127)", "round(x * scale), scale = 127, 8 bits, saturating"),
    "int8": Method("Uniform(bits=8, symmetric=True)", "symmetric absolute-maximum 8 bits"),
    "int8-zstd": Method("Uniform(bits=8, symmetric=True, codes=Zstd())", "the same, its bytes entropy-coded"),
    "topk": Method("TopK(0.01)", "the 1 % of largest magnitude, gap-coded indices"),
    "topk-int8": Method("TopK(0.01, values=Uniform(bits=8))", "sparsify, then quantize"),
    "randomk": Method(
        "Compressor(Fixed(RandomK(0.01)), NoFeedback())", "1 % chosen by a shared seed, rescaled: unbiased"
    ),
    "lowrank-int8": Method("LowRank(ratio=0.05, bits=8)", "truncated SVD, factors in 8 bits"),
    "step-huffman": Method("Step(nmse=0.01, symbols=Huffman())", "quantize with a dead zone, then canonical Huffman"),
}


class Zoo(Mapping[str, object]):
    """Read-only mapping from a method's name to its codec or compressor."""

    def __getitem__(self, name: str) -> object:
        if name not in METHODS:
            raise KeyError(unknown("method", name, METHODS))
        return parse(METHODS[name].text)

    def __iter__(self) -> Iterator[str]:
        return iter(METHODS)

    def __len__(self) -> int:
        return len(METHODS)


zoo = Zoo()
register_methods({name: method.text for name, method in METHODS.items()})


def compressor(spec: object, direction: str = "up") -> Compressor:
    """Return a compressor from a text, a codec, a policy or a compressor; what is left out takes its usual value.

    ``direction`` is ``up`` or ``down``: a server's differences carry their own error, so feedback is off there, and
    ``auto`` means the variant for that direction. Feedback is off too for a codec that is not contractive. Raises
    ValueError on what it cannot read.
    """
    value = (
        parse({"auto": "auto-down"}.get(spec, spec) if direction == "down" else spec) if isinstance(spec, str) else spec
    )
    if isinstance(value, Compressor):
        return value
    policy = Fixed(value) if isinstance(value, Codec) else value
    if not hasattr(policy, "plan"):
        raise ValueError(f"{spec!r} is neither a codec, a policy nor a compressor")
    diverges = isinstance(value, Codec) and not value.contractive
    return Compressor(policy, NoFeedback() if direction == "down" or diverges else ErrorFeedback())
