"""Frozen instances that are made many at once are those that the constructor makes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from trainaudit.ir.graph import Source, Value
from trainaudit.load.instances import instances

ROWS = [("x", (1, "n"), "float32", None, (0, 2)), ("y", None, None, 1, ())]


def test_instances_equal_those_of_the_constructor() -> None:
    made = instances(Value, ROWS)
    assert made == [Value(*row) for row in ROWS]  # type: ignore[arg-type]
    assert hash(made[0]) == hash(Value(*ROWS[0]))  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        made[0].name = "z"  # type: ignore[misc]


def test_every_row_has_a_value_for_each_field() -> None:
    with pytest.raises(ValueError, match="shorter"):
        instances(Source, [("a", None, None, None)])
    with pytest.raises(ValueError, match="longer"):
        instances(Source, [("a", None, None, None, None, None)])
    with pytest.raises(ValueError, match="longer"):
        instances(Source, [("a", None, None, None, None), ("a", None, None, None, None, None)])
    assert instances(Source, []) == []
