"""256, 128 and 64 units before 10 outputs."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = net.activation("Relu", "relu1", net.linear("fc1", "x", 256))
    h = net.activation("Relu", "relu2", net.linear("fc2", h, 128))
    h = net.activation("Relu", "relu3", net.linear("fc3", h, 64))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
