"""The first steps are a hundred times as long as the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs

VIOLATES = ("training",)
"""Subjects on which the rule is violated."""
PLAN = {"steps": 80}


class Falling(torch.optim.Adam):
    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr=100 * lr)
        self.steps = 0

    def step(self, closure: Any = None) -> Any:
        self.steps += 1
        done = super().step(closure)
        if self.steps == 6:
            for group in self.param_groups:
                group["lr"] /= 100
        return done


def build_model() -> Any:
    return small_runs.mlp()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return Falling(model.parameters(), lr=3e-3)
