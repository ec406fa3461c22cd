"""Batches that agree."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs

PLAN = {"steps": 48}


def build_model() -> Any:
    return nn.Linear(16, 1)


def make_data() -> Any:
    return small_runs.batches(*small_runs.values())


def make_loss() -> Any:
    return nn.MSELoss()


def make_optimizer(model: Any) -> Any:
    return torch.optim.SGD(model.parameters(), lr=0.05)
