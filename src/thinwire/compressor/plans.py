"""From a policy to messages that are encoded and counted: curves measured, plans tried, the last one kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Specs, State, derive_seed, encode_with_history
from thinwire.errors import NonFiniteError
from thinwire.kernels.distortion import energy
from thinwire.kernels.narrow import saturate
from thinwire.policy import Curve, Plan, Point, Policy, Signals, Trial

_SAMPLE = 1 << 17
_ROWS = 64


@dataclass(frozen=True)
class Sent:
    """What a tensor became, with what its codec remembers; ``asked`` is the codec of the plan."""

    asked: Codec
    encoded: Encoded
    history: State


@dataclass(frozen=True)
class Sending:
    """What is to be sent: the targets in their working dtypes, the tensors' own specs, and each tensor's past."""

    targets: Mapping[str, Tensor]
    specs: Specs
    histories: Mapping[str, State]
    signals: Signals
    seed: int

    def encoded(self, policy: Policy) -> Iterator[tuple[str, Sent]]:
        """Yield every tensor as the policy wants it. Raises NonFiniteError naming the tensor."""
        curves = self._curves(policy)
        signals = replace(self.signals, curves=curves)
        plan = policy.plan(self.specs, signals)
        if not curves:
            yield from ((name, self._encode(name, plan[name])) for name in self.targets)
        else:
            yield from self._settled(policy, plan, signals).items()

    def _settled(self, policy: Any, plan: Plan, signals: Signals) -> dict[str, Sent]:
        """Return every tensor encoded as the policy's last plan wants it."""
        sent: dict[str, Sent] = {}
        trials: list[Trial] = []
        better: Plan | None = plan
        while better is not None:
            changed = [name for name in self.targets if name not in sent or sent[name].asked != better[name]]
            sent |= {name: self._encode(name, better[name]) for name in changed}
            trials.append(Trial(better, {name: self._point(name, sent[name].encoded) for name in self.targets}))
            better = policy.revise(trials, self.specs, signals)
        return sent

    def _curves(self, policy: Policy) -> dict[str, Curve]:
        ask: Any = getattr(policy, "options", None)
        if ask is None:
            return {}
        for name, squares in self.signals.energies.items():
            if not math.isfinite(squares):
                raise NonFiniteError(f"{name}: the tensor holds NaN or infinity, which no goal for a message can weigh")
        wanted = ask(self.specs, self.signals)
        return {name: self._curve(name, codecs) for name, codecs in wanted.items()}

    def _curve(self, name: str, codecs: tuple[Codec, ...]) -> Curve:
        """Return what each codec makes of a tensor: of some of its rows, where it is large."""
        x = self._sendable(name)
        some = x[:: max(1, x.numel() // _SAMPLE)] if x.dim() > 1 and x.shape[0] >= _ROWS else x
        whole = self.signals.energies.get(name, 0.0)
        squares = whole if some is x else energy(some)
        share = x.numel() / max(some.numel(), 1)
        points = []
        for codec in codecs:
            encoded, _ = encode_with_history(codec, some, self._tensor_seed(name), {}, squares)
            error = _error(some, encoded) * (whole / squares if squares else share)
            points.append(Point(codec, encoded.payload_bytes * share, error))
        return tuple(points)

    def _encode(self, name: str, codec: Codec) -> Sent:
        x, squares = self._sendable(name), self.signals.energies.get(name)
        given = squares if x is self.targets[name] else None
        try:
            found = encode_with_history(codec, x, self._tensor_seed(name), self.histories.get(name, {}), given)
        except NonFiniteError as error:
            raise NonFiniteError(f"{name}: {error}") from None
        return Sent(codec, *found)

    def _point(self, name: str, encoded: Encoded) -> Point:
        return Point(encoded.codec, encoded.payload_bytes, _error(self.targets[name], encoded))

    def _sendable(self, name: str) -> Tensor:
        x, dtype = self.targets[name], self.specs[name].dtype
        return saturate(x, dtype) if dtype.is_floating_point else x

    def _tensor_seed(self, name: str) -> int:
        return derive_seed(self.seed, f"{self.signals.round}/{name}")


def _error(x: Tensor, encoded: Encoded) -> float:
    """Return the sum of squared errors; none for integers and for what is lossless."""
    if not x.dtype.is_floating_point or (encoded.codec.lossless and encoded.spec.dtype == x.dtype):
        return 0.0
    left = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32, copy=True)
    encoded.codec.subtract_(left, encoded)
    return energy(left)
