"""exp of a linear layer's output."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    h = net.linear("head", h, 10)
    net.output(net.node("Exp", "", [h]), "rate")
    net.save(path)
