"""Compressed gradients for torch's DistributedDataParallel: one line, any method, real bytes."""

from thinwire.collective import LinkSpeed
from thinwire.ddp.compress import compress_gradients
from thinwire.ddp.compression import GradientCompression
from thinwire.ddp.report import StepReport
from thinwire.ddp.worth import Worth

__all__ = ["GradientCompression", "LinkSpeed", "StepReport", "Worth", "compress_gradients"]
