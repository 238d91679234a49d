"""Ascending indices as bytes: a byte for the coder, then what that coder makes. No index is no byte.

Every decoder takes the number of indices and needs memory in proportion to that number and to the bytes given, whatever
they claim; anything illegal raises WireError.
"""

from __future__ import annotations

from thinwire.kernels.indices.choice import CODERS, decode, encode
from thinwire.kernels.indices.limits import MOST

__all__ = ["CODERS", "MOST", "decode", "encode"]
