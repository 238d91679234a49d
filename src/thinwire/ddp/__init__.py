"""Compressed gradients for torch's DistributedDataParallel: one line, any method, real bytes."""

from thinwire.ddp.compress import compress_gradients
from thinwire.ddp.compression import GradientCompression
from thinwire.ddp.report import StepReport

__all__ = ["GradientCompression", "StepReport", "compress_gradients"]
