"""A ReLU on the output."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("price",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    h = net.linear("head", h, 1)
    h = net.activation("Relu", "relu2", h)
    net.output(h, "price")
    net.save(path)
