"""Noise from a generator that no seed reaches."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs

VIOLATES = ("training",)
"""Subjects on which the rule is violated."""


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = small_runs.mlp()

    def forward(self, x: Any) -> Any:
        return self.body(x + torch.randn(x.shape[-1], generator=GENERATOR))


GENERATOR = torch.Generator().manual_seed(0)


def build_model() -> Any:
    return Noisy()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
