"""The optimizer was given the last layer alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs

VIOLATES = (
    "0.weight",
    "0.bias",
    "2.weight",
    "2.bias",
)
"""Subjects on which the rule is violated."""


def build_model() -> Any:
    return small_runs.mlp()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return torch.optim.Adam(model[4].parameters(), lr=1e-2)
