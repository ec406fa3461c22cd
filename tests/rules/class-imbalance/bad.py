"""One class has a fortieth of the examples of another."""

from __future__ import annotations

from typing import Any

from tests.models import small_data

VIOLATES = ("data",)
"""Subjects on which the rule is violated."""


def build_model() -> Any:
    return small_data.classifier()


def make_data() -> Any:
    return small_data.clusters(shares=(0.5, 0.2875, 0.2, 0.0125), count=960)
