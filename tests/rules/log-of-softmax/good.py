"""log_softmax."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    h = net.linear("head", h, 10)
    h = net.activation("LogSoftmax", "log_softmax", h, axis=-1)
    net.output(h, "log_probabilities")
    net.save(path)
