"""Which models can have their gradients compressed, and how the hook gets there."""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from thinwire.ddp.compression import GradientCompression
from thinwire.ddp.parameters import sparse_text

_ADVICE = "wrap the model first, compress_gradients(DistributedDataParallel(model), ...)"


def must_be_ordinary(model: object) -> None:
    """Raise ValueError, which says what to do, where a model is no ordinary DistributedDataParallel."""
    if not isinstance(model, DistributedDataParallel):
        raise ValueError(f"the model is a {type(model).__name__}, expected a DistributedDataParallel: {_advice(model)}")
    for name, parameter in model.module.named_parameters():
        if not (parameter.is_floating_point() or parameter.is_complex()) and parameter.requires_grad:
            raise ValueError(f"{name} is of {parameter.dtype}, expected floats or complex numbers")
    for name, module in model.module.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse and module.weight.requires_grad:
            weight = f"{name}.weight".lstrip(".")
            if weight not in model.parameters_to_ignore:
                raise ValueError(sparse_text(weight))


def register(model: DistributedDataParallel, compression: GradientCompression) -> None:
    """Have a model average its gradients by a compression. Raises ValueError where it has a hook already."""
    try:
        model.register_comm_hook(compression, GradientCompression.hook)
    except RuntimeError as error:
        text = "the model has a communication hook already, and DistributedDataParallel takes one: wrap it anew"
        raise ValueError(text) from error


def _advice(model: object) -> str:
    """Return what to do about a model that is something else."""
    name = type(model).__name__
    if "FullyShardedDataParallel" in name or name.startswith("FSDP"):
        return "FSDP sends parameters and gradients in shards of its own, which thinwire does not compress"
    inner = getattr(model, "_orig_mod", None)
    if isinstance(inner, DistributedDataParallel):
        return "it is compiled; compress the gradients of what you gave to torch.compile, before or after it"
    if isinstance(model, DataParallel):
        return f"DataParallel is one process, which sends nothing; {_ADVICE}"
    if isinstance(model, nn.Module) and any(isinstance(x, DistributedDataParallel) for x in model.modules()):
        return "there is one inside it: give that"
    return _ADVICE if isinstance(model, nn.Module) else f"{_ADVICE}, and give what that returns"
