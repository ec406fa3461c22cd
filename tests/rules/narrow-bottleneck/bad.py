"""512 units, then 4, then 100 classes."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("fc2",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = net.activation("Relu", "relu1", net.linear("fc1", "x", 512))
    h = net.activation("Relu", "relu2", net.linear("fc2", h, 4))
    net.output(net.linear("head", h, 100), "logits")
    net.save(path)
