"""Real gradients, recorded in seconds: a CNN, a character GPT and a text classifier, at any training step."""

from __future__ import annotations

from thinwire.lab.gradients.recipes import RECIPES
from thinwire.lab.gradients.record import BadData, Gradient, Recording, flat, record

__all__ = ["RECIPES", "BadData", "Gradient", "Recording", "flat", "record"]
