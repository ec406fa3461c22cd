"""The first layer has a learning rate of a hundred-millionth of the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs

VIOLATES = ("training",)
"""Subjects on which the rule is violated."""


def uneven(model: Any) -> Any:
    groups = [{"params": model[0].parameters(), "lr": 1e-10}, {"params": model[2:].parameters(), "lr": 1e-2}]
    return torch.optim.Adam(groups)


def build_model() -> Any:
    return small_runs.mlp()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return uneven(model)
