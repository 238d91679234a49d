"""Whether to compress, and how: what each option sends for an update, how long it takes, and a verdict."""

from __future__ import annotations

from thinwire.lab.advise.advice import SCHEMA, Settings, advise
from thinwire.lab.advise.subject import BadSubject, Subject

__all__ = ["SCHEMA", "BadSubject", "Settings", "Subject", "advise"]
