"""Small networks, and a loop that trains one under the instruments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from trainaudit.ir.graph import Graph
from trainaudit.load.torch.from_torch import load_module
from trainaudit.probe.collecting import Readings
from trainaudit.probe.instruments import Instruments


class Functional(nn.Module):
    """No activation function is a module, and one layer is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.first(x))
        x = torch.tanh(self.second(x)) + x
        x = self.norm(self.second(x).sigmoid())
        return self.last(functional.gelu(x))


class Convolutional(nn.Module):
    """Activation functions overwrite what they read."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
            nn.Conv2d(4, 8, 3, stride=2), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 1), nn.LeakyReLU(0.1, inplace=True),
        )  # fmt: skip
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1), 2, enable_nested_tensor=False
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = (
            nn.LSTM(6, 8, num_layers=2, batch_first=True),
            nn.GRU(8, 5, batch_first=True, bidirectional=True),
        )
        self.head = nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(self.lstm(x)[0])[0][:, -1])


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], torch.Tensor]]] = {
    "functional": (Functional, lambda count: torch.randn(count, 6)),
    "convolutional": (Convolutional, lambda count: torch.randn(count, 3, 9, 9)),
    "encoder": (Encoder, lambda count: torch.randint(0, 20, (count, 5))),
    "recurrent": (Recurrent, lambda count: torch.randn(count, 4, 6)),
}


def made(name: str, count: int = 12) -> tuple[nn.Module, Graph, torch.Tensor, torch.Tensor]:
    """(model, its graph, inputs, classes)."""
    torch.manual_seed(0)
    build, inputs = NETWORKS[name]
    model, x = build(), inputs(count)
    return model, load_module(model, x, name=name), x, torch.arange(count) % 3


def trained(
    model: Any,
    graph: Graph | None,
    x: Any,
    target: Any,
    *,
    steps: int = 3,
    rate: float = 0.05,
    optimizer: Any = None,
    **settings: Any,
) -> Readings:
    """What the instruments saw of a few steps of SGD on one batch."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), rate)
    with Instruments(model, optimizer, graph, **settings) as instruments:
        for index in range(steps):
            with instruments.step(index, last=index == steps - 1):
                optimizer.zero_grad()
                loss = functional.cross_entropy(model(x), target)
                loss.backward()
                instruments.read_gradients(loss)
                optimizer.step()
    return instruments.collect()


def numbers(series: tuple[float | None, ...]) -> Any:
    """As an array, NaN where nothing was read."""
    return np.array(series, float)
