"""The only place that moves bytes between ranks: a link, what ranks agree on before they use it, and what goes over."""

from thinwire.collective.agree import Plan, agree, refuse
from thinwire.collective.carry import carry
from thinwire.collective.link import TorchLink

__all__ = ["Plan", "TorchLink", "agree", "carry", "refuse"]
