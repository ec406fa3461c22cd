"""The error is clipped where the slope is then zero."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.models import small_runs

VIOLATES = ("training",)
"""Subjects on which the rule is violated."""


class Clipped(nn.Module):
    def forward(self, output: Any, target: Any) -> Any:
        return (output - target).square().mean().clamp(max=0.01)


def build_model() -> Any:
    return small_runs.mlp(outputs=1)


def make_data() -> Any:
    return small_runs.batches(*small_runs.values())


def make_loss() -> Any:
    return Clipped()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
