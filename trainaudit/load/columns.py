"""Many frozen instances at once. Stdlib only."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

Kind = TypeVar("Kind")


def instances(kind: type[Kind], *columns: Sequence[Any]) -> list[Kind]:
    """Instances of a frozen, slotted dataclass without `__post_init__`, from one column of values for each of its fields.

    Its constructor sets each field of each instance by a call of its own, in Python; here a whole column is one call, so
    that tens of thousands of instances are made in less than half of the time.
    """
    made = [object.__new__(kind) for _ in columns[0]]
    for field, column in zip(fields(kind), columns, strict=True):  # type: ignore[arg-type]
        if len(column) != len(made):
            raise ValueError(f"{len(column)} values of {field.name} for {len(made)} instances")
        deque(map(getattr(kind, field.name).__set__, made, column), maxlen=0)
    return made
