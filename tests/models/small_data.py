"""Small models and data for the pairs of the data rules: healthy as they are, so that a pair breaks one thing."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

FEATURES, CLASSES = 20, 4


def classifier() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, CLASSES))


def regression() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 1))


class Convolutional(nn.Module):
    """One convolution with batch normalization, and a dense head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def convolutional() -> Any:
    torch.manual_seed(0)
    return Convolutional()


def clusters(count: int = 640, shares: tuple[float, ...] = (0.25,) * CLASSES) -> tuple[Any, Any]:
    """Standard normal columns, moved by the label; float32 (count, 20) and int64 (count,), in random order."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.cat([torch.full((round(share * count),), label) for label, share in enumerate(shares)])
    labels = labels[torch.randperm(len(labels), generator=generator)]
    centers = 0.5 * torch.randn(CLASSES, FEATURES, generator=generator)
    return torch.randn(len(labels), FEATURES, generator=generator) + centers[labels], labels


def line(count: int = 640) -> tuple[Any, Any]:
    """Standard normal columns and a linear function of them, of unit variance; float32 (count, 20) and (count, 1)."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, FEATURES, generator=generator)
    return inputs, inputs @ torch.full((FEATURES, 1), FEATURES**-0.5)


def images(count: int) -> tuple[Any, Any]:
    """Standard normal images of 8 × 8 and labels, float32 (count, 3, 8, 8) and int64 (count,)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 8, 8, generator=generator), torch.arange(count) % CLASSES


class Noisy(Dataset):  # type: ignore[type-arg]
    """The clusters with noise that is drawn anew for each access, from a generator of the dataset's own or from torch's."""

    def __init__(self, *, own_generator: bool) -> None:
        self.inputs, self.labels = clusters()
        self.generator = torch.Generator().manual_seed(0) if own_generator else None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.inputs[index] + 0.1 * torch.randn(FEATURES, generator=self.generator), self.labels[index]
