"""Sparsifiers: some elements travel, the others are zero. Error feedback makes up for them."""

from thinwire.codecs.sparse.adacomp import AdaComp
from thinwire.codecs.sparse.chunked import ChunkTopK
from thinwire.codecs.sparse.exact import Threshold, TopK
from thinwire.codecs.sparse.gaussian import Gaussian
from thinwire.codecs.sparse.hgg import HggTopK
from thinwire.codecs.sparse.mstopk import MSTopK
from thinwire.codecs.sparse.pairs import Sparse
from thinwire.codecs.sparse.random import RandomK
from thinwire.codecs.sparse.redsync import RedSync
from thinwire.codecs.sparse.reused import ReusedThreshold
from thinwire.codecs.sparse.sampled import DGCSampling
from thinwire.codecs.sparse.sidco import SIDCo

__all__ = [
    "AdaComp",
    "ChunkTopK",
    "DGCSampling",
    "Gaussian",
    "HggTopK",
    "MSTopK",
    "RandomK",
    "RedSync",
    "ReusedThreshold",
    "SIDCo",
    "Sparse",
    "Threshold",
    "TopK",
]
