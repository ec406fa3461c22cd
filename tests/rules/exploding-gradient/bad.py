"""Weights of standard deviation 1: each layer multiplies the signal by four."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs

VIOLATES = ("12",)
"""Subjects on which the rule is violated."""


def loud() -> Any:
    model = small_runs.mlp(8)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight)
    return model


def build_model() -> Any:
    return loud()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
