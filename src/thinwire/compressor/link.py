"""A compressor: policy and feedback for one direction of one link. State goes in and comes out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from thinwire.codec import Codec, Encoded, Message, State, decode, encode, forget, specs
from thinwire.compressor.clip import Clip
from thinwire.compressor.plans import Sending
from thinwire.compressor.report import Report, TensorReport
from thinwire.feedback import Feedback
from thinwire.kernels.distortion import energy, is_zero
from thinwire.policy import Policy, Signals
from thinwire.registry import child, parse, register
from thinwire.wire import frame_bytes

Tensors = dict[str, Tensor]


@register
@dataclass(frozen=True)
class Compressor:
    """One direction of one link: ``policy`` chooses codecs, ``feedback`` keeps what was not sent; ``clip`` if given."""

    policy: Policy
    feedback: Feedback = child("ErrorFeedback()")
    clip: Clip | None = None

    def compress(
        self,
        tensors: Mapping[str, Tensor],
        state: State,
        signals: Signals | None = None,
        seed: int = 0,
        exact: Collection[str] = (),
        consume: bool = False,
    ) -> tuple[Message, State, Report]:
        """Return the message, the new state and what it cost. Neither ``tensors`` nor ``state`` is changed.

        ``consume``: the caller gives ``tensors`` and ``state``, both dicts, away: they are emptied, so that the memory
        of a large model is free as soon as it can be.

        State keys are ``residual/<name>``, others that the feedback keeps, such as ``velocity/<name>``, and
        ``history/<name>/<key>``. Commit the new state once the message arrived; keep the old one if it did not.
        Tensors named in ``exact`` travel losslessly, NaN and infinity too, whatever the policy wants, without clipping
        or feedback. Raises NonFiniteError naming another tensor that holds NaN or infinity.
        """
        kept_whole = {name: encode(_exact_codec(x), x) for name, x in tensors.items() if name in exact}
        given = {name: x.detach() for name, x in tensors.items() if name not in exact}
        names, given_specs = list(tensors), specs(given)
        histories, policy_state = _histories(state), _under("policy/", state)
        targets, pending, cut = self._targets(given, state)
        for mapping in (given, tensors, state) if consume else (given,):
            if isinstance(mapping, dict):
                mapping.clear()
        energies = {name: energy(x) for name, x in targets.items() if x.dtype.is_floating_point}
        reserved = sum(encoded.payload_bytes for encoded in kept_whole.values())
        signals = replace(signals or Signals(), energies=energies, kept=policy_state, reserved_bytes=reserved)
        framed = partial(_framed_with, kept_whole)
        sending = Sending(targets, given_specs, histories, signals, seed, framed)
        sent_tensors, kept_by_policy = sending.encoded(self.policy)
        message: Message = dict(kept_whole)
        new_state: State = {f"policy/{key}": value for key, value in kept_by_policy.items()}
        reports = {name: _report(encoded, 0.0, None) for name, encoded in kept_whole.items()}
        for name, sent in sent_tensors:
            encoded, history = sent.encoded, sent.history
            left = _left(targets[name], encoded, history)
            reports[name] = _report(encoded, energies.get(name, 0.0), left)
            kept = self._kept(left, cut.get(name), pending.get(name), encoded)
            message[name] = forget(encoded)
            new_state |= {f"{key}/{name}": value for key, value in kept.items() if not is_zero(value)}
            new_state |= {f"history/{name}/{key}": value for key, value in history.items()}
        return {name: message[name] for name in names}, new_state, Report({name: reports[name] for name in names})

    def decompress(self, message: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return name -> decoded tensor. Needs neither policy nor state. Raises WireError."""
        return {name: decode(encoded) for name, encoded in message.items()}

    def _targets(self, tensors: Tensors, state: State) -> tuple[Tensors, dict[str, State], Tensors]:
        """Return what should be sent, what else feedback keeps of each float tensor, and what clipping cut off."""
        given, cut = self._clipped(tensors, incoming=True)
        targets, pending = dict(given), {}
        for name, x in given.items():
            if x.dtype.is_floating_point:
                targets[name], pending[name] = self.feedback.target(x, self._kept_of(name, x, state))
        sendable, more = self._clipped(targets, incoming=False)
        return sendable, pending, cut | more

    def _clipped(self, tensors: Tensors, incoming: bool) -> tuple[Tensors, Tensors]:
        if self.clip is None or self.clip.incoming != incoming:
            return tensors, {}
        clipped = self.clip.apply(tensors)
        changed = {name: x for name, x in tensors.items() if clipped[name] is not x} if self.clip.keep else {}
        return clipped, {name: x - clipped[name] for name, x in changed.items()}

    def _kept_of(self, name: str, x: Tensor, state: State) -> State:
        kept = {key: state[f"{key}/{name}"] for key in self.feedback.keeps if f"{key}/{name}" in state}
        for key, value in kept.items():
            if value.shape != x.shape:
                raise ValueError(f"the {key} of {name!r} is {tuple(value.shape)}, the tensor {tuple(x.shape)}")
        return kept

    def _kept(self, left: Tensor | None, cut: Tensor | None, pending: State | None, sent: Encoded) -> State:
        if pending is None:
            return {}
        if cut is not None:
            left = cut if left is None else left.add_(cut)
        return self.feedback.keep(left, pending, sent)


def _framed_with(others: Mapping[str, Encoded], sent: Mapping[str, Encoded]) -> int:
    return frame_bytes({**others, **sent})


_TINY_BYTES = 256


def _exact_codec(x: Tensor) -> Codec:
    """Return the lossless codec of a tensor: byte planes under zstd, but for one too small to gain by it."""
    codec: Codec = parse("Raw()" if x.numel() * x.itemsize < _TINY_BYTES else "Planes()")
    return codec


def _left(target: Tensor, sent: Encoded, history: State) -> Tensor | None:
    """Return what was not sent, in the target's own memory; None where everything was.

    That is so for integers, and for floats losslessly coded in the dtype of the target.
    """
    if not target.dtype.is_floating_point or (sent.codec.lossless and sent.spec.dtype == target.dtype):
        return None
    # A part may be a view of the target: what is to be sent or remembered must not change.
    left = (
        target.clone() if _share_memory(target, [*sent.leaves(), *sent.known.values(), *history.values()]) else target
    )
    sent.codec.residual_(left, sent)
    # A lossless codec sends NaN and infinity as they are; their difference is NaN, and must not haunt later rounds.
    return left.nan_to_num_(0.0, 0.0, 0.0) if sent.codec.lossless else left


def _share_memory(x: Tensor, others: Iterable[Tensor]) -> bool:
    own = x.untyped_storage().data_ptr()
    return any(other.untyped_storage().data_ptr() == own for other in others)


def _report(sent: Encoded, squares: float, left: Tensor | None) -> TensorReport:
    error = 0.0 if left is None else energy(left)
    return TensorReport(str(sent.codec), sent.payload_bytes, sent.spec.nbytes, error, squares)


def _under(prefix: str, state: State) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _histories(state: State) -> dict[str, State]:
    """Return tensor name -> its history. Names may hold slashes, the keys of a history may not."""
    histories: dict[str, State] = {}
    for key, value in state.items():
        owner, _, last = key.rpartition("/")
        if owner.startswith("history/"):
            histories.setdefault(owner.removeprefix("history/"), {})[last] = value
    return histories
