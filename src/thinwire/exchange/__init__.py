"""Averages over ranks of what codecs encode, without I/O: how each algebra travels, and all tensors in lock-step."""

from thinwire.exchange.choice import Choice, chosen, start
from thinwire.exchange.drive import AllToAllAll, Driving, GatherAll, Operation, SumAll, driven
from thinwire.exchange.requests import Average, Exchange, Place

__all__ = [
    "AllToAllAll",
    "Average",
    "Choice",
    "Driving",
    "Exchange",
    "GatherAll",
    "Operation",
    "Place",
    "SumAll",
    "chosen",
    "driven",
    "start",
]
