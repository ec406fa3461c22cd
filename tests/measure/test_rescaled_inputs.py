"""model.rescales_input: whether inputs are normalized, or moved and scaled by stored numbers, before anything else computes with them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from trainaudit.load.torch.opening import open_object
from trainaudit.measure.measuring import measure


class Standardizing(nn.Module):
    def __init__(self, *, shift_alone: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((3, 1, 1), 120.0))
        self.conv = nn.Conv2d(3, 4, 3)
        self.scale = 1.0 if shift_alone else 60.0

    def forward(self, x: Any) -> Any:
        return self.conv((x - self.mean) / self.scale)


class OfBytes(nn.Module):
    def __init__(self, *, divides: bool) -> None:
        super().__init__()
        self.conv, self.divides = nn.Conv2d(3, 4, 3), divides

    def forward(self, x: Any) -> Any:
        return self.conv(x.float() / 255 if self.divides else x.float())


class WithItself(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.fc(x * x)


@pytest.mark.parametrize(
    ("model", "example", "expected"),
    [
        (nn.Sequential(nn.Linear(6, 3)), torch.zeros(2, 6), False),
        (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3)), torch.zeros(2, 6), True),
        (nn.Sequential(nn.Flatten(), nn.LayerNorm(12), nn.Linear(12, 3)), torch.zeros(2, 3, 4), True),
        (nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)), torch.zeros(2, 6), False),
        (Standardizing(), torch.zeros(2, 3, 8, 8), True),
        (OfBytes(divides=True), torch.zeros(2, 3, 8, 8, dtype=torch.uint8), True),
        (OfBytes(divides=False), torch.zeros(2, 3, 8, 8, dtype=torch.uint8), False),
        (WithItself(), torch.zeros(2, 6), False),
        (nn.Embedding(5, 3), torch.zeros(2, 4, dtype=torch.long), False),
    ],
)
def test_rescales_input(model: Any, example: Any, expected: bool) -> None:
    table = measure(open_object(model, example, (), "model"), loss=None, expects={})
    assert table.columns["model.rescales_input"] == {"model": expected}
