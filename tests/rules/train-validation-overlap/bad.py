"""A quarter of the validation examples are training examples."""

from __future__ import annotations

from typing import Any

from tests.models import small_data

VIOLATES = ("data",)
"""Subjects on which the rule is violated."""


def build_model() -> Any:
    return small_data.classifier()


def make_data() -> Any:
    x, y = small_data.clusters()
    return {"train": (x[:512], y[:512]), "val": (x[480:608], y[480:608])}
