"""A loss of class labels, against class labels."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs


def build_model() -> Any:
    return small_runs.mlp()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
