"""Our methods, by text: a codec or a policy, and the field of it that is turned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor

from thinwire.codec import Codec, Spec
from thinwire.compressor import Compressor
from thinwire.feedback import NoFeedback
from thinwire.lab.bench.rates.cases import Case
from thinwire.lab.bench.rates.method import Method, Points, framed, nmse_of, received, step_knob, turning
from thinwire.lab.bench.rates.tuning import Knob, Send, Sent
from thinwire.policy import Signals
from thinwire.registry import parse
from thinwire.wire import dumps

TEXTS = (
    "Step()",
    "Step(symbols=Ans())",
    "Rdoq()",
    "Smallest(options=(Rdoq(), LowRank()))",
    "ErrorBound(nmse=0.1, whole=True)",
)
"""All but the last bound (or step) every tensor alone; that shares the error of an update out among its tensors."""
GOALS = ("absolute", "relative", "nmse", "ratio", "rank", "bits", "density", "total_bytes", "step")


def ours(text: str) -> Method:
    """Return the method that a text describes. Raises ValueError for one that does not parse or has nothing to turn."""
    what: Any = parse(text)
    name = goal(what)
    if not name:
        raise ValueError(f"{text} has nothing to tune, expected one of these fields: {', '.join(KNOBS)}")
    return Method(text, "ours", f"{name} is tuned", _points(what, name))


def _points(what: Any, name: str) -> Points:
    quick = isinstance(what, Codec) and name == "step"
    error = (lambda case, step: _error(with_knob(what, name, step), case)) if quick else None
    return turning(_bind(what, name), KNOBS[name], _setting(what, name), error)


def _error(codec: Codec, case: Case) -> float:
    """Return the error of a quantizer, whose symbols arrive as they were sent."""
    return nmse_of(case, {name: _rounded(codec, x) for name, x in case.tensors.items()})


def _rounded(codec: Codec, x: Tensor) -> Tensor:
    fitted = codec.fit(x, 0)
    return fitted.from_parts(fitted.to_parts(x, 0, {})[0], Spec.of(x), 0)


def goal(what: Any) -> str:
    """Return the field that is turned: the first of `KNOBS` that there is; empty if none."""
    names = {field.name for field in fields(what)} if is_dataclass(what) else set()
    return next((name for name in KNOBS if name in names), "")


def _step(case: Case, nmse: float) -> Knob:
    return step_knob(case, nmse)


def _nmse(case: Case, nmse: float) -> Knob:
    # Such a search has a slack of its own, and another would only repeat it.
    return Knob(nmse, nmse / 16, min(4 * nmse, 0.99), slack=0.02)


def _bytes(case: Case, nmse: float) -> Knob:
    # The knob is one over the bytes: the error grows with it.
    return Knob(2 / case.elements, 1 / (8 * case.elements), 1 / 256)


def _density(case: Case, nmse: float) -> Knob:
    return Knob(1 / (1 - nmse), 1.0, float(case.elements))


def _bits(case: Case, nmse: float) -> Knob:
    return Knob(1 / 3, 1 / 8, 256.0)


KNOBS: dict[str, Callable[[Case, float], Knob]] = {
    "step": _step,
    "nmse": _nmse,
    "total_bytes": _bytes,
    "density": _density,
    "bits": _bits,
}
"""The field that is turned: the first of these that there is. One step serves all tensors."""


def _bind(what: Any, name: str) -> Callable[[Case], Send]:
    return lambda case: lambda knob: _sent(with_knob(what, name, knob), case)


def _setting(what: Any, name: str) -> Callable[[float], str]:
    return lambda knob: str(with_knob(what, name, knob))


def with_knob(what: Any, name: str, knob: float) -> Any:
    """Return a codec or a policy with one field set, and other goals unset."""
    value = knob if name in ("step", "nmse") else int(1 / knob) if name == "total_bytes" else min(1 / knob, _MOST[name])
    others = {other: None for other in GOALS if other != name and getattr(what, other, None) is not None}
    alone = isinstance(what, Codec) or name == "total_bytes"
    return replace(what, **(others if alone else {}), **{name: value})


_MOST = {"density": 1.0, "bits": 8.0}


def _sent(what: Any, case: Case) -> Sent:
    if isinstance(what, Codec):
        return framed(what, case)
    whole = what if isinstance(what, Compressor) else Compressor(what, NoFeedback())
    message, _, _ = whole.compress(dict(case.tensors), {}, Signals())
    return received(dumps(message), case)
