"""Methods by name: each a line or two of composition. docs/methods.md says where they come from and when they win."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from thinwire.codec import Codec
from thinwire.compressor import Compressor
from thinwire.errors import unknown
from thinwire.feedback import ErrorFeedback, NoFeedback
from thinwire.policy import Fixed
from thinwire.registry import parse, register_methods, with_density


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
        "Compressor(Fixed(Smallest(nmse=0.2, options=(Step(symbols=Ans()), LowRank(left=Ans(), right=Ans()))), "
        "small=BitRound()), ErrorFeedback())",
        "our best for updates: the smaller of entropy-coded quantizer and low rank, with error feedback",
    ),
    "auto-down": Method(
        "Compressor(ErrorBound(nmse=0.2, codec=Smallest(options=(Step(symbols=Ans()), "
        "LowRank(left=Ans(), right=Ans()))), small=BitRound()), NoFeedback())",
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
    "topk2": Method("Compressor(Fixed(TopK(0.01)), NoFeedback())", "the same without error feedback"),
    "topk-int8": Method("TopK(0.01, values=Uniform(bits=8))", "sparsify, then quantize"),
    "gaussian": Method("Gaussian(0.01)", "what exceeds a normal distribution's threshold: 2k/3 to 4k/3 elements"),
    "gaussian2": Method(
        "Compressor(Fixed(Gaussian(0.01, adjustments=5)), NoFeedback())", "the same without error feedback"
    ),
    "randomk": Method(
        "Compressor(Fixed(RandomK(0.01)), NoFeedback())", "1 % chosen by a shared seed, rescaled: unbiased"
    ),
    "randomkec": Method("RandomK(0.01, rescale=False)", "1 % chosen by a shared seed, with error feedback"),
    "dgcsampling": Method("DGCSampling(0.01)", "the threshold of a sample: 0.8k to 4k/3 elements"),
    "dgc": Method(
        "Compressor(WarmUp(DGCSampling(0.001)), MomentumCorrection())",
        "the same for gradients of data-parallel training: momentum of its own, masked, and a warm-up",
    ),
    "redsync": Method("RedSync(0.01)", "a threshold between mean and maximum: k to 2k elements"),
    "redsynctrim": Method("RedSync(0.01, trim=True)", "the same, trimmed to exactly k"),
    "hggtopk": Method("HggTopK(0.01)", "logarithmic bins, entered at the last threshold: 0.99k to k elements"),
    "sidco": Method("SIDCo(0.01)", "thresholds fitted to the tail, stage by stage: 0.8k to 1.2k elements"),
    "mstopk": Method("MSTopK(0.01)", "a threshold by bisection and counting, filled up to exactly k"),
    "oktopk": Method("ReusedThreshold(0.01)", "an exact threshold every 32 steps, used again in between"),
    "chunk-topk": Method("ChunkTopK(64, 4096)", "the 64 largest of every 4096 elements"),
    "sparseloco": Method(
        "Compressor(Fixed(ChunkTopK(64, 4096, values=Uniform(bits=3, block=64))), ErrorFeedback(decay=0.95))",
        "the same in 3 bits, and a residual that fades",
    ),
    "adacomp": Method("AdaComp(500, values=Sign())", "what the newest gradient lifts to its bin's maximum, as signs"),
    "stc": Method("TopK(0.01, values=Sign())", "sparse ternary: the largest 1 %, as signs times their mean magnitude"),
    "signsgd": Method("Compressor(Fixed(Sign()), NoFeedback())", "signs times the mean magnitude"),
    "ef-signsgd": Method("Sign()", "the same with error feedback"),
    "signsgd-majority": Method(
        "Compressor(Fixed(Sign(scale=0.001)), NoFeedback())", "signs times 0.001; the same codec downlink is the vote"
    ),
    "1bit": Method("OneBit()", "signs, and two means a channel, with error feedback"),
    "terngrad": Method("Compressor(Fixed(Ternary(clip=2.5)), NoFeedback())", "-1, 0 or 1 times a scale, at random"),
    "natural": Method("Compressor(Fixed(Natural()), NoFeedback())", "powers of two, at random: unbiased"),
    "drive": Method("Eden(bits=1)", "one bit after a random rotation: unbiased"),
    "eden": Method("Eden(bits=4)", "the best levels after a random rotation, 1/256 to 8 bits: unbiased"),
    "ef-eden": Method("Eden(bits=2, scale='mse')", "the same with the least error, and error feedback"),
    "qsgd": Method("Qsgd()", "a 7th of the norm of 512 elements times an integer, at random: unbiased"),
    "dadaquant": Method(
        "Compressor(ByImportance(Plateau()), NoFeedback())",
        "QSGD, twice as fine whenever the loss stops falling, finer for clients with more data",
    ),
    "dadaquant-time": Method(
        "Compressor(Plateau(), NoFeedback())", "QSGD, twice as fine whenever the training loss stops falling"
    ),
    "dadaquant-client": Method(
        "Compressor(ByImportance(), NoFeedback())", "QSGD, finer for clients with more data: the least levels in all"
    ),
    "adaquantfl": Method(
        "Compressor(AdaQuantFL(), NoFeedback())",
        "QSGD, its levels grow with the root of the first loss over the newest",
    ),
    "int8-block": Method("Uniform(bits=8, symmetric=True, block=256)", "absolute-maximum 8 bits, 256 to a scale"),
    "int4-block": Method("Uniform(bits=4, symmetric=True, block=64)", "absolute-maximum 4 bits, 64 to a scale"),
    "nf4": Method("NF4()", "16 levels for a normal distribution, 64 to a scale"),
    "sort8": Method("Ranges(bits=6, splits=4)", "four ranges of equal counts, 6 bits in each: 8 bits"),
    "sort8-fast": Method("Ranges(bits=6, splits=4, edges='histogram')", "the same without sorting"),
    "multirange8x8": Method("Ranges(bits=8, splits=8)", "eight ranges, 8 bits in each: 11 bits"),
    "fp16": Method("Cast()", "half precision, and what it rounds off comes with the next tensor"),
    "powersgd": Method(
        "LowRank(rank=2, method='range')", "rank 2 from where the last step ended; between ranks only factors travel"
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

    def method(self, name: str, density: float | None = None) -> object:
        """Return ``zoo[name]`` with another density, if given. Raises ValueError where the method has none."""
        return self[name] if density is None else with_density(name, density)

    def __iter__(self) -> Iterator[str]:
        return iter(METHODS)

    def __len__(self) -> int:
        return len(METHODS)


zoo = Zoo()
register_methods({name: method.text for name, method in METHODS.items()})


_AUTO_NMSE = "nmse=0.2"
_LONG_RUN = 8
"""So many messages of one client make feedback bring what single ones left out. In shorter runs the bound falls with
their share to the power of 1.5: chosen on runs of 2 and 3 rounds (results/flower-examples.json), where it keeps the
accuracy of dense ones within a point."""


def compressor(spec: object, direction: str = "up", messages: float | None = None) -> Compressor:
    """Return a compressor from a text, a codec, a policy or a compressor; what is left out takes its usual value.

    ``direction`` is ``up`` or ``down``: a server's differences carry their own error, so feedback is off there, and
    ``auto`` means the variant for that direction. Feedback is off too for a codec that is not contractive.
    ``messages``: how many of them a client will send in all, if that is known. ``auto`` leaves out a fifth of each for
    feedback to bring later; of a few messages it leaves out less, as there is no later. Raises ValueError on what it
    cannot read.
    """
    value = parse(_text(spec, direction, messages)) if isinstance(spec, str) else spec
    if isinstance(value, Compressor):
        return value
    policy = Fixed(value) if isinstance(value, Codec) else value
    if not hasattr(policy, "plan"):
        raise ValueError(f"{spec!r} is neither a codec, a policy nor a compressor")
    diverges = isinstance(value, Codec) and not value.contractive
    return Compressor(policy, NoFeedback() if direction == "down" or diverges else ErrorFeedback())


def _text(spec: str, direction: str, messages: float | None) -> str:
    if spec.strip() != "auto":
        return spec
    text = METHODS["auto-down" if direction == "down" else "auto"].text
    if messages is None or not 0 < messages < _LONG_RUN:
        return text
    return text.replace(_AUTO_NMSE, f"nmse={0.2 * (messages / _LONG_RUN) ** 1.5:.3g}")
