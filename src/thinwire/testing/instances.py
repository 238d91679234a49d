"""The one table of codec instances: every registered codec has a row, and every row obeys every law."""

from __future__ import annotations

from dataclasses import dataclass

from thinwire.codec import Codec
from thinwire.registry import parse
from thinwire.testing.tensors import Domain

_CODERS = ("gaps", "rice", "bitmap", "local12", "split", "runs")
_UPDATES = (
    "Raw()",
    "Cast()",
    "Cast(dtype='bfloat16')",
    "Planes()",
    "Planes(level=3)",
    "Zstd()",
    *(f"Uniform(bits={bits})" for bits in (1, 2, 3, 4, 8, 12, 16)),
    *(f"Uniform(bits={bits}, symmetric=True)" for bits in (2, 3, 4, 8, 12, 16)),
    "Uniform(bits=8, rounding='floor')",
    "Uniform(bits=8, rounding='stochastic')",
    "Uniform(bits=4, rounding='floor', symmetric=True)",
    "Uniform(bits=4, rounding='stochastic', symmetric=True)",
    "Uniform(bits=8, step=0.003937007874015748, rounding='floor')",
    "Uniform(bits=4, block='channel')",
    "Uniform(bits=3, block=128, symmetric=True)",
    "Uniform(bits=2, block=7, rounding='stochastic')",
    "Uniform(nmse=0.01)",
    "Uniform(nmse=0.001, symmetric=True, block=64)",
    "Uniform(bits=8, symmetric=True, codes=Zstd())",
    "Uniform(bits=8, codes=Huffman())",
    "Uniform(bits=3, symmetric=True, codes=Ans())",
    "Uniform(bits=12, block='channel', codes=Symbols())",
    "Step()",
    "Step(nmse=0.1)",
    "Step(nmse=1e-06, dead_zone=0.5)",
    "Step(absolute=0.001)",
    "Step(relative=0.1)",
    "Step(step=0.01, dead_zone=1.0)",
    "Step(nmse=0.05, symbols=Huffman())",
    "Step(nmse=0.05, symbols=Ans())",
    "Step(absolute=0.01, symbols=Zstd(), patched=Zstd())",
    "Rdoq()",
    "Rdoq(nmse=0.3)",
    "Rdoq(nmse=1e-06)",
    "Rdoq(nmse=0.1, trade=0.0, symbols=Symbols())",
    "Rdoq(step=0.01)",
    "Rdoq(step=1000000.0)",
    "TopK(density=0.01)",
    "TopK(density=0.3)",
    "TopK(density=0.05, values=Uniform(bits=8))",
    "TopK(density=0.05, values=Uniform(bits=4, rounding='stochastic', block=32))",
    "TopK(density=0.1, values=Uniform(nmse=0.01))",
    "TopK(density=0.1, values=Step(nmse=0.01))",
    "TopK(density=0.1, values=Cast())",
    *(f"TopK(density=0.02, indices=Indices(coder='{coder}'))" for coder in _CODERS),
    "TopK(density=0.02, indices=Planes())",
    "Threshold(threshold=0.02)",
    "Threshold(threshold=1000000000.0)",
    "Threshold(threshold=0.02, values=Uniform(bits=6, symmetric=True))",
    "Gaussian(density=0.01)",
    "Gaussian(density=0.3, adjustments=0, values=Uniform(bits=8))",
    "DGCSampling(density=0.01)",
    "DGCSampling(density=0.1, sample=0.5, values=Cast())",
    "RedSync(density=0.01)",
    "RedSync(density=0.2, trim=True)",
    "HggTopK(density=0.01)",
    "HggTopK(density=0.3, bins=7, gamma=2.0, tolerance=0.2, beta=1.0)",
    "HggTopK(density=0.05, values=Uniform(bits=8))",
    "Sparse()",
    "Sparse(values=Uniform(bits=8))",
    "SIDCo(density=0.05)",
    "SIDCo(density=0.01, model='gamma')",
    "SIDCo(density=0.2, model='pareto', tolerance=0.0, values=Uniform(bits=8))",
    "MSTopK(density=0.05)",
    "MSTopK(density=0.3, probes=2)",
    "ReusedThreshold(density=0.05)",
    "ReusedThreshold(density=0.1, refresh=1, values=Uniform(bits=8))",
    "ChunkTopK()",
    "ChunkTopK(keep=3, chunk=50, indices=Raw())",
    "AdaComp()",
    "AdaComp(bin=50, values=Sign())",
    "RandomK(density=0.05)",
    "RandomK(density=0.05, rescale=False)",
    "RandomK(density=0.2, rescale=False, values=Uniform(bits=8))",
    "Sign()",
    "Sign(scale='l2')",
    "Sign(scale=0.01)",
    "Sign(block='channel')",
    "Sign(block=7, codes=Zstd())",
    "Sign(codes=Ans())",
    "TopK(density=0.05, values=Sign())",
    "Threshold(threshold=1000000000.0, values=Sign())",
    "OneBit()",
    "OneBit(block='tensor', codes=Zstd())",
    "OneBit(block=128)",
    "OneBit(codes=Huffman())",
    "Ternary()",
    "Ternary(clip=2.5)",
    "Ternary(clip=2.5, block='channel', symbols=Huffman())",
    "Ternary(block=33)",
    "Natural()",
    "Natural(symbols=Huffman())",
    "Natural(rounding='nearest')",
    "TopK(density=0.05, values=Natural(rounding='nearest'))",
    "BitRound()",
    "BitRound(bits=0)",
    "BitRound(bits=3, symbols=Huffman())",
    "BitRound(bits=16, symbols=Ans())",
    "TopK(density=0.05, values=BitRound(bits=4))",
    "Eden()",
    "Eden(bits=0.25)",
    "Eden(bits=1, scale='mse')",
    "Eden(bits=1.5, scale='mse', block=64)",
    "Eden(bits=2.5, block=256)",
    *(f"Eden(bits={bits}, block=1024)" for bits in (3, 8)),
    "TopK(density=0.1, values=Eden(bits=4, scale='mse'))",
    "NF4()",
    "NF4(block='channel', scales=Cast())",
    "NF4(block=33, scales=Uniform(bits=8, block=256))",
    "Ranges()",
    "Ranges(bits=1, splits=2, codes=Zstd())",
    "Ranges(bits=3, splits=8, edges='histogram')",
    "Ranges(bits=12, splits=16)",
    "Ranges(bits=3, splits=4, codes=Huffman())",
    "Qsgd()",
    "Qsgd(levels=1, block='tensor')",
    "Qsgd(levels=127, block=128, symbols=Huffman())",
    "Segments()",
    "Segments(bits=12)",
    "Segments(bits=3, symmetric=True, codes=Zstd())",
    "Segments(bits=4, codes=Huffman())",
    "TopK(density=0.05, values=Segments(bits=4))",
    "LowRank(rank=2)",
    "LowRank(ratio=0.2, bits=6)",
    "LowRank(nmse=0.3)",
    "LowRank(rank=3, method='svd')",
    "LowRank(rank=3, method='range', left=Huffman(), right=Huffman())",
    "Smallest()",
    "Smallest(nmse=0.2)",
    "Smallest(options=(TopK(density=0.05), Planes()))",
)
_SYMBOLS = ("Symbols()", "Symbols(level=3)", "Huffman()", "Ans()", "Zstd()", "Planes()")
_INDICES = ("Indices()", *(f"Indices(coder='{coder}')" for coder in _CODERS), "Zstd()")


@dataclass(frozen=True)
class Row:
    """A codec and the domain of the tensors that it takes."""

    codec: Codec
    domain: Domain

    def __str__(self) -> str:
        return f"{self.codec}:{self.domain}" if self.domain != "update" else str(self.codec)


def _rows(domain: Domain, texts: tuple[str, ...]) -> tuple[Row, ...]:
    return tuple(Row(parse(text), domain) for text in texts)


INSTANCES: tuple[Row, ...] = _rows("update", _UPDATES) + _rows("symbols", _SYMBOLS) + _rows("indices", _INDICES)
