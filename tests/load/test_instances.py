"""Frozen instances that are made many at once are those that the constructor makes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from trainaudit.ir.graph import Source, Value
from trainaudit.load.instances import instances

ROWS = [("x", (1, "n"), "float32", None, (0, 2)), ("y", None, None, 1, ())]


def test_instances_equal_those_of_the_constructor() -> None:
    made = instances(Value, *zip(*ROWS, strict=True))
    assert made == [Value(*row) for row in ROWS]  # type: ignore[arg-type]
    assert hash(made[0]) == hash(Value(*ROWS[0]))  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        made[0].name = "z"  # type: ignore[misc]
    assert instances(Value, *([],) * 5) == []


def test_there_is_a_value_for_each_field_of_each_instance() -> None:
    with pytest.raises(ValueError, match="shorter"):
        instances(Source, [None], [None], [None])
    with pytest.raises(ValueError, match="longer"):
        instances(Source, *([None],) * 5)
    with pytest.raises(ValueError, match="one length"):
        instances(Source, [None], [None], [None], [None, 2])
    with pytest.raises(ValueError, match="one length"):
        instances(Source)
