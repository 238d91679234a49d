"""Small models in plain PyTorch, for training on one core: a CNN, a character GPT, an embedding bag for text."""

from __future__ import annotations

from thinwire.lab.models.char_gpt import CharGPT
from thinwire.lab.models.cnn import image_cnn
from thinwire.lab.models.text_bag import TextBag

__all__ = ["CharGPT", "TextBag", "image_cnn"]
