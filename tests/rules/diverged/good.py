"""The same values, squared."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs


class Squared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = small_runs.mlp()

    def forward(self, x: Any) -> Any:
        return self.body(x.square() - 1)


def build_model() -> Any:
    return Squared()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
