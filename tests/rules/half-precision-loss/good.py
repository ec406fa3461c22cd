"""The same network in float32."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    h = net.dropout("drop", h, 0.1)
    h = net.linear("head", h, 10)
    net.output(net.activation("Softmax", "softmax", h, axis=-1), "probabilities")
    net.save(path)
