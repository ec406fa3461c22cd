"""A bias of −100 keeps every unit of the first ReLU shut."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs

VIOLATES = ("1",)
"""Subjects on which the rule is violated."""


def shut() -> Any:
    model = small_runs.mlp()
    nn.init.constant_(model[0].bias, -100.0)
    return model


def build_model() -> Any:
    return shut()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
