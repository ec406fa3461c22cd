"""The root of values below zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs

VIOLATES = ("training",)
"""Subjects on which the rule is violated."""


class Rooted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = small_runs.mlp()

    def forward(self, x: Any) -> Any:
        return self.body(torch.sqrt(x))


def build_model() -> Any:
    return Rooted()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
