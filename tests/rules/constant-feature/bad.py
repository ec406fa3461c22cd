"""Two of twenty columns never vary."""

from __future__ import annotations

from typing import Any

from tests.models import small_data

VIOLATES = ("data",)
"""Subjects on which the rule is violated."""


def build_model() -> Any:
    return small_data.classifier()


def make_data() -> Any:
    x, y = small_data.clusters()
    x[:, 4:6] = 0.5
    return x, y
