"""The laws that every codec obeys, its declared claims among them. docs/laws.md states them in words.

    from thinwire.testing import conformance
    conformance(MyCodec(level=3))            # AssertionError says which law failed, on which tensor

A law is a function of a codec and the domain of tensors that it takes; ``LAWS`` holds them by name.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import MISSING, FrozenInstanceError, fields, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from thinwire import registry, wire
from thinwire.codec import VARIABLE, Codec, Encoded, Spec, decode, encode, encode_parts, encode_with_history
from thinwire.errors import NonFiniteError, WireError
from thinwire.testing.tensors import Domain, degenerate, ordinary, same_bits, suited

Law = Callable[[Codec, Domain], None]
_SEED = 41
_DRAWS = 600
_HUGE_SIZE = 1 << 41


def conformance(codec: Codec, domain: Domain = "update") -> None:
    """Check every law. Raises AssertionError that names the law, the codec and the tensor."""
    for name, law in LAWS.items():
        try:
            law(codec, domain)
        except Exception as error:
            raise AssertionError(f"law {name!r} does not hold for {codec}: {error}") from error


def claims(codec: Codec, name: str) -> bool:
    """Return whether a codec and all in its fields declare ``name``, such as ``linear``; lossless is unbiased."""
    own = getattr(codec, name) or (name == "unbiased" and codec.lossless)
    return bool(own) and all(claims(inner, name) for inner in codec.children().values())


def text_round_trip(codec: Codec, domain: Domain) -> None:
    """``repr``, ``str`` and the JSON config read back as the same codec, which is hashable and immutable."""
    config = json.loads(json.dumps(registry.to_config(codec)))
    for read in (registry.parse(repr(codec)), registry.parse(str(codec)), registry.from_config(config)):
        _require(read == codec and hash(read) == hash(codec), f"{codec!r} was read back as {read!r}")
    _require(_raises(FrozenInstanceError, lambda: setattr(codec, "_", 0)), "not a frozen dataclass")


def registered(codec: Codec, domain: Domain) -> None:
    """The id and the tag lead to the class, whose template a decoder can fill in."""
    cls = type(codec)
    found = registry.codec_for_tag(cls.tag) if cls.tag else cls
    _require(registry.codec_class(cls.id) is cls and found is cls, "not registered")
    template = registry.template(cls)
    _require(set(template.children()) == set(codec.children()), "the template has other codec fields")
    for name in cls.wire_fields:
        _require(name in {f.name for f in fields(cls)}, f"wire field {name!r} is no field")  # type: ignore[arg-type]


def round_trip(codec: Codec, domain: Domain) -> None:
    """Through bytes and back: the same tensor bit for bit, of exactly its spec, from a frame that never changes."""
    for label, x in _all(codec, domain):
        message = {"x": encode(codec, x, seed=_SEED)}
        data = wire.dumps(message)
        received = wire.loads(data, {"x": Spec.of(x)})
        here, there = decode(message["x"]), decode(received["x"])
        _require(Spec.of(there) == Spec.of(x), f"{label}: decoded to {Spec.of(there)} instead of {Spec.of(x)}")
        _require(same_bits(here, there), f"{label}: the other end decodes something else")
        _require(wire.dumps(received) == data, f"{label}: the frame changes when sent on")
        _require(
            same_bits(decode(wire.loads_any(wire.dumps(message, schema=True))["x"]), here), f"{label}: inline schema"
        )
        _require(received["x"].payload_bytes == message["x"].payload_bytes, f"{label}: payload sizes differ")


def finite(codec: Codec, domain: Domain) -> None:
    """Finite tensors decode to finite ones; NaN and infinity are refused, or kept bit for bit by lossless codecs."""
    for label, x in _all(codec, domain):
        decoded = decode(encode(codec, x, seed=_SEED))
        _require(bool(torch.isfinite(decoded).all() == torch.isfinite(x).all()), f"{label}: finite became not finite")
    for label in ("NaN", "Inf") if domain == "update" and not codec.lossless else ():
        refused = _raises(NonFiniteError, partial(encode, codec, degenerate()[label]))
        _require(refused, f"{label} was encoded without complaint")


def inputs_untouched(codec: Codec, domain: Domain) -> None:
    """Neither the tensor nor the history changes, and no global random generator moves."""
    generators = _generators()
    for label, x in _all(codec, domain):
        before = x.clone()
        encoded, history = encode_with_history(codec, x, _SEED, {})
        kept = {key: value.clone() for key, value in history.items()}
        encode_with_history(codec, x, _SEED, history)
        decode(encoded)
        _require(same_bits(x, before), f"{label}: the tensor was changed")
        _require(all(same_bits(history[key], kept[key]) for key in kept), f"{label}: the history was changed")
    _require(_generators() == generators, "a global random generator moved")


def seed_decides(codec: Codec, domain: Domain) -> None:
    """The same seed gives the same frame, and only a ``seeded`` codec sends it."""
    for label, x in _all(codec, domain):
        first, again = (wire.dumps({"x": encode(codec, x, seed=_SEED)}) for _ in range(2))
        _require(first == again, f"{label}: two frames of the same tensor and seed differ")
        encoded = wire.loads(first, {"x": Spec.of(x)})["x"]
        _require(
            encoded.seed == (_SEED if encoded.codec.seeded else 0), f"{label}: the seed that travels is {encoded.seed}"
        )


def layout_is_true(codec: Codec, domain: Domain) -> None:
    """The parts are exactly those that ``layout`` says, sizes are honest, and impossible sizes raise WireError."""
    for label, x in _all(codec, domain):
        for encoded in _nested(encode(codec, x, seed=_SEED)):
            _check_layout(label, encoded)


def never_larger(codec: Codec, domain: Domain) -> None:
    """The payload is at most the dense bytes, and the frame at most 64 bytes and 16 a tensor more than its payload."""
    for label, x in _all(codec, domain):
        encoded = encode(codec, x, seed=_SEED)
        overhead = len(wire.dumps({"x": encoded})) - encoded.payload_bytes
        _require(
            encoded.payload_bytes <= Spec.of(x).nbytes, f"{label}: {encoded.payload_bytes} bytes are more than raw"
        )
        _require(overhead <= 64 + 16, f"{label}: {overhead} bytes beside the payload")


def lossless(codec: Codec, domain: Domain) -> None:
    """A lossless codec returns every bit, also of NaN and negative zero; every codec does for integers and bools."""
    for label, x in _all(codec, domain):
        if claims(codec, "lossless") or not x.dtype.is_floating_point:
            _require(same_bits(decode(encode(codec, x, seed=_SEED)), x), f"{label}: bits were lost")


def subtraction(codec: Codec, domain: Domain) -> None:
    """``subtract_`` leaves exactly ``target - decode(encoded)``; of what was encoded, so does ``residual_``."""
    for label, x in _all(codec, domain):
        if x.dtype.is_floating_point and bool(torch.isfinite(x).all()):
            target = x.to(Spec.of(x).working, copy=True).contiguous()
            encoded = encode(codec, x, seed=_SEED)
            expected = target - decode(encoded).to(target.dtype)
            encoded.codec.subtract_(target, encoded)
            _require(bool((target == expected).all()), f"{label}: subtract_ is not target - decode")
            left = x.to(target.dtype, copy=True).contiguous()
            own, _ = encode_with_history(codec, x, _SEED, {})
            own.codec.residual_(left, own)
            _require(bool((left == expected).all()), f"{label}: residual_ is not target - decode")


def static(codec: Codec, domain: Domain) -> None:
    """A ``static`` codec's parts have the same shapes whatever the values."""
    x = suited(domain)
    concrete = codec.fit(x, _SEED)
    if claims(concrete, "static"):
        shapes = [_shapes(encode_parts(concrete, y, _SEED, {})[0]) for y in (x, x * 0, x.sign(), x * 100)]
        _require(all(shape == shapes[0] for shape in shapes), "part shapes follow the values")


def linear(codec: Codec, domain: Domain) -> None:
    """A ``linear`` codec's parts may be added: the sum decodes to the sum of the decoded tensors."""
    if claims(codec, "linear"):
        for dtype in (torch.float32, torch.float64):
            a, b = (encode_parts(codec, suited("update", (60, 40), dtype, seed), _SEED, {})[0] for seed in (1, 2))
            decoded, expected = decode(_added(a, b)), decode(a) + decode(b)
            largest = float(expected.abs().max())
            _require(bool(((decoded - expected).abs() <= 1e-6 * largest).all()), f"{dtype}: the sum of parts is not")


def unbiased(codec: Codec, domain: Domain) -> None:
    """An ``unbiased`` codec, with its other fields at their defaults, decodes to the tensor on average over seeds."""
    if claims(codec, "unbiased") and _is_default(codec) and not codec.lossless:
        x = suited(domain, (8, 8), seed=9)
        draws = torch.stack([decode(encode_parts(codec, x, seed, {})[0]).double() for seed in range(_DRAWS)])
        error = (draws.mean(0) - x.double()).abs()
        # An element that is kept once in thousands of draws is zero in all of these, and tells nothing of its variance.
        rare = 10 * draws.abs().max() / _DRAWS * (draws == 0).all(0)
        allowed = 6 * draws.std(0) / _DRAWS**0.5 + rare + 1e-7 * x.abs().max()
        _require(bool((error <= allowed).all()), f"the mean of {_DRAWS} draws is off by up to {float(error.max()):.3g}")


LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        text_round_trip, registered, round_trip, finite, inputs_untouched, seed_decides, layout_is_true, never_larger,
        lossless, subtraction, static, linear, unbiased,
    )
}  # fmt: skip


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _all(codec: Codec, domain: Domain) -> Iterator[tuple[str, Tensor]]:
    """Yield the ordinary tensors of the domain and, for codecs of updates, the degenerate ones that they accept."""
    yield from ordinary(domain).items()
    if domain == "update":
        yield from ((k, x) for k, x in degenerate().items() if codec.lossless or bool(torch.isfinite(x).all()))


def _nested(encoded: Encoded) -> Iterator[Encoded]:
    yield encoded
    for part in encoded.parts.values():
        if isinstance(part, Encoded):
            yield from _nested(part)


def _check_layout(label: str, encoded: Encoded) -> None:
    codec, spec = encoded.codec, encoded.spec
    layout = codec.layout(spec, encoded.size)
    specs = {name: part.spec if isinstance(part, Encoded) else Spec.of(part) for name, part in encoded.parts.items()}
    _require(set(specs) == set(layout), f"{label}: parts {list(specs)}, layout {list(layout)}")
    for name, expected in layout.items():
        variable = expected.shape == (VARIABLE,) and len(specs[name].shape) == 1 and specs[name].dtype == torch.uint8
        _require(variable or specs[name] == expected, f"{label}: part {name!r} is {specs[name]}, layout {expected}")
    _require(codec.sized or encoded.size == 0, f"{label}: size {encoded.size} of a codec that is not sized")
    for size in (spec.numel + 1, _HUGE_SIZE) if codec.sized else ():
        refused = _raises(WireError, partial(codec.layout, spec, size))
        _require(refused, f"{label}: the impossible size {size} was accepted")


def _raises(error: type[Exception], action: Callable[[], object]) -> bool:
    try:
        action()
    except error:
        return True
    return False


def _shapes(encoded: Encoded) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape) for leaf in encoded.leaves()]


def _added(a: Encoded, b: Encoded) -> Encoded:
    parts: dict[str, Tensor | Encoded] = {}
    for name, part in a.parts.items():
        other = b.parts[name]
        if isinstance(part, Encoded) and isinstance(other, Encoded):
            parts[name] = _added(part, other)
        elif isinstance(part, Tensor) and isinstance(other, Tensor):
            parts[name] = part + other
    return replace(a, parts=parts)


def _is_default(codec: Codec) -> bool:
    """Return whether every field that has a default is at it: what ``unbiased`` is declared for."""
    for f in fields(codec):  # type: ignore[arg-type]
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if default is not MISSING and getattr(codec, f.name) != default:
            return False
    return True


def _generators() -> tuple[object, ...]:
    numpys = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return random.getstate(), numpys["key"].tobytes(), numpys["pos"], torch.get_rng_state().numpy().tobytes()
