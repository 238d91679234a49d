"""From a policy to messages that are encoded and counted: curves measured, plans tried, the last one kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from thinwire.codec import Codec, Encoded, Specs, State, derive_seed, encode_with_history
from thinwire.errors import NonFiniteError
from thinwire.kernels.distortion import energy
from thinwire.kernels.narrow import saturate
from thinwire.policy import Curve, Plan, Point, Policy, Signals, Trial
from thinwire.wire import frame_bytes, record_bytes

_LOOKS = 5
"""How often a policy may ask for more points of the curves."""
_SAMPLE = 1 << 16
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
    framed: Callable[[Mapping[str, Encoded]], int] = frame_bytes
    """What a message takes as it travels."""

    def encoded(self, policy: Policy) -> tuple[Iterable[tuple[str, Sent]], State]:
        """Return every tensor as the policy wants it, one after the other, and what the policy wants to remember.

        Raises NonFiniteError naming the tensor.
        """
        plan, signals, joint = self._first(policy)
        if not joint:
            return ((name, self._encode(name, plan[name])) for name in self.targets), _kept(policy, signals)
        sent, trials = self._settled(policy, plan, signals)
        return sent.items(), _kept(policy, replace(signals, trials=tuple(trials)))

    def planned(self, policy: Policy) -> tuple[Plan, State]:
        """Return the plan by which ``encoded`` would encode, and what the policy wants to remember."""
        plan, signals, joint = self._first(policy)
        trials = self._settled(policy, plan, signals)[1] if joint else []
        return (trials[-1].plan if joint else plan), _kept(policy, replace(signals, trials=tuple(trials)))

    def _first(self, policy: Policy) -> tuple[Plan, Signals, bool]:
        """Return the policy's first plan, the signals it had, and whether it has a goal for the whole message."""
        curves = self._curves(policy)
        signals = replace(self.signals, curves=curves or {})
        return policy.plan(self.specs, signals), signals, curves is not None

    def _settled(self, policy: Any, plan: Plan, signals: Signals) -> tuple[dict[str, Sent], list[Trial]]:
        """Return every tensor encoded as the policy's last plan wants it, and what its plans cost."""
        sent: dict[str, Sent] = {}
        points: dict[str, Point] = {}
        trials: list[Trial] = []
        better: Plan | None = plan
        while better is not None:
            changed = [name for name in self.targets if name not in sent or sent[name].asked != better[name]]
            sent |= {name: self._encode(name, better[name]) for name in changed}
            points = points | {name: self._point(name, sent[name].encoded) for name in changed}
            whole = self.framed({name: sent[name].encoded for name in self.targets})
            head_bytes = whole - sum(point.payload_bytes for point in points.values())
            trials.append(Trial(better, points, self.specs, head_bytes))
            better = policy.revise(trials, self.specs, signals)
        return sent, trials

    def _curves(self, policy: Policy) -> dict[str, Curve] | None:
        """Return what the policy wants measured; None where it has no goal for the whole message."""
        ask: Any = getattr(policy, "options", None)
        wanted = ask(self.specs, self.signals) if ask and self.specs else None
        if wanted is None:
            return None
        for name, squares in self.signals.energies.items():
            if not math.isfinite(squares):
                raise NonFiniteError(f"{name}: the tensor holds NaN or infinity, which no goal for a message can weigh")
        curves: dict[str, Curve] = {}
        for look in range(_LOOKS):
            if look:
                wanted = ask(self.specs, replace(self.signals, curves=curves))
            if not wanted:
                break
            curves = curves | {name: curves.get(name, ()) + self._curve(name, made) for name, made in wanted.items()}
        return curves

    def _curve(self, name: str, codecs: tuple[Codec, ...]) -> Curve:
        """Return what each codec makes of a tensor."""
        x = self._sendable(name)
        some = x[:: max(1, x.numel() // _SAMPLE)] if x.dim() > 1 and x.shape[0] >= _ROWS else x
        return tuple(self._measured(name, codec, x, some if codec.local else x) for codec in codecs)

    def _measured(self, name: str, codec: Codec, x: Tensor, some: Tensor) -> Point:
        """Return a point for x as some of its rows tell it."""
        whole = self.signals.energies.get(name, 0.0)
        squares = whole if some is x else energy(some)
        encoded, _ = encode_with_history(codec, some, self._tensor_seed(name), {}, squares)
        share = x.numel() / max(some.numel(), 1)
        error = _error(some, encoded) * (whole / squares if squares else share)
        return Point(codec, encoded.payload_bytes * share + record_bytes(encoded), error)

    def _encode(self, name: str, codec: Codec) -> Sent:
        x, squares = self._sendable(name), self.signals.energies.get(name)
        given = squares if x is self.targets[name] else None
        try:
            found = encode_with_history(codec, x, self._tensor_seed(name), self.histories.get(name, {}), given)
        except NonFiniteError as error:
            raise NonFiniteError(f"{name}: {error}") from None
        return Sent(codec, *found)

    def _point(self, name: str, encoded: Encoded) -> Point:
        added = encoded.payload_bytes + record_bytes(encoded)
        return Point(encoded.codec, added, _error(self.targets[name], encoded))

    def _sendable(self, name: str) -> Tensor:
        x, dtype = self.targets[name], self.specs[name].dtype
        return saturate(x, dtype) if dtype.is_floating_point else x

    def _tensor_seed(self, name: str) -> int:
        return derive_seed(self.seed, f"{self.signals.round}/{name}")


def _kept(policy: Any, signals: Signals) -> State:
    return policy.keep(signals) if hasattr(policy, "keep") else {}


def _error(x: Tensor, encoded: Encoded) -> float:
    """Return the sum of squared errors; none for integers and for what is lossless."""
    if not x.dtype.is_floating_point or (encoded.codec.lossless and encoded.spec.dtype == x.dtype):
        return 0.0
    left = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32, copy=True)
    encoded.codec.residual_(left, encoded)
    return energy(left)
