"""Noise from torch's own generator."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = small_runs.mlp()

    def forward(self, x: Any) -> Any:
        return self.body(x + 0.1 * torch.randn_like(x))


def build_model() -> Any:
    return Noisy()


def make_data() -> Any:
    return small_runs.batches(*small_runs.classes())


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
