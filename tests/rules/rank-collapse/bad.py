"""Thirty ReLU layers in the default initialization: all examples end on one line."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs

VIOLATES = (
    "20",
    "22",
)
"""Subjects on which the rule is violated."""


def build_model() -> Any:
    return small_runs.default(30, nn.ReLU)


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
