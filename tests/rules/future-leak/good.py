"""All padding in front."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.models import small_runs

PLAN = {"is_causal": True}


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 16)
        self.mix = nn.Conv1d(16, 16, 3)
        self.head = nn.Linear(16, 8)

    def forward(self, tokens: Any) -> Any:
        x = self.embed(tokens).transpose(1, 2)
        return self.head(torch.relu(self.mix(nn.functional.pad(x, (2, 0)))).transpose(1, 2))


class Flat(nn.CrossEntropyLoss):
    def forward(self, output: Any, target: Any) -> Any:
        return super().forward(output.flatten(0, 1), target.flatten())


def tokens() -> Any:
    draw = torch.Generator().manual_seed(1)
    text = torch.randint(0, 8, (256, 13), generator=draw)
    return small_runs.batches(text[:, :-1], text[:, 1:])


def build_model() -> Any:
    return Sequence()


def make_data() -> Any:
    return tokens()


def make_loss() -> Any:
    return Flat()


def make_optimizer(model: Any) -> Any:
    return small_runs.adam(model)
