"""float16 without loss scaling, and a loss of a hundred-millionth."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs

VIOLATES = ("training",)
"""Subjects on which the rule is violated."""
PLAN = {"precision": "fp16", "steps": 12}


class Faint(nn.CrossEntropyLoss):
    def forward(self, output: Any, target: Any) -> Any:
        return super().forward(output, target) * 1e-7


def build_model() -> Any:
    return small_runs.mlp()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return Faint()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
