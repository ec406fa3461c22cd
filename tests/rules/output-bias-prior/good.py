"""Targets around zero."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs


def build_model() -> Any:
    return small_runs.mlp(outputs=1)


def make_data() -> Any:
    return small_runs.batches(*small_runs.values())


def make_loss() -> Any:
    return nn.MSELoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
