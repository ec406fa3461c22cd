"""A dense layer on the pooled map."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 32, 32)})
    h = net.activation("Relu", "relu1", net.conv("conv1", "x", 8, 3, padding=1))
    h = net.activation("Relu", "relu2", net.conv("conv2", h, 16, 3, padding=1))
    h = net.pool("pool", h)
    h = net.activation("Relu", "relu3", net.linear("fc1", h, 64))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
