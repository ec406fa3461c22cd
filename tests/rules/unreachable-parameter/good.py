"""The result of skip is added."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    skip = net.linear("skip", "x", 64)
    h = net.add("", h, skip)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
