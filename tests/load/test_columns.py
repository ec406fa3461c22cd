"""Frozen instances that are made column by column are those that the constructor makes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from trainaudit.ir.graph import Source, Value
from trainaudit.load.columns import instances

ROWS = [("x", (1, "n"), "float32", None, (0, 2)), ("y", None, None, 1, ())]


def test_instances_equal_those_of_the_constructor() -> None:
    made = instances(Value, *zip(*ROWS, strict=True))
    assert made == [Value(*row) for row in ROWS]  # type: ignore[arg-type]
    assert hash(made[0]) == hash(Value(*ROWS[0]))  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        made[0].name = "z"  # type: ignore[misc]


def test_every_field_has_a_column_of_the_same_length() -> None:
    with pytest.raises(ValueError, match="shorter"):
        instances(Source, ["a"], [None], [None], [None])
    with pytest.raises(ValueError, match="1 values of module for 2 instances"):
        instances(Source, ["a", "b"], [None], [None] * 2, [None] * 2, [None] * 2)
