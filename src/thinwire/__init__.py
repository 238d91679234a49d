"""thinwire: one compression library for everything that training sends over a network."""

from thinwire.codec import Codec, Encoded, Message, Spec, decode, encode, specs
from thinwire.codecs import (
    Cast,
    Huffman,
    Indices,
    LowRank,
    Planes,
    RandomK,
    Raw,
    Smallest,
    Sparse,
    Step,
    Symbols,
    Threshold,
    TopK,
    Uniform,
    Zstd,
)
from thinwire.compressor import Clip, Compressor, Report
from thinwire.errors import NonFiniteError, WireError
from thinwire.feedback import ErrorFeedback, NoFeedback
from thinwire.policy import ByVolume, ErrorBound, Fixed, Signals
from thinwire.registry import parse
from thinwire.wire import dumps, inspect, loads
from thinwire.zoo import zoo

__version__ = "0.1.0"

__all__ = [
    "ByVolume",
    "Cast",
    "Clip",
    "Codec",
    "Compressor",
    "Encoded",
    "ErrorBound",
    "ErrorFeedback",
    "Fixed",
    "Huffman",
    "Indices",
    "LowRank",
    "Message",
    "NoFeedback",
    "NonFiniteError",
    "Planes",
    "RandomK",
    "Raw",
    "Report",
    "Signals",
    "Smallest",
    "Sparse",
    "Spec",
    "Step",
    "Symbols",
    "Threshold",
    "TopK",
    "Uniform",
    "WireError",
    "Zstd",
    "decode",
    "dumps",
    "encode",
    "inspect",
    "loads",
    "parse",
    "specs",
    "zoo",
]
