"""Pixels of 0 to 255."""

from __future__ import annotations

from typing import Any

from tests.models import small_data

VIOLATES = ("data",)
"""Subjects on which the rule is violated."""


def build_model() -> Any:
    return small_data.classifier()


def make_data() -> Any:
    x, y = small_data.clusters()
    return 83.0 * x + 78.0, y
