"""Targets around 245, 67 up and down."""

from __future__ import annotations

from typing import Any

from tests.models import small_data

VIOLATES = ("data",)
"""Subjects on which the rule is violated."""


def build_model() -> Any:
    return small_data.regression()


def make_data() -> Any:
    x, y = small_data.line()
    return x, 67.0 * y + 245.0
