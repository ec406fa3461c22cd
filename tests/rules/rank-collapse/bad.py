"""Forty-eight ReLU layers without a skip connection: all examples end close to one line."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs

VIOLATES = ("93",)
"""Subjects on which the rule is violated."""


def build_model() -> Any:
    return small_runs.mlp(48)


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
