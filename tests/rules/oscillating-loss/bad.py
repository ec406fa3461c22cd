"""Two batches each in turn have opposite targets, and each step is long enough to follow."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs

VIOLATES = ("training",)
"""Subjects on which the rule is violated."""
PLAN = {"steps": 48}


def contradicting() -> Any:
    inputs, targets = small_runs.values()
    signs = torch.where(torch.arange(len(targets)) // small_runs.BATCH % 4 < 2, 1.0, -1.0)
    return small_runs.batches(inputs * 0.01, signs[:, None], shuffle=False)


def build_model() -> Any:
    return nn.Linear(16, 1)


def make_data() -> Any:
    return contradicting()


def make_loss() -> Any:
    return nn.MSELoss()


def make_optimizer(model: Any) -> Any:
    return torch.optim.SGD(model.parameters(), lr=0.45)
