"""`@frozen` and `@slotted`: slotted dataclasses that are made in a quarter of the time. Stdlib only.

`dataclasses.dataclass(slots=True)` compiles three to six methods for every class and makes the class twice, and a program of a hundred small
records pays for that at each start. Here a class gets its constructor compiled, and everything else is shared. To type checkers and to
`dataclasses.replace`, `fields` and `is_dataclass` it is a dataclass.
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
        return partial(frozen, eq=eq)
    methods = {"__setattr__": _refuse, "__delattr__": _refuse, "__getstate__": _values, "__setstate__": _restore}
    if eq:
        methods |= {"__eq__": _eq, "__hash__": _hash}
    return _slotted(kind, methods, is_frozen=True)


@overload
def slotted(kind: type[Kind]) -> type[Kind]: ...


@overload
def slotted(*, eq: bool = ...) -> Callable[[type[Kind]], type[Kind]]: ...


@dataclass_transform(field_specifiers=(field,))
def slotted(kind: type[Kind] | None = None, *, eq: bool = True) -> Any:
    """The class as a dataclass with slots whose fields can be set, compared by them; by identity where `eq` is False."""
    if kind is None:
        return partial(slotted, eq=eq)
    return _slotted(kind, {"__eq__": _eq, "__hash__": None} if eq else {}, is_frozen=False)


def _slotted(kind: type[Kind], methods: dict[str, Any], *, is_frozen: bool) -> type[Kind]:
    """A class of the same body with slots for its fields, and with these methods where it has none of its own."""
    kind.__doc__ = kind.__doc__ or kind.__name__  # else dataclass spells out a signature
    plain: Any = dataclass(init=False, repr=False, eq=False)(kind)
    names = tuple(plain.__dataclass_fields__)
    body = {key: value for key, value in plain.__dict__.items() if key not in (*names, "__dict__", "__weakref__")}
    constructor, known = _constructor(plain, is_frozen=is_frozen)
    given = {"__slots__": names, "__repr__": _repr, "__init__": constructor, **methods}
    metaclass: Any = type(kind)
    made = metaclass(kind.__name__, kind.__bases__, {**given, **body})
    if is_frozen:
        known.update({f"_set_{name}": getattr(made, name).__set__ for name in names})
    return made  # type: ignore[no-any-return]


def _constructor(plain: Any, *, is_frozen: bool) -> tuple[Any, dict[str, Any]]:
    """`__init__` with the fields as its parameters, and the names that it knows. In a frozen class it sets them through their slots, past the
    refusing `__setattr__`."""
    known: dict[str, Any] = {"_missing": MISSING}
    parameters, body = ["self"], []
    for item in plain.__dataclass_fields__.values():
        name, given = item.name, item.name
        if item.default_factory is not MISSING:
            known[f"_default_{name}"] = item.default_factory
            parameters.append(f"{name}=_missing")
            given = f"_default_{name}() if {name} is _missing else {name}"
        elif item.default is not MISSING:
            known[f"_default_{name}"] = item.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        body.append(f"_set_{name}(self, {given})" if is_frozen else f"self.{name} = {given}")
    if hasattr(plain, "__post_init__"):
        body.append("self.__post_init__()")
    # as dataclasses does: names of fields alone
    exec(f"def __init__({', '.join(parameters)}): {'; '.join(body) or 'pass'}", known)
    known["__init__"].__qualname__ = f"{plain.__qualname__}.__init__"
    return known["__init__"], known


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
