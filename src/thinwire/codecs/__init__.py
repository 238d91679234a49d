"""One family of codecs per file. Importing this package registers them."""

from thinwire.codecs.entropy import Symbols, Zstd
from thinwire.codecs.huffman import Huffman
from thinwire.codecs.integers import Indices
from thinwire.codecs.lowrank import LowRank
from thinwire.codecs.quantize import Step, Uniform
from thinwire.codecs.raw import Cast, Planes, Raw
from thinwire.codecs.smallest import Smallest
from thinwire.codecs.sparse import RandomK, Sparse, Threshold, TopK

__all__ = [
    "Cast",
    "Huffman",
    "Indices",
    "LowRank",
    "Planes",
    "RandomK",
    "Raw",
    "Smallest",
    "Sparse",
    "Step",
    "Symbols",
    "Threshold",
    "TopK",
    "Uniform",
    "Zstd",
]
