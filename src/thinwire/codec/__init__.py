"""The core idea: a codec maps a tensor to named part tensors and back.

    x --to_parts--> {"values": Tensor, "indices": Tensor} --each part that a field codec claims--> Encoded --> ...

A codec is a frozen dataclass. A field that is itself a Codec encodes the part of the same name, so codecs compose as a
tree: ``TopK(0.01, values=Uniform(bits=8))``. Codecs hold no state, do no I/O and never touch a global random generator.
"""

from __future__ import annotations

from thinwire.codec.base import Codec, Stream, field_names
from thinwire.codec.codes import codes_from_part, codes_spec, codes_to_part
from thinwire.codec.encoded import Encoded, Message, decode, forget, is_stream, pieces_of
from thinwire.codec.encoding import encode, encode_parts, encode_with_history
from thinwire.codec.seeds import derive_seed, generator
from thinwire.codec.spec import VARIABLE, Spec, Specs, State, specs

__all__ = [
    "VARIABLE",
    "Codec",
    "Encoded",
    "Message",
    "Spec",
    "Specs",
    "State",
    "Stream",
    "codes_from_part",
    "codes_spec",
    "codes_to_part",
    "decode",
    "derive_seed",
    "encode",
    "encode_parts",
    "encode_with_history",
    "field_names",
    "forget",
    "generator",
    "is_stream",
    "pieces_of",
    "specs",
]
