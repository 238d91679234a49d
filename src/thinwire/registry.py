"""Names to classes, and the text form of codecs, policies and feedbacks.

The repr is the spec: ``parse(repr(c)) == c``. Text is read as a tree of calls and literals; nothing is evaluated.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, TypeVar

from thinwire.codec import Codec
from thinwire.errors import unknown

_CODECS: dict[str, type[Codec]] = {}
_TAGS: dict[int, type[Codec]] = {}
_NAMES: dict[str, type] = {}
_METHODS: dict[str, str] = {}
_MAX_TEXT, _MAX_DEPTH = 4096, 8
T = TypeVar("T", bound=type)


def register_codec(cls: type[Codec]) -> None:
    """Make a codec known by id, by wire tag (1 to 255, or 0 for none) and by class name, each of which is its alone."""
    if not 0 <= cls.tag <= 255:
        raise ValueError(f"codec {cls.__name__}: tag is {cls.tag}, expected 1 to 255 (plug-ins: 128 to 255), or none")
    for table, key in ((_CODECS, cls.id), (_TAGS, cls.tag), (_NAMES, cls.__name__)):
        if key in table:
            raise ValueError(f"codec {cls.__name__}: {key!r} is already taken by {table[key]!r}")  # type: ignore[index]
    _CODECS[cls.id] = _NAMES[cls.__name__] = cls
    if cls.tag:
        _TAGS[cls.tag] = cls


def register(cls: T) -> T:
    """Class decorator: make a frozen dataclass (a policy, a feedback) available to ``parse`` by its name."""
    _NAMES[cls.__name__] = cls
    return cls


def register_methods(methods: Mapping[str, str]) -> None:
    """Make named compositions (the zoo), given as texts, available to ``parse``."""
    _METHODS.update(methods)


def codec_class(id: str) -> type[Codec]:
    """Return the codec class with this id. Raises ValueError naming the nearest."""
    if id not in _CODECS:
        raise ValueError(unknown("codec", id, _CODECS))
    return _CODECS[id]


def codec_for_tag(tag: int) -> type[Codec] | None:
    """Return the codec class with this wire tag, or None."""
    return _TAGS.get(tag)


@cache
def template(cls: type[Codec]) -> Codec:
    """Return an instance of a codec class with every field at its default, or at 1 where it has none."""
    return cls(**{f.name: 1.0 for f in dataclasses.fields(cls) if _required(f)})  # type: ignore[arg-type]


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def codecs() -> dict[str, type[Codec]]:
    """Return all registered codecs by id, in order of registration."""
    return dict(_CODECS)


def names() -> dict[str, type]:
    """Return everything that ``parse`` can construct, by class name."""
    return dict(_NAMES)


def child(text: str) -> Any:
    """Return a dataclass field whose default is ``parse(text)``: codecs meet as fields without importing each other."""
    return dataclasses.field(default_factory=partial(_parsed, text))


@cache
def _parsed(text: str) -> Any:
    return parse(text)


def parse(text: str) -> Any:
    """Return the codec, policy or named method that ``text`` describes, such as ``TopK(0.01, values=Uniform(bits=8))``.

    Raises ValueError that names what was given, what is possible and the nearest match.
    """
    if len(text) > _MAX_TEXT:
        raise ValueError(f"a description of {len(text)} characters is too long (at most {_MAX_TEXT})")
    text = text.strip()
    if text in _METHODS:
        return parse(_METHODS[text])
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(
            f"cannot read {text!r}; expected something like 'TopK(0.05, values=Uniform(bits=8))'"
        ) from error
    return _build(tree, text, 0)


def with_density(name: str, density: float) -> Any:
    """Return a named method with every density in it replaced: ``parse("hggtopk(density=0.05)")``.

    Raises ValueError where the name is unknown, where the method has no density, and where it cannot have this one.
    """
    if name not in _METHODS:
        raise ValueError(unknown("method", name, _METHODS))
    method = parse(_METHODS[name])
    varied = _with_density(method, density)
    if varied is method:
        raise ValueError(f"the method {name!r} has no density: it is {_METHODS[name]}")
    return varied


def _with_density(value: Any, density: float) -> Any:
    """Return the same object where nothing in it has a density."""
    if isinstance(value, tuple):
        items = tuple(_with_density(item, density) for item in value)
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    new = {name: density if name == "density" else _with_density(old, density) for name, old in fields.items()}
    changed = {name: item for name, item in new.items() if name == "density" or item is not fields[name]}
    return dataclasses.replace(value, **changed) if changed else value


def _build(node: ast.expr, text: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError(f"{text!r} is nested more than {_MAX_DEPTH} deep")
    if isinstance(node, ast.Name):
        return _by_name(node.id, text)
    if isinstance(node, ast.Call):
        return _call(node, text, depth)
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_build(item, text, depth + 1) for item in node.elts)
    return _literal(node, text)


def _literal(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _fraction(_literal(node.left, text), _literal(node.right, text), text)
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        raise ValueError(f"{_shown(node, text)!r} in {text!r} is neither a literal nor a known name") from None
    if not isinstance(value, bool | int | float | str | None):
        raise ValueError(f"{value!r} in {text!r} is not a number, text, True, False or None")
    return value


def _shown(node: ast.expr, text: str) -> str:
    return ast.get_source_segment(text, node) or text


def _fraction(top: Any, bottom: Any, text: str) -> float:
    if not isinstance(top, int | float) or not isinstance(bottom, int | float) or not bottom:
        raise ValueError(f"{top!r}/{bottom!r} in {text!r} is not a fraction of two numbers")
    return top / bottom


def _by_name(name: str, text: str) -> Any:
    if name in _METHODS:
        return parse(_METHODS[name])
    return _construct(_lookup(name), (), {}, text)


def _lookup(name: str) -> type:
    found = _NAMES.get(name) or _CODECS.get(name)
    if found is None:
        raise ValueError(unknown("codec, method or policy", name, [*_NAMES, *_METHODS]))
    return found


def _call(node: ast.Call, text: str, depth: int) -> Any:
    if not isinstance(node.func, ast.Name):
        raise ValueError(f"{_shown(node.func, text)!r} in {text!r} is not a plain name")
    args = tuple(_build(arg, text, depth + 1) for arg in node.args)
    if any(keyword.arg is None for keyword in node.keywords):
        raise ValueError(f"'**' is not possible in {text!r}")
    kwargs = {str(keyword.arg): _build(keyword.value, text, depth + 1) for keyword in node.keywords}
    if node.func.id in _METHODS and not args and kwargs.keys() == {"density"}:
        return with_density(node.func.id, kwargs["density"])
    if node.func.id in _METHODS and node.func.id not in _CODECS:
        raise ValueError(f"{text!r}: the method {node.func.id!r} takes density=..., and nothing else")
    return _construct(_lookup(node.func.id), args, kwargs, text)


def _construct(cls: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], text: str) -> Any:
    known = [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
    for name in kwargs:
        if name not in known:
            raise ValueError(f"{cls.__name__}: " + unknown("field", name, known))
    try:
        return _checked(cls(*args, **kwargs))
    except TypeError as error:
        raise ValueError(f"{text!r}: {cls.__name__} takes ({', '.join(known)}): {error}") from None


def _checked(value: Any) -> Any:
    """Raise ValueError where a field that holds a codec by default was given something else."""
    for field in dataclasses.fields(value):
        given = getattr(value, field.name)
        if isinstance(_default(field), Codec) and not isinstance(given, Codec):
            raise ValueError(
                f"{type(value).__name__}: {field.name} is {given!r}, expected a codec such as {_default(field)}"
            )
    return value


def text(value: Any) -> str:
    """Return the shortest text that ``parse`` reads back as ``value``: fields at their default are left out."""
    if isinstance(value, tuple):
        return f"({', '.join(map(text, value))},)"
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return repr(value)
    shown = [
        (f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if getattr(value, f.name) != _default(f)
    ]
    return f"{type(value).__name__}({', '.join(f'{name}={text(item)}' for name, item in shown)})"


def told(codec: Codec) -> str:
    """Return a codec as text with what travels only, and ``...`` for what its sender alone knows."""
    fields = {field.name: field for field in dataclasses.fields(codec)}  # type: ignore[arg-type]
    children, usual = codec.children(), template(type(codec)).children()
    values = [(name, getattr(codec, name)) for name in codec.wire_fields]
    shown = [f"{name}={value!r}" for name, value in values if value != fields[name].default]
    shown += [f"{name}={told(inner)}" for name, inner in children.items() if told(inner) != told(usual[name])]
    if not codec.lossless and fields.keys() - {*codec.wire_fields, *children}:
        shown.append("...")
    return f"{type(codec).__name__}({', '.join(shown)})"


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def to_config(value: Any) -> Any:
    """Return a JSON-able form of a codec or policy: ``{"type": "TopK", "density": 0.01, ...}``."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_config(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    return [to_config(item) for item in value] if isinstance(value, tuple) else value


def from_config(config: Any) -> Any:
    """Invert ``to_config``. Raises ValueError on unknown types or fields."""
    if isinstance(config, dict):
        rest = {name: from_config(value) for name, value in config.items() if name != "type"}
        return _construct(_lookup(str(config.get("type"))), (), rest, str(config))
    return tuple(from_config(item) for item in config) if isinstance(config, list) else config
