"""A vocabulary of 16."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs


class Words(nn.Module):
    def __init__(self, rows: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(rows, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.embed(tokens).mean(1))


def words() -> Any:
    draw = torch.Generator().manual_seed(1)
    text = torch.randint(0, 16, (256, 6), generator=draw)
    return small_runs.batches(text, text[:, 0] % 4)


def build_model() -> Any:
    return Words(16)


def make_data() -> Any:
    return words()


def make_loss() -> Any:
    return nn.CrossEntropyLoss()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
