"""GPT-2 (Radford et al. 2019) from the library transformers, with weights of our own drawing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

WIDTHS = {"small": (768, 12, 12), "medium": (1024, 24, 16)}
"""Width, blocks and heads."""
STD = 0.02


class GPT2(nn.Module):
    """Logits [B, T, symbols] for the next symbol of `ids` int64 [B, T], T up to `context`; head and embedding are tied.

    `dropout` is GPT-2's in all three places, drawn from PyTorch's global random state. Raises ModuleNotFoundError
    that names the extra where transformers lacks.
    """

    def __init__(self, size: str, symbols: int, context: int = 1024, dropout: float = 0.0) -> None:
        super().__init__()
        width, depth, heads = WIDTHS[size]
        places = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
        library = _transformers()
        self.lm: Any = library.GPT2LMHeadModel(
            library.GPT2Config(
                **places,
                vocab_size=symbols,
                n_positions=context,
                n_embd=width,
                n_layer=depth,
                n_head=heads,
                bos_token_id=None,
                eos_token_id=None,
                use_cache=False,
            )
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Predict the symbol after each."""
        logits: Tensor = self.lm(input_ids=ids, use_cache=False).logits
        return logits


def draw(model: nn.Module, generator: torch.Generator) -> None:
    """Draw a GPT2's weights as its paper says: N(0, 0.02^2), smaller by sqrt(2 blocks) where they add to the sum."""
    lm: Any = model.lm
    lm.tie_weights()
    for name, parameter in lm.named_parameters():
        if parameter.ndim == 1:
            parameter.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        else:
            added = name.endswith("c_proj.weight")
            parameter.normal_(0, STD / math.sqrt(2 * lm.config.n_layer) if added else STD, generator=generator)
    for name, buffer in lm.named_buffers():
        _fill(name, buffer)


def _fill(name: str, buffer: Tensor) -> None:
    # Older releases of transformers keep the causal mask in buffers, of which the meta device holds no values.
    if name.endswith("attn.bias"):
        buffer.copy_(torch.ones_like(buffer).tril())
    elif name.endswith("masked_bias"):
        buffer.fill_(-1e4)
    else:
        raise TypeError(f"no rule for the buffer {name} of transformers' GPT-2; add one to {__name__}")


def _transformers() -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"GPT-2 needs transformers: {error}; install it with: pip install 'thinwire[train]'", name="transformers"
        ) from error
    return transformers
