"""ε = 1e-16."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("norm",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.layer_norm("norm", h, epsilon=1e-16)
    h = net.activation("Relu", "relu1", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
