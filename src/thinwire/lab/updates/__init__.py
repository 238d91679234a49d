"""Real model updates, recorded in seconds: what one client sends in a later round of federated averaging."""

from __future__ import annotations

from thinwire.lab.gradients import BadData
from thinwire.lab.updates.recipes import UPDATES, Recipe
from thinwire.lab.updates.record import Update, record

__all__ = ["UPDATES", "BadData", "Recipe", "Update", "record"]
