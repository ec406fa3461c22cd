"""All examples are of one size."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs

PLAN = {"steps": 30}


def build_model() -> Any:
    return small_runs.mlp()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return torch.optim.SGD(model.parameters(), lr=1e-2)
