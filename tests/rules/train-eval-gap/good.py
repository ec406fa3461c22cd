"""Running statistics that follow."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs

PLAN = {"steps": 60}


class Normalized(nn.Module):
    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(16, momentum=momentum)
        self.body = small_runs.mlp()

    def forward(self, x: Any) -> Any:
        return self.body(self.norm(x))


def far() -> Any:
    inputs, targets = small_runs.classes()
    return small_runs.batches(inputs * 3 + 5, targets)


def build_model() -> Any:
    return Normalized(0.1)


def make_data() -> Any:
    return far()


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
