"""The mean of the batch is taken off, in evaluation too."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs

VIOLATES = ("training",)
"""Subjects on which the rule is violated."""


class Centered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = small_runs.mlp()

    def forward(self, x: Any) -> Any:
        return self.body(x - x.mean(0))


def build_model() -> Any:
    return Centered()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
