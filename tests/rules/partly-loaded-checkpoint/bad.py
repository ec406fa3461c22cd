"""Trained layers, and one among them with PyTorch's default initialization."""

from __future__ import annotations

import numpy as np

from tests.models.network import Network

VIOLATES = ("fc2.weight",)
"""Subjects on which the rule is violated."""


def trained(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A draw that training has moved by some strong directions and a heavy-tailed rest."""
    drawn = random.uniform(-1, 1, shape) / shape[1] ** 0.5
    directions = random.normal(size=(shape[0], 4)) @ random.normal(size=(4, shape[1])) / (shape[0] * shape[1]) ** 0.5
    return drawn + directions + 0.02 * random.standard_t(3, shape)


def shifted(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 0.1 * random.standard_t(3, shape)


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = net.activation("Relu", "relu1", net.linear("fc1", "x", 128, weight=trained, bias_values=shifted))
    h = net.activation("Relu", "relu2", net.linear("fc2", h, 128))
    h = net.activation("Relu", "relu3", net.linear("fc3", h, 128, weight=trained, bias_values=shifted))
    net.output(net.linear("head", h, 10, weight=trained, bias_values=shifted), "logits")
    net.save(path)
