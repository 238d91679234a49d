"""Parameter shapes of well-known models, as their first implementations name and lay them out."""

from __future__ import annotations

from collections.abc import Callable

Shapes = dict[str, tuple[int, ...]]


def gpt2(width: int, depth: int, vocabulary: int = 50257, context: int = 1024) -> Shapes:
    """Return the shapes of GPT-2 (Radford et al. 2019); the output layer is the token embedding."""
    shapes: Shapes = {"wte": (vocabulary, width), "wpe": (context, width)}
    for at in range(depth):
        shapes |= _norm(f"h.{at}.ln_1", width) | _norm(f"h.{at}.ln_2", width)
        shapes |= _layer(f"h.{at}.attn.c_attn", width, 3 * width) | _layer(f"h.{at}.attn.c_proj", width, width)
        shapes |= _layer(f"h.{at}.mlp.c_fc", width, 4 * width) | _layer(f"h.{at}.mlp.c_proj", 4 * width, width)
    return shapes | _norm("ln_f", width)


def bert(width: int, depth: int, vocabulary: int = 30522, context: int = 512) -> Shapes:
    """Return the shapes of BERT with its pooler (Devlin et al. 2019, arXiv:1810.04805)."""
    shapes: Shapes = {"word": (vocabulary, width), "position": (context, width), "type": (2, width)}
    shapes |= _norm("embeddings.norm", width)
    for at in range(depth):
        for name in ("query", "key", "value", "output"):
            shapes |= _layer(f"layer.{at}.attention.{name}", width, width)
        shapes |= _layer(f"layer.{at}.up", 4 * width, width) | _layer(f"layer.{at}.down", width, 4 * width)
        shapes |= _norm(f"layer.{at}.attention.norm", width) | _norm(f"layer.{at}.norm", width)
    return shapes | _layer("pooler", width, width)


def vit(width: int, depth: int, patch: int = 16, side: int = 224, classes: int = 1000) -> Shapes:
    """Return the shapes of a vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929)."""
    shapes: Shapes = {"class_token": (1, 1, width), "position": (1, (side // patch) ** 2 + 1, width)}
    shapes |= _layer("patches", width, 3, patch, patch)
    for at in range(depth):
        shapes |= _norm(f"layer.{at}.ln_1", width) | _norm(f"layer.{at}.ln_2", width)
        shapes |= _layer(f"layer.{at}.qkv", 3 * width, width) | _layer(f"layer.{at}.projection", width, width)
        shapes |= _layer(f"layer.{at}.up", 4 * width, width) | _layer(f"layer.{at}.down", width, 4 * width)
    return shapes | _norm("ln", width) | _layer("head", classes, width)


def resnet(blocks: tuple[int, ...], bottleneck: bool, classes: int = 1000) -> Shapes:
    """Return the shapes of a residual network for images of 224 x 224 (He et al. 2016, arXiv:1512.03385)."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7)} | _norm("bn1", 64)
    given, grows = 64, 4 if bottleneck else 1
    for stage, count in enumerate(blocks):
        inner = 64 << stage
        for at in range(count):
            shapes |= _block(f"layer{stage + 1}.{at}", given, inner, inner * grows, bottleneck, at == 0)
            given = inner * grows
    return shapes | _layer("fc", classes, given)


def _block(name: str, given: int, inner: int, out: int, bottleneck: bool, first: bool) -> Shapes:
    sizes = (
        [(inner, given, 1), (inner, inner, 3), (out, inner, 1)] if bottleneck else [(inner, given, 3), (out, inner, 3)]
    )
    shapes: Shapes = {}
    for at, (to, of, side) in enumerate(sizes, 1):
        shapes |= {f"{name}.conv{at}.weight": (to, of, side, side)} | _norm(f"{name}.bn{at}", to)
    if first and given != out:
        shapes |= {f"{name}.downsample.0.weight": (out, given, 1, 1)} | _norm(f"{name}.downsample.1", out)
    return shapes


def _layer(name: str, *shape: int) -> Shapes:
    # GPT-2 keeps its matrices as inputs x outputs: there the second side, elsewhere the first, is that of the bias.
    outputs = shape[1] if ".c_" in name else shape[0]
    return {f"{name}.weight": shape, f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


MODELS: dict[str, Callable[[], Shapes]] = {
    "resnet-18": lambda: resnet((2, 2, 2, 2), bottleneck=False),
    "resnet-50": lambda: resnet((3, 4, 6, 3), bottleneck=True),
    "vit-b-16": lambda: vit(768, 12),
    "bert-base": lambda: bert(768, 12),
    "gpt2-small": lambda: gpt2(768, 12),
    "gpt2-medium": lambda: gpt2(1024, 24),
    "gpt2-large": lambda: gpt2(1280, 36),
}
"""Name -> shapes: 11.7, 25.6, 86.6, 109, 124, 355 and 774 million parameters."""
