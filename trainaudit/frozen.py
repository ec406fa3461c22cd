"""`@frozen`: a frozen, slotted dataclass that is made in a third of the time. Stdlib only.

`dataclasses.dataclass(frozen=True, slots=True)` compiles six methods for every class, and a program of a hundred small records pays for
that at each start. Here a class gets its constructor compiled, and everything else is shared. To type checkers and to
`dataclasses.replace`, `fields` and `is_dataclass` it is a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field
from functools import partial
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

Kind = TypeVar("Kind")


@overload
def frozen(kind: type[Kind]) -> type[Kind]: ...


@overload
def frozen(*, eq: bool = ...) -> Callable[[type[Kind]], type[Kind]]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(kind: type[Kind] | None = None, *, eq: bool = True) -> Any:
    """The class as a frozen dataclass with slots, compared and hashed by its fields; by identity where `eq` is False."""
    if kind is None:
        return partial(_frozen, eq=eq)
    return _frozen(kind, eq=eq)


def _frozen(kind: type[Kind], *, eq: bool) -> type[Kind]:
    made: Any = dataclass(init=False, repr=False, eq=False, slots=True)(kind)
    made.__init__ = _constructor(made)
    made.__setattr__ = made.__delattr__ = _refuse
    made.__getstate__, made.__setstate__ = _values, _restore
    for method in (_repr, _eq, _hash) if eq else (_repr,):
        if f"_{method.__name__}__" not in kind.__dict__:
            setattr(made, f"_{method.__name__}__", method)
    return made  # type: ignore[no-any-return]


def _constructor(made: Any) -> Any:
    """`__init__` with the fields as its parameters; it sets them through their slots, past the refusing `__setattr__`."""
    names: dict[str, Any] = {"_missing": MISSING}
    parameters, body = ["self"], []
    for item in made.__dataclass_fields__.values():
        name, given = item.name, item.name
        names[f"_set_{name}"] = getattr(made, name).__set__
        if item.default_factory is not MISSING:
            names[f"_default_{name}"] = item.default_factory
            parameters.append(f"{name}=_missing")
            given = f"_default_{name}() if {name} is _missing else {name}"
        elif item.default is not MISSING:
            names[f"_default_{name}"] = item.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        body.append(f"_set_{name}(self, {given})")
    if hasattr(made, "__post_init__"):
        body.append("self.__post_init__()")
    exec(
        f"def __init__({', '.join(parameters)}): {'; '.join(body) or 'pass'}", names
    )  # as dataclasses does: names of fields alone
    names["__init__"].__qualname__ = f"{made.__qualname__}.__init__"
    return names["__init__"]


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self.__dataclass_fields__])


def _restore(self: Any, values: tuple[Any, ...]) -> None:
    for name, value in zip(self.__dataclass_fields__, values, strict=True):
        getattr(type(self), name).__set__(self, value)


def _repr(self: Any) -> str:
    shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__])
    return f"{type(self).__qualname__}({shown})"


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse(_self: Any, name: str, *_value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot change field {name!r}")
