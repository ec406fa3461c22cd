"""The last layer is a hundred times too large."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs

VIOLATES = ("training",)
"""Subjects on which the rule is violated."""


def confident() -> Any:
    model = small_runs.mlp()
    with torch.no_grad():
        model[-1].weight.mul_(100)
    return model


def build_model() -> Any:
    return confident()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
