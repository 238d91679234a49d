"""Feedback: what a sender keeps of one message and adds to a later one."""

from thinwire.feedback.momentum import MomentumCorrection
from thinwire.feedback.protocol import Feedback
from thinwire.feedback.residual import ErrorFeedback, NoFeedback

__all__ = ["ErrorFeedback", "Feedback", "MomentumCorrection", "NoFeedback"]
