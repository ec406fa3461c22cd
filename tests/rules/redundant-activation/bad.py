"""A sigmoid straight after a ReLU."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("sigmoid1",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    h = net.activation("Sigmoid", "sigmoid1", h)
    h = net.linear("fc2", h, 64)
    h = net.activation("Relu", "relu2", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
