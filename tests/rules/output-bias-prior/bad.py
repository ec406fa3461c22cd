"""Targets around 3, and an output that starts at zero."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs

VIOLATES = ("training",)
"""Subjects on which the rule is violated."""


def far() -> Any:
    inputs, targets = small_runs.values()
    return small_runs.batches(inputs, targets + 3)


def build_model() -> Any:
    return small_runs.mlp(outputs=1)


def make_data() -> Any:
    return far()


def make_loss() -> Any:
    return nn.MSELoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
