"""One family of codecs per file. Importing this package registers them."""

from thinwire.codecs.ans import Ans
from thinwire.codecs.bitround import BitRound
from thinwire.codecs.entropy import Symbols, Zstd
from thinwire.codecs.huffman import Huffman
from thinwire.codecs.integers import Indices
from thinwire.codecs.levels import NF4, Ranges
from thinwire.codecs.lowrank import LowRank
from thinwire.codecs.natural import Natural
from thinwire.codecs.qsgd import Qsgd
from thinwire.codecs.quantize import Uniform
from thinwire.codecs.raw import Cast, Planes, Raw
from thinwire.codecs.rdoq import Rdoq
from thinwire.codecs.rotate import Eden
from thinwire.codecs.segments import Segments
from thinwire.codecs.signs import OneBit, Sign
from thinwire.codecs.smallest import Smallest
from thinwire.codecs.sparse import (
    AdaComp,
    ChunkTopK,
    DGCSampling,
    Gaussian,
    HggTopK,
    MSTopK,
    RandomK,
    RedSync,
    ReusedThreshold,
    SIDCo,
    Sparse,
    Threshold,
    TopK,
)
from thinwire.codecs.step import Step
from thinwire.codecs.ternary import Ternary

__all__ = [
    "NF4",
    "AdaComp",
    "Ans",
    "BitRound",
    "Cast",
    "ChunkTopK",
    "DGCSampling",
    "Eden",
    "Gaussian",
    "HggTopK",
    "Huffman",
    "Indices",
    "LowRank",
    "MSTopK",
    "Natural",
    "OneBit",
    "Planes",
    "Qsgd",
    "RandomK",
    "Ranges",
    "Raw",
    "Rdoq",
    "RedSync",
    "ReusedThreshold",
    "SIDCo",
    "Segments",
    "Sign",
    "Smallest",
    "Sparse",
    "Step",
    "Symbols",
    "Ternary",
    "Threshold",
    "TopK",
    "Uniform",
    "Zstd",
]
