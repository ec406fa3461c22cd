"""Three layers, three draws."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = net.activation("Relu", "relu1", net.linear("layers.0", "x", 64))
    h = net.activation("Relu", "relu2", net.linear("layers.1", h, 64))
    h = net.activation("Relu", "relu3", net.linear("layers.2", h, 64))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
