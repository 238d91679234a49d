"""Calls as scripts write them: of methods on a class instead of an object, and with numbers of any library."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


class callable_on_class(Generic[P, R]):
    """Decorator: a method that, called on the class, is that of ``cls.shared()``."""

    def __init__(self, method: Callable[Concatenate[Any, P], R]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: Any, owner: Any) -> Callable[P, R]:
        return MethodType(self._method, owner.shared() if instance is None else instance)


class OfClassToo(Generic[R]):
    """An attribute of objects that, asked of the class, is that of ``cls.shared()``."""

    def __set_name__(self, owner: Any, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: Any) -> R: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> R: ...
    def __get__(self, instance: Any, owner: Any) -> R:
        holder = owner.shared() if instance is None else instance
        return holder.__dict__[self._name]  # type: ignore[no-any-return]

    def __set__(self, instance: Any, value: R) -> None:
        instance.__dict__[self._name] = value


def plain_number(value: Any) -> float:
    """Return a number of Python, numpy or torch as it reads: 0.01 in float32 is 0.01, and not 0.0099999998."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()[()]
    # What is no number at all is for the rule that is given it to refuse.
    return float(str(value)) if hasattr(value, "dtype") else value
