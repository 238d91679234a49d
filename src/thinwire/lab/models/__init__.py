"""Models in plain PyTorch: small ones for one core, and those of distributed training by name (`MODELS`)."""

from __future__ import annotations

from thinwire.lab.models.catalogue import MODELS, ModelSpec
from thinwire.lab.models.char_gpt import CharGPT
from thinwire.lab.models.cnn import image_cnn
from thinwire.lab.models.text_bag import TextBag

__all__ = ["MODELS", "CharGPT", "ModelSpec", "TextBag", "image_cnn"]
