"""A linear output."""

from __future__ import annotations

from tests.models.network import Network

LOSS = "mse"


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.activation("Relu", "relu1", net.linear("fc1", "x", 64))
    h = net.linear("head", h, 3)
    net.output(h, "logits")
    net.save(path)
