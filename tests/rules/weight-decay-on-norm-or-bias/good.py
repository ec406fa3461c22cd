"""Biases in a group without decay."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs


def grouped(model: Any) -> Any:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}], lr=1e-2
    )


def build_model() -> Any:
    return small_runs.mlp()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return grouped(model)
