"""One column of predictions, and targets without columns."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs

VIOLATES = ("training",)
"""Subjects on which the rule is violated."""


def flat() -> Any:
    inputs, targets = small_runs.values()
    return small_runs.batches(inputs, targets[:, 0])


def build_model() -> Any:
    return small_runs.mlp(outputs=1)


def make_data() -> Any:
    return flat()


def make_loss() -> Any:
    return nn.MSELoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
