"""Small models and data for the pairs of the rules over a run: healthy as they are, so that a pair breaks one thing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

FEATURES, CLASSES, BATCH = 16, 4, 32


def mlp(depth: int = 3, *, width: int = 32, activation: Any = nn.ReLU, outputs: int = CLASSES) -> Any:
    """Dense layers in He's initialization with zero biases; the last one gives logits of standard deviation 0.3."""
    torch.manual_seed(0)
    sizes = [FEATURES, *[width] * (depth - 1), outputs]
    layers: list[Any] = []
    for taken, given in pairwise(sizes):
        linear = nn.Linear(taken, given)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers += [linear, activation()]
    with torch.no_grad():
        layers[-2].weight.mul_(0.2)
    return nn.Sequential(*layers[:-1])


def default(depth: int, activation: Any, *, width: int = 32) -> Any:
    """Dense layers as torch initializes them."""
    torch.manual_seed(0)
    sizes = [FEATURES, *[width] * (depth - 1), CLASSES]
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), activation())]
    return nn.Sequential(*layers[:-1])


def classes(count: int = 512) -> tuple[Any, Any]:
    """Standard normal columns and the largest of four linear functions of them; float32 (count, 16) and int64 (count,)."""
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, FEATURES, generator=draw)
    return inputs, (inputs @ torch.randn(FEATURES, CLASSES, generator=draw)).argmax(1)


def values(count: int = 512) -> tuple[Any, Any]:
    """Standard normal columns and a linear function of them, of unit variance; float32 (count, 16) and (count, 1)."""
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, FEATURES, generator=draw)
    return inputs, inputs @ torch.full((FEATURES, 1), FEATURES**-0.5)


def batches(inputs: Any, targets: Any, *, size: int = BATCH, shuffle: bool = True) -> Any:
    return DataLoader(TensorDataset(inputs, targets), size, shuffle=shuffle, generator=torch.Generator().manual_seed(2))


def adam(model: Any) -> Any:
    return torch.optim.Adam(model.parameters(), lr=1e-2)
