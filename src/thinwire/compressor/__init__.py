"""One direction of one link: a policy, a feedback and a clip, and what a message cost."""

from thinwire.compressor.clip import Clip
from thinwire.compressor.link import Compressor
from thinwire.compressor.report import Report, TensorReport

__all__ = ["Clip", "Compressor", "Report", "TensorReport"]
