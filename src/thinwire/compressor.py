"""A compressor: policy and feedback for one direction of one link. State goes in and comes out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from thinwire.codec import Encoded, Message, State, decode, derive_seed, encode_with_history, specs
from thinwire.errors import NonFiniteError
from thinwire.feedback import Feedback, unsent
from thinwire.kernels.narrow import saturate
from thinwire.policy import Policy, Signals
from thinwire.registry import child, register


@register
@dataclass(frozen=True)
class Clip:
    """Clip what is sent, before encoding: every element to ``value``, or the L2 norm of the whole message to ``norm``.

    What is clipped off goes to the residual (``keep``) or is dropped.
    """

    value: float | None = None
    norm: float | None = None
    keep: bool = True

    def __post_init__(self) -> None:
        given = [bound for bound in (self.value, self.norm) if bound is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:
            raise ValueError(f"Clip: value is {self.value!r} and norm {self.norm!r}, expected one positive number")

    def apply(self, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return clipped copies of the float tensors."""
        if self.value is not None:
            return {name: x.clamp(-self.value, self.value) for name, x in targets.items()}
        norm = math.sqrt(sum(float(x.double().square().sum()) for x in targets.values()))
        scale = min(1.0, (self.norm or 0.0) / norm) if norm else 1.0
        return {name: x * scale for name, x in targets.items()}


@dataclass(frozen=True)
class TensorReport:
    """What one tensor of a message cost."""

    codec: str
    payload_bytes: int
    dense_bytes: int
    error_energy: float
    energy: float

    @property
    def nmse(self) -> float:
        """Return ``sum((target - sent)**2) / sum(target**2)``; 0 for an all-zero target."""
        return self.error_energy / self.energy if self.energy else 0.0


@dataclass(frozen=True)
class Report:
    """What a message cost. The frame adds its header: ``len(dumps(message))`` is what travels."""

    tensors: dict[str, TensorReport] = field(default_factory=dict)

    @property
    def payload_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(t.payload_bytes for t in self.tensors.values())

    @property
    def dense_bytes(self) -> int:
        """Bytes of the dense tensors."""
        return sum(t.dense_bytes for t in self.tensors.values())

    @property
    def nmse(self) -> float:
        """Return the error of the whole message relative to its energy."""
        energy = sum(t.energy for t in self.tensors.values())
        return sum(t.error_energy for t in self.tensors.values()) / energy if energy else 0.0


@register
@dataclass(frozen=True)
class Compressor:
    """One direction of one link: ``policy`` chooses codecs, ``feedback`` keeps what was not sent; ``clip`` if given."""

    policy: Policy
    feedback: Feedback = child("ErrorFeedback()")
    clip: Clip | None = None

    def compress(
        self, tensors: Mapping[str, Tensor], state: State, signals: Signals | None = None, seed: int = 0
    ) -> tuple[Message, State, Report]:
        """Return the message, the new state and what it cost. Neither ``tensors`` nor ``state`` is changed.

        State keys are ``residual/<name>`` and ``history/<name>/<key>``. Commit the new state once the message arrived;
        keep the old one if it did not. Raises NonFiniteError naming the tensor.
        """
        signals = signals or Signals()
        plan = self.policy.plan(specs(tensors), signals)
        targets = {name: self._target(name, x, state) for name, x in tensors.items()}
        sendable = self._clipped(targets)
        message: Message = {}
        new_state: State = {}
        reports: dict[str, TensorReport] = {}
        for name, x in tensors.items():
            tensor_seed = derive_seed(seed, f"{signals.round}/{name}")
            sent, history = _encode(name, plan[name], _as(sendable[name], x.dtype), tensor_seed, _history(state, name))
            message[name] = sent
            left = _left(sendable[name], sent)
            reports[name] = _report(sendable[name], sent, left)
            kept = self._kept(targets[name], sendable[name], left)
            if kept is not None and bool(kept.any()):
                new_state[f"residual/{name}"] = kept
            new_state |= {f"history/{name}/{key}": value for key, value in history.items()}
        return message, new_state, Report(reports)

    def decompress(self, message: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return name -> decoded tensor. Needs neither policy nor state. Raises WireError."""
        return {name: decode(encoded) for name, encoded in message.items()}

    def _target(self, name: str, x: Tensor, state: State) -> Tensor:
        if not x.dtype.is_floating_point:
            return x
        residual = state.get(f"residual/{name}")
        if residual is not None and residual.shape != x.shape:
            raise ValueError(f"the residual of {name!r} is {tuple(residual.shape)}, the tensor {tuple(x.shape)}")
        return self.feedback.target(x, residual)

    def _clipped(self, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.clip is None:
            return targets
        floats = {name: x for name, x in targets.items() if x.dtype.is_floating_point}
        for name, x in floats.items():
            if not bool(torch.isfinite(x).all()):
                raise NonFiniteError(f"{name}: the tensor holds NaN or infinity, which clipping would hide")
        return targets | self.clip.apply(floats)

    def _kept(self, target: Tensor, sendable: Tensor, left: Tensor | None) -> Tensor | None:
        if self.clip is not None and self.clip.keep and target.dtype.is_floating_point:
            cut = target - sendable
            left = cut if left is None else left + cut
        return None if left is None else self.feedback.residual(target, left)


def _encode(name: str, codec: Any, x: Tensor, seed: int, history: State) -> tuple[Encoded, State]:
    try:
        return encode_with_history(codec, x, seed, history)
    except NonFiniteError as error:
        raise NonFiniteError(f"{name}: {error}") from None


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    return saturate(x, dtype) if dtype.is_floating_point else x


def _history(state: State, name: str) -> State:
    # Names may hold slashes, the keys of a history may not: "a" is not given what belongs to "a/b".
    split = ((key.rpartition("/"), value) for key, value in state.items())
    return {key: value for (owner, _, key), value in split if owner == f"history/{name}"}


def _left(target: Tensor, sent: Encoded) -> Tensor | None:
    """Return what was not sent, or None where everything was (integers; losslessly coded floats of the same dtype)."""
    if not target.dtype.is_floating_point or (sent.codec.lossless and sent.spec.dtype == target.dtype):
        return None
    left = unsent(target, sent)
    # A lossless codec sends NaN and infinity as they are; their difference is NaN, and must not haunt later rounds.
    return left.nan_to_num_(0.0, 0.0, 0.0) if sent.codec.lossless else left


def _report(target: Tensor, sent: Encoded, left: Tensor | None) -> TensorReport:
    error = float(left.double().square().sum()) if left is not None else 0.0
    energy = float(target.double().square().sum()) if target.dtype.is_floating_point else 0.0
    return TensorReport(str(sent.codec), sent.payload_bytes, sent.spec.nbytes, error, energy)
