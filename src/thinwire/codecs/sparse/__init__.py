"""Sparsifiers: some elements travel, the others are zero. Error feedback makes up for them."""

from thinwire.codecs.sparse.exact import Threshold, TopK
from thinwire.codecs.sparse.pairs import Sparse
from thinwire.codecs.sparse.random import RandomK

__all__ = ["RandomK", "Sparse", "Threshold", "TopK"]
