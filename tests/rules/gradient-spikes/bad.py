"""One example is a million times as large as the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs

VIOLATES = ("training",)
"""Subjects on which the rule is violated."""
PLAN = {"steps": 30}


def with_outlier() -> Any:
    inputs, targets = small_runs.classes()
    inputs[330] *= 1000
    return small_runs.batches(inputs, targets, shuffle=False)


def build_model() -> Any:
    return small_runs.mlp()


def make_data() -> Any:
    return with_outlier()


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return torch.optim.SGD(model.parameters(), lr=1e-6)
