"""The fourth of four classes has no example."""

from __future__ import annotations

from typing import Any

from tests.models import small_data

VIOLATES = ("data",)
"""Subjects on which the rule is violated."""


def build_model() -> Any:
    return small_data.classifier()


def make_data() -> Any:
    return small_data.clusters(shares=(0.4, 0.3, 0.3))
