"""An optimizer that also makes every weight a tenth larger in each step."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs

VIOLATES = ("0",)
"""Subjects on which the rule is violated."""
PLAN = {"steps": 60}


class Growing(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(1.1)


def build_model() -> Any:
    return small_runs.mlp()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return Growing(model.parameters(), lr=1e-4)
