"""One model as seen from another: what goes as a difference, what as it is, and back.

Both directions of the link are this: the server sends its model as seen from what the client holds, the client what it
trained as seen from what it received. A tensor travels

- as a difference, where both ends have one to add it to;
- as a difference to zeros, where it is nearer to those: apps that answer with updates or gradients do that;
- losslessly as it is, where the other end has none to add to (another name, shape or kind of number), where it holds
  NaN or infinity, and where a difference would not give back every bit of what must be exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from thinwire.codec import Encoded, Message, Spec, State, decode, encode
from thinwire.compressor import Compressor, Report
from thinwire.delta import minus, plus
from thinwire.errors import WireError
from thinwire.flower.names import short
from thinwire.flower.records import dense_bytes
from thinwire.kernels.distortion import all_finite, energy
from thinwire.policy import Signals

STATISTICS = "*running_mean *running_var *num_batches_tracked *moving_mean *moving_variance"
"""What torch and Keras call the buffers of their normalization layers: they are no weights, and no error of theirs is
small."""
_SAMPLE, _FEW, _MASKED = 2048, 4, 20
_MOST_CHANNELS = 1 << 16
_TINY_BYTES = 256
"""Models of fewer bytes travel losslessly: what surrounds them is larger, so that nothing is saved by an error."""


@dataclass(frozen=True)
class Update:
    """A model as it travels."""

    message: Message
    verbatim: frozenset[int]
    """Positions of the tensors of which the message holds the values, losslessly, not differences."""
    alone: frozenset[int]
    """Positions of the tensors that are differences to zeros."""
    state: State
    """What the compressor wants to remember."""
    report: Report


@dataclass(frozen=True)
class View:
    """What a model is seen from: tensors by the names of the model's, as the receiver of differences has them."""

    bases: Mapping[str, Tensor]
    same: Collection[str] = ()
    """Names of those that the other end has bit for bit."""
    new: bool = False
    """The other end has nothing yet: differences to zeros are the model itself."""

    @classmethod
    def from_nothing(cls, expected: Mapping[str, Spec]) -> View:
        """Return the view of who holds nothing: zeros, which take no memory."""
        zeros = {name: torch.zeros((), dtype=spec.dtype).expand(spec.shape) for name, spec in expected.items()}
        return cls(zeros, frozenset(zeros), new=True)

    def base(self, name: str, x: Tensor) -> Tensor | None:
        """Return what x can be a difference to, in x's dtype; None where there is nothing."""
        base = self.bases.get(name)
        if base is None or base.shape != x.shape:
            return None
        if base.dtype == x.dtype:
            return base
        both = base.dtype.is_floating_point and x.dtype.is_floating_point
        return base.to(x.dtype) if both else None


def encode_update(
    values: Mapping[str, Tensor],
    view: View,
    compressor: Compressor,
    state: State,
    signals: Signals,
    seed: int = 0,
    exact: str = "",
    differences_only: bool = False,
    consume: bool = False,
) -> Update:
    """Return ``values`` as seen from ``view``. ``exact``: patterns of names that travel losslessly, beside NaN.

    ``differences_only``: nothing goes otherwise that has a difference to what the other end has, though its last bit
    may round off. ``consume``: ``state``, a dict, is given away and emptied. Raises ValueError from the compressor;
    nothing else is changed.
    """
    given, verbatim, alone, lossless = _ways(values, view, exact, differences_only)
    message, new_state, report = compressor.compress(
        given, state if consume else dict(state), signals, seed, exact=lossless, consume=True
    )
    for name in () if differences_only else values.keys() - verbatim - lossless:
        if not message[name].codec.lossless or name not in view.same or name in alone:
            continue
        if _rounds_off(message[name], view.base(name, values[name]), values[name]):
            message[name] = encode(message[name].codec, values[name])
            verbatim.add(name)
    places = {name: at for at, name in enumerate(values)}
    lossless_places, alone_places = (frozenset(places[name] for name in names) for names in (verbatim, alone))
    return Update(message, lossless_places, alone_places, new_state, report)


def _ways(
    values: Mapping[str, Tensor], view: View, exact: str, differences_only: bool
) -> tuple[dict[str, Tensor], set[str], set[str], set[str]]:
    """Return what goes for each tensor, and the names of those that go verbatim, alone and losslessly."""
    given, verbatim, alone, lossless = dict[str, Tensor](), set[str](), set[str](), set[str]()
    tiny = dense_bytes(values) < _TINY_BYTES
    for name, x in values.items():
        base = view.base(name, x)
        difference = None if base is None else minus(x, base)
        given[name] = x if difference is None else difference
        must = tiny or must_be_exact(name, x, exact, view.new)
        must = must or (base is not None and (_is_masked(x, base) or _may_be_variances(name, x, base)))
        if difference is None or must or not all_finite(difference):
            lossless.add(name)
            stays = differences_only and difference is not None and all_finite(difference)
            if base is None or difference is None or not (stays or same_bits(plus(base, difference), x)):
                given[name] = x
                verbatim.add(name)
        elif not (view.new or differences_only) and x.dtype.is_floating_point and energy(x) < energy(difference):
            given[name] = x
            alone.add(name)
    return given, verbatim, alone, lossless


def apply_update(
    message: Mapping[str, Encoded],
    verbatim: Collection[int],
    alone: Collection[int],
    view: View,
    scale: float = 1.0,
) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) of the model that a message brings to who has ``view``, one after the other.

    Differences of floats are multiplied by ``scale``. Raises WireError.
    """
    for at, (name, encoded) in enumerate(message.items()):
        x = decode(encoded)
        if at in verbatim:
            yield name, x
            continue
        base = view.base(name, x)
        if base is None:
            raise WireError(f"tensor {short(name)!r} is a difference to one of another shape or kind, or to none")
        x = x * scale if scale != 1 and x.dtype.is_floating_point else x
        yield name, x if at in alone else plus(base, x)


def check_places(tensors: int, *places: Collection[int]) -> None:
    """Raise WireError on positions that a message of so many tensors does not have."""
    for each in places:
        if each and max(each) >= tensors:
            raise WireError(f"tensor {max(each)} is said to travel in a special way, of {tensors}")


def must_be_exact(name: str, x: Tensor, patterns: str, new: bool) -> bool:
    """Return whether a tensor must arrive bit for bit: by its name, or since no bound says anything of its error.

    That is so for NaN and infinity, and for a ``new`` tensor of a few distinct values, as masks are.
    """
    if any(fnmatchcase(short(name), pattern) for pattern in patterns.replace(",", " ").split()):
        return True
    if not x.dtype.is_floating_point:
        return False
    return not x.numel() or not all_finite(x) or (new and _has_few_values(x))


def _is_masked(x: Tensor, base: Tensor) -> bool:
    """Return whether many elements are exactly zero where the other end's are not: zeros that mean something."""
    if not x.dtype.is_floating_point or x.numel() < _MASKED:
        return False
    step = max(1, x.numel() // _SAMPLE)
    if not bool((x.reshape(-1)[::step] == 0).any()):
        return False
    return int(((x == 0) & (base != 0)).sum()) * _MASKED > x.numel()


def _may_be_variances(name: str, x: Tensor, base: Tensor) -> bool:
    """Return whether it is a vector without a name that holds, as before, nothing below zero.

    Flower's older API numbers its arrays. A variance that falls from 100 to 0.01 must not arrive as -0.3, which is
    within 2**-8 of the change: the square root of it is NaN.
    """
    if x.dim() != 1 or not x.dtype.is_floating_point or x.numel() > _MOST_CHANNELS or not short(name).isdecimal():
        return False
    return not bool((x < 0).any() or (base < 0).any())


def _has_few_values(x: Tensor) -> bool:
    """Return whether a large tensor holds a handful of distinct values, zero not counted; zeros alone are none."""
    flat = x.reshape(-1)
    if flat.numel() < _SAMPLE or len(torch.unique(flat[:: max(1, flat.numel() // _SAMPLE)])) > _FEW:
        return False
    values = torch.unique(flat)
    return len(values) <= _FEW and bool((values != 0).any())


def _rounds_off(encoded: Encoded, base: Tensor | None, x: Tensor) -> bool:
    """Return whether what was sent losslessly, without anything of an earlier message, does not give back the value."""
    if base is None or not x.dtype.is_floating_point or not same_bits(sent := decode(encoded), minus(x, base)):
        return False
    return not same_bits(plus(base, sent), x)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are equal bit for bit, NaN and negative zeros too."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
