"""Many frozen instances at once. Stdlib only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache
from itertools import repeat
from typing import Any, TypeVar

Kind = TypeVar("Kind")


def instances(kind: type[Kind], *columns: Sequence[Any]) -> list[Kind]:
    """Instances of a frozen, slotted dataclass without `__post_init__`, from one column of values for each of its fields.

    Its constructor sets each field of each instance by a call, past the `__setattr__` that refuses. Here they are filled as instances of a
    class with the same slots and without that, and then become what they are: tens of thousands in less than half of the time.
    """
    for field, column in zip(fields(kind), columns, strict=True):  # type: ignore[arg-type]
        if len(column) != len(columns[0]):
            raise ValueError(f"{len(column)} values of {field.name} for {len(columns[0])} instances")
    made: list[Kind] = _filler(kind)(columns)  # type: ignore[arg-type]
    deque(map(_set_class, made, repeat(kind)), maxlen=0)
    return made


_set_class = object.__dict__["__class__"].__set__


@cache
def _filler(kind: type[Any]) -> Callable[[Sequence[Sequence[Any]]], list[Any]]:
    """A function that makes open instances, a row of the columns each."""
    names = [field.name for field in fields(kind)]
    lines = [
        "def fill(columns):",
        "    made = []",
        f"    for {', '.join(names)}, in zip(*columns):",
        "        instance = new(open_kind)",
        *(f"        instance.{name} = {name}" for name in names),
        "        made.append(instance)",
        "    return made",
    ]
    known: dict[str, Any] = {"new": object.__new__, "open_kind": type(kind.__name__, (), {"__slots__": tuple(names)})}
    exec("\n".join(lines), known)  # as dataclasses does: names of fields alone
    fill: Callable[[Sequence[Sequence[Any]]], list[Any]] = known["fill"]
    return fill
