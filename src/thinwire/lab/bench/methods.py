"""Which methods are compared: every rule of selection that the zoo names, and torch.topk as the one to beat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from thinwire.codec import Codec
from thinwire.codecs import Indices, RandomK, Raw, Sparse, Threshold
from thinwire.codecs.sparse.adacomp import AdaComp
from thinwire.codecs.sparse.chunked import ChunkTopK
from thinwire.codecs.sparse.pairs import Sparsifier
from thinwire.feedback import NoFeedback
from thinwire.policy import Fixed
from thinwire.zoo import METHODS, compressor

RIVAL = "torch.topk"


@dataclass(frozen=True)
class Method:
    """A rule of selection, with error feedback or without. No codec: torch.topk on the magnitudes."""

    name: str
    codec: Codec | None
    feedback: bool

    def at(self, density: float) -> Method:
        """Return the method at a density. AdaComp has none: what it sends, the tensor decides."""
        return replace(self, codec=_at(self.codec, density)) if self.codec else self


def methods() -> dict[str, Method]:
    """Return the methods by name, the rival first; of names that differ only in how values travel, the first."""
    found = {RIVAL: Method(RIVAL, None, feedback=True)}
    for name in METHODS:
        method = _method(name)
        if method and all((method.codec, method.feedback) != (old.codec, old.feedback) for old in found.values()):
            found[name] = method
    return found


def _method(name: str) -> Method | None:
    spec = compressor(name)
    codec: Any = spec.policy.codec if isinstance(spec.policy, Fixed) else None
    if not isinstance(codec, Sparsifier | RandomK) or isinstance(codec, Sparse | Threshold):
        return None
    plain = replace(codec, values=Raw()) if isinstance(codec, RandomK) else _plain(codec)
    return Method(name, plain, not isinstance(spec.feedback, NoFeedback))


def _plain(codec: Any) -> Codec:
    return replace(codec, values=Raw(), indices=Indices())  # type: ignore[no-any-return]


def _at(codec: Any, density: float) -> Codec:
    if isinstance(codec, AdaComp):
        return codec
    if isinstance(codec, ChunkTopK):
        return replace(codec, keep=max(1, round(density * codec.chunk)))
    return replace(codec, density=density)  # type: ignore[no-any-return]
