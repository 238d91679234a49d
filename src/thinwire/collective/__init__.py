"""The only place that moves bytes between ranks: a link, what ranks agree on before they use it, and what goes over."""

from thinwire.collective.agree import Plan, agree, refuse, terms_bytes
from thinwire.collective.carry import Carrier
from thinwire.collective.link import TorchLink
from thinwire.collective.probe import LinkSpeed, probed

__all__ = ["Carrier", "LinkSpeed", "Plan", "TorchLink", "agree", "probed", "refuse", "terms_bytes"]
