"""state is made of parameter and input."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    net.output(net.linear("head", h, 10), "logits")
    query = net.parameter("query", net.random.normal(0.0, 1.0, (1, 64)))
    net.output(net.activation("Tanh", "tanh", net.add("", h, query)), "state")
    net.save(path)
